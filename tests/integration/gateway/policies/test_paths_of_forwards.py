"""Every spelling of a path in docs/http.md gets the policies of its route, or 400: over a socket, as clients send it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from gateway import compose
from gateway.config.policies import Forward, Policies, Switch, Upstream
from gateway.prerequisites import StoreAddress
from gateway.settings import Settings
from store import Client
from tests.integration.gateway.proxy.raw_upstream import RawUpstream, always
from tests.raw_http import RawClient

TABLE = (Path(__file__).parents[4] / "docs/http.md").read_text(encoding="utf-8").partition("\n## Paths\n")[2]
ROWS = re.findall(r"^\| `([^`]+)` \|.*\| ([^|]+) \|$", TABLE, re.MULTILINE)
BY_OUTCOME = {"the route of `/drop/`": {503}, "400, or the route of `/drop/`": {400, 503}, "400": {400}}
POLICIES = Policies(
    routes=(
        Forward(prefix="/", upstream="web"),
        Forward(prefix="/drop/", upstream="web"),
        Forward(prefix="/sale/", upstream="web"),
        Forward(path="/sale", upstream="web", hosts=("shop.example",)),
    ),
    switches=(
        Switch(name="drop", routes=("/drop/*",), enabled=False),
        Switch(name="sale", routes=("/sale",), enabled=False),
    ),
)


class Served:
    """A gateway on a port, and the upstream of all its routes."""

    def __init__(self, port: int, upstream: RawUpstream) -> None:
        self.port = port
        self.upstream = upstream

    async def status(self, path: str, *, method: str = "GET", host: str = "shop.example", fields: str = "") -> int:
        """The status of the response to one request."""
        async with await RawClient.open(self.port) as client:
            await client.send(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n".encode())
            return (await client.response(method=method)).status


@pytest.fixture
async def served(store: Client, store_url: str, tmp_path: Path) -> AsyncIterator[Served]:
    upstream = RawUpstream(always(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
    await upstream.start()
    policies = Policies(
        upstreams=(Upstream(name="web", targets=(upstream.url,)),), routes=POLICIES.routes, switches=POLICIES.switches
    )
    async with AsyncExitStack() as stack:
        settings = Settings(data_dir=tmp_path, policies=policies, store_timeout=5.0)
        gateway = await compose.gateway(
            settings, StoreAddress(store_url, is_embedded=False), stack, worker_name="shop:0a"
        )
        server = await asyncio.get_running_loop().create_server(gateway.edge.protocol, "127.0.0.1", 0)
        try:
            yield Served(server.sockets[0].getsockname()[1], upstream)
        finally:
            server.close()
            await upstream.stop()


async def test_no_spelling_of_a_path_leads_past_its_policies(served: Served) -> None:
    assert len(ROWS) > 30
    expected = {path: BY_OUTCOME[outcome] for path, outcome in ROWS}
    statuses = {path: await served.status(path) for path in expected}
    assert {path: status for path, status in statuses.items() if status not in expected[path]} == {}
    assert served.upstream.requests == []


async def test_an_absolute_target_has_the_policies_of_its_path(served: Served) -> None:
    assert await served.status("http://shop.example/DROP/a") == 503
    assert await served.status("http://shop.example/page") == 200


@pytest.mark.parametrize("method", ["HEAD", "POST", "OPTIONS", "DELETE"])
async def test_a_policy_without_a_method_holds_for_all(served: Served, method: str) -> None:
    assert await served.status("/drop", method=method) == 503


async def test_a_preflight_is_no_way_past_the_policies(served: Served) -> None:
    fields = "Origin: https://x.example\r\nAccess-Control-Request-Method: GET\r\n"
    assert await served.status("/drop/a", method="OPTIONS", fields=fields) == 503
    assert served.upstream.requests == []


async def test_the_upstream_gets_a_path_as_it_was_sent(served: Served) -> None:
    paths = ["/Page", "/a;b/c", "/a%20b", "/a//b", "/drops", "/a./%7Eb", "/SALE/x;y", "/x/drop/a"]
    assert [await served.status(path) for path in paths] == [200] * len(paths)
    assert [request.split(b" ")[1].decode() for request in served.upstream.requests] == paths


@pytest.mark.parametrize("path", ["/sale", "/SALE", "/sale/", "/sale;x", "/%73ale", "//sale"])
@pytest.mark.parametrize("host", ["shop.example", "Shop.Example:80", "shop.example."])
async def test_an_exact_path_of_a_host_has_its_policies_in_every_spelling(served: Served, path: str, host: str) -> None:
    assert await served.status(path, host=host) == 503


async def test_another_host_goes_to_the_routes_of_all_hosts(served: Served) -> None:
    assert await served.status("/sale", host="other.example") == 200
    assert await served.status("/sale/x", host="shop.example") == 200


async def test_a_request_of_http_1_0_names_its_host_in_its_target(served: Served) -> None:
    async with await RawClient.open(served.port) as client:
        await client.send(b"GET http://shop.example/sale HTTP/1.0\r\n\r\n")
        assert (await client.response()).status == 503


async def test_requests_of_one_line_go_to_the_routes_of_their_hosts(served: Served) -> None:
    async with await RawClient.open(served.port) as client:
        statuses = []
        for host in ("shop.example", "other.example", "shop.example", "other.example"):
            await client.send(f"GET /sale HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            statuses.append((await client.response()).status)
    assert statuses == [503, 200, 503, 200]
