"""The catalogue's own routes behind the response cache."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from cart.catalog.handlers import ProductHandlers
from cart.catalog.memory import MemoryCatalog, MemorySearch
from cart.catalog.model import CatalogRow
from cart.errors import ProductNotFound
from cart.model import Sku
from gateway.api.binding import bind
from gateway.api.routes import product_routes
from gateway.cache.cache import ResponseCache
from gateway.cache.response_cache import response_cache
from gateway.config.policies import Cache
from gateway.http.message import Handler, Request, Response, resolve
from gateway.pipeline.degraded import Degraded
from store import StoreUnavailable
from tests.unit.gateway.cache.cached_origin import Clock, cache_status, get, started

MUG = Sku("85123A")


class CountingCatalog(MemoryCatalog):
    """Counts the reads of stock, and delays them while `gate` is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.gate: asyncio.Event | None = None
        self.fails = False

    async def level(self, sku: Sku) -> int | None:
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.fails:
            raise StoreUnavailable("away")
        return await super().level(sku)


class Shop:
    def __init__(self) -> None:
        self.clock = Clock()
        self.catalog = CountingCatalog()
        self.search = MemorySearch()
        self.degraded = Degraded()
        self.cache = ResponseCache(Cache(), clock=self.clock, now=self.clock.wall)
        layer = response_cache(self.cache, key_fields=(), mark=self.degraded.mark, degraded="products", validates=False)
        rows = product_routes(ProductHandlers(prices=self.catalog, stock=self.catalog, search=self.search))
        self.page, self.product = (layer(bind(row, self.degraded.mark)) for row in rows)

    async def stock(self, level: int, price: int = 255) -> None:
        await self.catalog.put([CatalogRow(MUG, "a mug", price, "GBP"), CatalogRow(MUG, stock=level)])
        await self.search.upsert([CatalogRow(MUG, "a mug")])

    async def send(self, handler: Handler, request: Request) -> Response:
        if handler is self.product:
            request.params = (str(MUG),)
        return await resolve(handler(request))

    async def read(self, **headers: str) -> Response:
        return await self.send(self.product, get(f"/v1/products/{MUG}", **headers))


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    shop = Shop()
    await shop.stock(5)
    yield shop
    await shop.cache.close()


def body(response: Response) -> Any:
    return orjson.loads(response.body)


async def test_a_product_is_read_once_a_second_for_all_hosts(shop: Shop) -> None:
    first = await shop.read()
    shop.clock.time += 0.9
    second = await shop.read(Host="other.example")
    assert second.body == first.body
    assert cache_status(second) == "hit; ttl=1"
    assert shop.catalog.asked == 1
    await shop.stock(4, price=199)
    shop.clock.time += 0.2
    third = body(await shop.read())
    assert (third["stock"], third["price"]["amount"]) == (4, 199)


async def test_a_client_that_has_the_product_gets_304(shop: Shop) -> None:
    etag = next(line for line in (await shop.read()).header_block.decode().split("\r\n") if line.startswith("ETag"))[6:]
    for later_s in (0.5, 0.6, 5.0):
        shop.clock.time += later_s
        response = await shop.read(If_None_Match=etag)
        assert (response.status, response.body) == (304, b"")
        assert f"ETag: {etag}\r\n".encode() in response.header_block
        assert b"Cache-Control: public, max-age=1\r\n" in response.header_block
    await shop.stock(4)
    shop.clock.time += 1.0
    assert (await shop.read(If_None_Match=etag)).status == 200


async def test_fifty_concurrent_requests_read_the_product_once(shop: Shop) -> None:
    shop.catalog.gate = asyncio.Event()
    requests = [get(f"/v1/products/{MUG}") for _ in range(50)]
    for request in requests:
        request.params = (str(MUG),)
    asking = [started(shop.product(request)) for request in requests]
    await asyncio.sleep(0)
    shop.catalog.gate.set()
    assert {response.status for response in await asyncio.gather(*asking)} == {200}
    assert shop.catalog.asked == 1


async def test_pages_are_stored_by_their_query(shop: Shop) -> None:
    for query in ("", "?limit=1", "?q=mug", "?limit=1"):
        assert (await shop.send(shop.page, get(f"/v1/products{query}"))).status == 200
    assert shop.cache.snapshot()["entries"] == 3
    assert shop.cache.stats.hit == 1


async def test_the_last_response_is_served_when_the_store_is_away(shop: Shop) -> None:
    good = await shop.read()
    shop.clock.time += 5
    shop.catalog.fails = True
    response = await shop.read()
    assert response.body == good.body
    assert shop.degraded.counts["products"] == 1
    shop.clock.time += 60
    with pytest.raises(StoreUnavailable):
        await shop.read()


async def test_a_fallback_of_the_catalogue_is_not_stored(shop: Shop) -> None:
    await shop.read()
    shop.clock.time += 2
    shop.catalog.stock_is_unknown = StoreUnavailable("away")
    request = get(f"/v1/products/{MUG}")
    response = await shop.send(shop.product, request)
    assert "stock" not in body(response)
    assert request.extra_headers.count(b"Degraded: products") == 1
    shop.catalog.stock_is_unknown = None
    assert body(await shop.read())["stock"] == 5


async def test_a_rejection_is_passed_on_and_not_stored(shop: Shop) -> None:
    shop.catalog.book = {}
    for _ in range(2):
        with pytest.raises(ProductNotFound):
            await shop.read()
    assert shop.cache.snapshot()["entries"] == 0
    await shop.stock(5)
    assert (await shop.read()).status == 200
