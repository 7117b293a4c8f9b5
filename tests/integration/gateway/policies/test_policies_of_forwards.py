"""What is forwarded under policies that name methods, and however its path is spelled."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from msgspec.structs import replace
from multidict import CIMultiDict

from gateway import compose
from gateway.compose import Gateway
from gateway.config.policies import Forward, Limit, Policies, Room, Switch, Upstream
from gateway.http.message import Request, resolve
from gateway.prerequisites import StoreAddress
from gateway.settings import Settings
from store import Client
from tests.integration.gateway.proxy.raw_upstream import unused_url

POLICIES = Policies(
    routes=(Forward(prefix="/", upstream="web"), Forward(prefix="/drop/", upstream="web")),
    limits=(Limit(name="reads", by="route", quota=2, window_s=3600.0, routes=("GET /*",)),),
    rooms=(Room(name="drop", routes=("POST /drop/*",), admissions_per_s=0.001, max_active=1),),
    switches=(Switch(name="uploads", routes=("PUT /drop/*",), enabled=False),),
)


@pytest.fixture
async def gateway(store: Client, store_url: str, tmp_path: Path) -> AsyncIterator[Gateway]:
    """A worker whose upstream is unavailable: a request that passes all layers gets 502."""
    policies = replace(POLICIES, upstreams=(Upstream(name="web", targets=(unused_url(),)),))
    async with AsyncExitStack() as stack:
        settings = Settings(data_dir=tmp_path, policies=policies, store_timeout=5.0)
        yield await compose.gateway(settings, StoreAddress(store_url, is_embedded=False), stack, worker_name="shop:0a")


async def status(gateway: Gateway, method: str, path: str) -> int:
    """The response to a new shopper."""
    endpoint, params = gateway.edge.router.find(method, path)
    request = Request(
        method, path, "", CIMultiDict(Host="shop.example"), b"", "0123456789abcdef", params, "203.0.113.9"
    )
    return (await resolve(endpoint.handler(request))).status


async def test_a_policy_of_one_method_holds_for_that_method_of_a_forward(gateway: Gateway) -> None:
    assert await status(gateway, "PUT", "/drop/1") == 503
    assert await status(gateway, "DELETE", "/drop/1") == 502
    assert [await status(gateway, "POST", "/drop/1") for _ in range(3)] == [502, 503, 503]


async def test_a_limit_of_get_counts_head_too_and_nothing_else(gateway: Gateway) -> None:
    assert [await status(gateway, method, "/a") for method in ("GET", "HEAD", "POST")] == [502, 502, 502]
    assert [await status(gateway, method, "/a") for method in ("GET", "HEAD", "POST")] == [429, 429, 502]


@pytest.mark.parametrize("path", ["/d%72op/1", "/drop;a/1", "/%64rop/1"])
async def test_no_spelling_of_a_path_leads_past_its_policies(gateway: Gateway, path: str) -> None:
    assert await status(gateway, "PUT", path) == 503
