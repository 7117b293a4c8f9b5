"""What policies make of a worker; those it cannot go by are refused while it prepares."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from msgspec.structs import replace
from multidict import CIMultiDict

from gateway import compose
from gateway.compose import Gateway
from gateway.config.policies import AccessLog, Forward, Policies, Shedding, Shoppers, Switch, Upstream
from gateway.control.commands import CommandFailed
from gateway.http.message import Request, resolve
from gateway.prerequisites import StoreAddress
from gateway.settings import Settings
from store import Client


@pytest.fixture
async def gateway(store: Client, store_url: str, tmp_path: Path) -> AsyncIterator[Gateway]:
    """A worker's, with an access log."""
    policies = Policies(access_log=AccessLog(file=str(tmp_path / "first.log")))
    async with AsyncExitStack() as stack:
        settings = Settings(data_dir=tmp_path, policies=policies, store_timeout=5.0)
        yield await compose.gateway(settings, StoreAddress(store_url, is_embedded=False), stack, worker_name="shop:0a")


def open_files(folder: Path) -> list[str]:
    """The names of the logs in a folder that this process has open."""
    files = [link.readlink() for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return sorted(file.name for file in files if file.is_relative_to(folder) and file.suffix == ".log")


async def test_an_invalid_shared_secret_fails_before_anything_changes(gateway: Gateway, tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQ\n-----END PUBLIC KEY-----\n")
    shoppers = Shoppers(issuer="i", audience="a", algorithms=("HS256",), hs256_secret_file=str(tmp_path / "key.pem"))
    router = gateway.edge.router
    with pytest.raises(CommandFailed, match="is a key or a certificate"):
        await gateway.prepare(Policies(shoppers=shoppers))
    assert gateway.edge.router is router


async def test_policies_that_are_never_applied_leave_no_log_open(gateway: Gateway, tmp_path: Path) -> None:
    for _ in range(3):
        await gateway.prepare(Policies(access_log=AccessLog(file=str(tmp_path / "second.log"))))
    assert open_files(tmp_path) == ["first.log", "second.log"]
    await gateway.prepare(Policies(access_log=AccessLog(file=str(tmp_path / "first.log"))))
    assert open_files(tmp_path) == ["first.log"]


async def test_the_prepared_log_is_open_after_the_swap(gateway: Gateway, tmp_path: Path) -> None:
    policies = Policies(access_log=AccessLog(file=str(tmp_path / "second.log")))
    swap = await gateway.prepare(policies)
    swap()
    await gateway.prepare(replace(policies))
    assert "second.log" in open_files(tmp_path)


@pytest.mark.parametrize(
    ("named", "refused"), [("POST", {"POST"}), ("GET", {"GET", "HEAD"}), ("", {"GET", "HEAD", "POST", "PUT"})]
)
async def test_a_pattern_with_a_method_applies_to_forwards_with_it(
    gateway: Gateway, named: str, refused: set[str]
) -> None:
    policies = Policies(
        upstreams=(Upstream(name="web", targets=("http://127.0.0.1:9",)),),
        routes=(Forward(prefix="/pages/", upstream="web"),),
        switches=(Switch(name="off", routes=(f"{named} /pages/*".strip(),), enabled=False),),
    )
    swap = await gateway.prepare(policies)
    swap()
    statuses = {}
    for method in ("GET", "HEAD", "POST", "PUT"):
        endpoint, params = gateway.edge.router.find(method, "/pages/shoes")
        headers = CIMultiDict({"Host": "shop"})
        request = Request(method, "/pages/shoes", "", headers, b"", "id", params, "127.0.0.1")
        statuses[method] = (await resolve(endpoint.handler(request))).status
    assert statuses == {method: 503 if method in refused else 502 for method in statuses}


async def test_requests_that_wait_for_an_upstream_take_no_room_from_store_requests(gateway: Gateway) -> None:
    policies = Policies(
        upstreams=(Upstream(name="web", targets=("http://127.0.0.1:9",)),),
        routes=(Forward(prefix="/pages/", upstream="web"),),
    )
    swap = await gateway.prepare(policies)
    swap()
    told = await gateway.commands["snapshot"]({})
    assert set(told["parts"]["shedding"]["limits"]) == {"store", "web"}


async def test_the_limit_of_event_streams_follows_the_policies(gateway: Gateway) -> None:
    async def limit() -> int:
        return int((await gateway.commands["snapshot"]({}))["parts"]["event_streams"]["limit"])

    assert await limit() == 5_000
    (await gateway.prepare(Policies(shedding=Shedding(max_event_streams=8))))()
    assert await limit() == 8
