"""Pages of products whose search is on another server: as long as it answers, and while it does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from cart.catalog.model import CatalogRow
from cart.model import Sku
from gateway import compose
from gateway.config.options import SearchKind
from gateway.prerequisites import StoreAddress
from gateway.settings import Settings
from store.embedded import EmbeddedServer
from tests.integration.gateway.resilience.shopping import POLICIES, Shop
from tests.opensearch_stand_in import OpenSearchStandIn, opensearch_server

ROWS = [CatalogRow(Sku("L"), "RED LAMP", 500, "GBP", 3), CatalogRow(Sku("M"), "RED MUG", 300, "GBP", 0)]


@pytest.fixture
def server() -> OpenSearchStandIn:
    return OpenSearchStandIn()


@asynccontextmanager
async def shop_with(store_url: str, folder: Path, search: SearchKind, url: str) -> AsyncIterator[Shop]:
    """A whole gateway with this search, which has the products."""
    async with AsyncExitStack() as stack:
        settings = Settings(data_dir=folder, policies=POLICIES, workers=1, search=search, search_url=url)
        address = StoreAddress(store_url, is_embedded=True)
        catalog, index = await compose.open_catalog(settings, address, stack)
        await catalog.put(ROWS)
        await index.upsert(ROWS)
        gateway = await compose.gateway(settings, address, stack, worker_name="s:0a")
        listening = await asyncio.get_running_loop().create_server(gateway.edge.protocol, "127.0.0.1", 0)
        stack.push_async_callback(gateway.edge.drain, 0.0)
        stack.callback(listening.close)
        yield Shop(gateway, listening.sockets[0].getsockname()[1])


@pytest.fixture
async def searching(own_server: EmbeddedServer, server: OpenSearchStandIn, tmp_path: Path) -> AsyncIterator[Shop]:
    async with opensearch_server(server) as url, shop_with(own_server.url, tmp_path, "opensearch", url) as shop:
        yield shop


async def listed(shop: Shop, query: str) -> list[str]:
    response = await shop.call("GET", f"/v1/products?{query}")
    assert response.status == 200, response.body
    return [product["sku"] for product in response.json()["products"]]


async def test_products_are_listed_searched_and_filtered(searching: Shop) -> None:
    assert await listed(searching, "limit=9") == ["L", "M"]
    assert await listed(searching, "q=red&in_stock=true") == ["L"]
    assert await listed(searching, "q=red&max_price=400") == ["M"]


async def test_so_they_are_by_the_search_module(own_server: EmbeddedServer, module_url: str, tmp_path: Path) -> None:
    async with shop_with(own_server.url, tmp_path, "module", module_url) as shop:
        assert await listed(shop, "limit=9") == ["L", "M"]
        assert await listed(shop, "q=red&in_stock=true") == ["L"]
        assert await listed(shop, "q=L") == ["L"]


async def test_while_it_fails_only_the_search_does_and_its_breaker_opens(
    searching: Shop, server: OpenSearchStandIn
) -> None:
    server.fail_with = 503
    refused = await searching.call("GET", "/v1/products?q=red")
    assert (refused.status, refused.json()["type"]) == (503, "/problems/dependency-unavailable")
    assert (await searching.call("GET", "/v1/products/L")).status == 200
    while (await searching.snapshot("breakers"))["search"]["state"] == "closed":
        await searching.call("GET", "/v1/products?q=red")
    before = len(server.requests)
    assert (await searching.call("GET", "/v1/products?q=red")).status == 503
    assert len(server.requests) - before <= 1, "no more than a probe"
    server.fail_with = None
    assert (await searching.until_answered("GET", "/v1/products?q=red")).status == 200
