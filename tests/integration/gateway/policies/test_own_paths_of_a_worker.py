"""The gateway's own paths: below a prefix, left out, and named right by everything that names them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import orjson
import pytest
from msgspec.structs import replace
from multidict import CIMultiDict

from gateway import compose
from gateway.compose import Gateway
from gateway.config.policies import AccessLog, Api, Forward, Policies, Shedding, Switch, Upstream
from gateway.http import problems
from gateway.http.message import Request, Response, resolve
from gateway.http.own_paths import OWN_PREFIX
from gateway.prerequisites import StoreAddress
from gateway.settings import Settings
from store import Client

MOVED = Api(prefix="/peak/gate")


@pytest.fixture
async def gateway(store: Client, store_url: str, tmp_path: Path) -> AsyncIterator[Gateway]:
    settings = Settings(data_dir=tmp_path, policies=Policies(access_log=AccessLog(enabled=False)), store_timeout=5.0)
    async with AsyncExitStack() as stack:
        yield await compose.gateway(settings, StoreAddress(store_url, is_embedded=False), stack, worker_name="shop:0a")
    # Of the process, as the policies are.
    OWN_PREFIX.value = ""
    problems.move("")


async def apply(gateway: Gateway, policies: Policies) -> None:
    # A busy machine sheds nothing here.
    swap = await gateway.prepare(replace(policies, shedding=Shedding(enabled=False)))
    swap()


async def call(gateway: Gateway, method: str, path: str, **headers: str) -> Response:
    endpoint, params = gateway.edge.router.find(method, path)
    request = Request(method, path, "", CIMultiDict({"Host": "shop", **headers}), b"", "id", params, "127.0.0.1")
    return await resolve(endpoint.handler(request))


async def statuses(gateway: Gateway, *paths: str) -> list[int]:
    return [(await call(gateway, "GET", path)).status for path in paths]


OWN = ("/v1/products", "/docs", "/docs/docs.js", "/openapi.json", "/problems/not-found", "/healthz", "/readyz")


async def test_all_own_paths_move_below_the_prefix_and_back(gateway: Gateway) -> None:
    await apply(gateway, Policies(api=MOVED))
    assert await statuses(gateway, *OWN) == [404] * len(OWN)
    assert await statuses(gateway, *(f"/peak/gate{path}" for path in OWN)) == [200] * len(OWN)

    await apply(gateway, Policies())
    assert await statuses(gateway, *OWN) == [200] * len(OWN)


async def test_everything_that_names_an_own_path_follows(gateway: Gateway) -> None:
    await apply(gateway, Policies(api=MOVED))

    created = await call(gateway, "POST", "/peak/gate/v1/carts")
    assert b"Location: /peak/gate/v1/carts/" in created.header_block
    missing = orjson.loads((await call(gateway, "GET", "/nowhere")).body)
    assert missing["type"] == "/peak/gate/problems/not-found"
    spec = (await call(gateway, "GET", "/peak/gate/openapi.json")).body
    assert all(path.startswith("/peak/gate/") for path in orjson.loads(spec)["paths"])
    page = (await call(gateway, "GET", "/peak/gate/docs")).body
    listed = (await call(gateway, "GET", "/peak/gate/problems")).body
    explained = (await call(gateway, "GET", "/peak/gate/problems/not-found", Accept="text/html")).body
    assert b'href="/peak/gate/docs"' in explained
    for text in (spec, page, listed, explained):
        assert b'"/problems/' not in text
        assert b"`/problems/" not in text
        assert b'"/v1/' not in text
        assert b'"/docs' not in text
    start = await call(gateway, "GET", "/")
    assert (start.status, start.header_block[:27]) == (307, b"Location: /peak/gate/docs\r\n")


async def test_policies_apply_to_moved_paths_written_with_the_prefix_or_without(gateway: Gateway) -> None:
    for pattern in ("GET /v1/products", "GET /peak/gate/v1/products"):
        switch = Switch(name="off", routes=(pattern,), enabled=False)
        await apply(gateway, Policies(api=MOVED, switches=(switch,)))
        assert await statuses(gateway, "/peak/gate/v1/products", "/peak/gate/healthz") == [503, 200]


async def test_health_checks_may_have_paths_of_their_own_or_none(gateway: Gateway) -> None:
    await apply(gateway, Policies(api=Api(prefix="/peak", healthz="", readyz="/lb/ready")))

    assert await statuses(gateway, "/peak/healthz", "/healthz", "/peak/readyz", "/lb/ready") == [404, 404, 404, 200]


@pytest.mark.parametrize(
    ("api", "gone"),
    [
        (Api(shop=False), {"/v1/products"}),
        (Api(docs=False), {"/docs", "/docs/docs.js"}),
        (Api(openapi=False), {"/docs", "/docs/docs.js", "/openapi.json"}),
        (Api(problems=False), {"/problems/not-found"}),
    ],
)
async def test_own_paths_may_be_switched_off(gateway: Gateway, api: Api, gone: set[str]) -> None:
    await apply(gateway, Policies(api=api))

    found = dict(zip(OWN, await statuses(gateway, *OWN), strict=True))
    assert found == {path: 404 if path in gone else 200 for path in OWN}
    if api.openapi:
        spec = orjson.loads((await call(gateway, "GET", "/openapi.json")).body)
        assert ("/v1/products" in spec["paths"]) is api.shop
    assert (await call(gateway, "GET", "/")).status == (404 if "/docs" in gone else 307)


async def test_the_start_page_is_the_shops_where_it_forwards_it(gateway: Gateway) -> None:
    upstreams = (Upstream(name="web", targets=("http://127.0.0.1:9",)),)
    for rule in (Forward(prefix="/", upstream="web"), Forward(path="/", upstream="web")):
        await apply(gateway, Policies(upstreams=upstreams, routes=(rule,)))
        assert (await call(gateway, "GET", "/")).status == 502
