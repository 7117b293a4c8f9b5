"""A scheduled price starts and ends at one instant in every worker, in its cart views and in its cached pages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from cart.bodies import AddLine, NewCart
from cart.catalog.handlers import ProductHandlers
from cart.catalog.memory import MemorySearch
from cart.catalog.model import CatalogRow
from cart.catalog.redis_catalog import RedisCatalog, RedisPriceBook
from cart.handlers import CartHandlers
from cart.model import Sku
from cart.redis_carts import RedisCarts
from gateway.api.binding import bind
from gateway.api.routes import product_routes
from gateway.cache.cache import ResponseCache
from gateway.cache.response_cache import response_cache
from gateway.config.policies import Cache
from gateway.http.message import Response, resolve
from store import Client, StoreUnavailable
from tests.unit.gateway.cache.cached_origin import Clock, get

MUG = Sku("85123A")
START, UNTIL = 2000.0, 3000.0


class Catalogue(RedisCatalog):
    """Its stock can be away."""

    is_away = False

    async def level(self, sku: Sku) -> int | None:
        if self.is_away:
            raise StoreUnavailable("away")
        return await super().level(sku)


class Worker:
    """The parts of a worker that show prices. All workers have one clock, that the test moves."""

    def __init__(self, store: Client, clock: Clock) -> None:
        self._clock = clock
        self.catalog = Catalogue(store)
        self.prices = RedisPriceBook(store, clock=clock, now_ms=self.now_ms)
        self.carts = CartHandlers(RedisCarts(store), self.prices, clock_ms=self.now_ms)
        handlers = ProductHandlers(
            prices=self.prices, stock=self.catalog, search=MemorySearch(), clock=clock, now_ms=self.now_ms
        )
        self.cache = ResponseCache(Cache(stale_while_revalidate_s=30), clock=clock, now=clock.wall)
        layer = response_cache(self.cache, key_fields=(), validates=False)
        self._product = layer(bind(product_routes(handlers)[1]))

    def now_ms(self) -> int:
        return round(self._clock.time * 1000)

    async def response(self) -> Response:
        request = get(f"/v1/products/{MUG}")
        request.params = (str(MUG),)
        return await resolve(self._product(request))

    async def page(self) -> Any:
        return orjson.loads((await self.response()).body)

    async def price_of_page(self) -> int:
        return int((await self.page())["price"]["amount"])

    async def price_of_cart(self, cart_id: str) -> int:
        view = await self.carts.read(cart_id)
        return int(orjson.loads(view.to_json())["lines"][0]["unit_price"]["amount"])


@pytest.fixture
async def clock() -> Clock:
    return Clock()


@pytest.fixture
async def workers(store: Client, clock: Clock) -> AsyncIterator[list[Worker]]:
    workers = [Worker(store, clock) for _ in range(2)]
    sale = f'{{"scheduled_prices":[[199,{round(START * 1000)},{round(UNTIL * 1000)}]]}}'
    await workers[0].catalog.put([CatalogRow(MUG, "a mug", 255, "GBP", 9, terms=sale)])
    yield workers
    for worker in workers:
        await worker.cache.close()


async def prices(workers: list[Worker], cart_id: str) -> set[int]:
    """The prices of all carts and pages at this instant."""
    return {
        price
        for worker in workers
        for price in (
            await worker.price_of_cart(cart_id),
            await worker.price_of_page(),
            (await worker.prices.products([MUG]))[MUG].price,
        )
    }


async def test_a_price_changes_at_one_instant_in_all_workers_carts_and_pages(
    workers: list[Worker], clock: Clock
) -> None:
    cart = (await workers[0].carts.create(NewCart())).cart
    await workers[0].carts.add_line(cart.id, AddLine(sku=MUG, quantity=1))
    for time, price in (
        (START - 1.5, 255),
        (START - 0.5, 255),
        (START - 0.001, 255),
        (START, 199),
        (START + 0.9, 199),
        (UNTIL - 0.2, 199),
        (UNTIL - 0.001, 199),
        (UNTIL, 255),
        (UNTIL + 5, 255),
    ):
        clock.time = time
        assert await prices(workers, cart.id) == {price}, time


async def test_a_page_has_the_ordinary_price_and_the_end_of_a_lower_one(workers: list[Worker], clock: Clock) -> None:
    assert not {"was", "price_until"} & (await workers[0].page()).keys()
    clock.time = START
    page = await workers[0].page()
    assert (page["was"], page["price_until"]) == ({"amount": 255, "currency": "GBP"}, "1970-01-01T00:50:00.000Z")


async def test_no_cache_may_serve_a_price_beyond_its_end(workers: list[Worker], clock: Clock) -> None:
    for time, caching in (
        (START - 400, b"public, max-age=1"),
        (START - 299, b"public, max-age=1, must-revalidate"),
        (START - 2, b"public, max-age=1, must-revalidate"),
        (START - 0.9, b"public, max-age=0, must-revalidate"),
        (START, b"public, max-age=1"),
        (UNTIL, b"public, max-age=1"),
    ):
        clock.time = time
        assert b"Cache-Control: " + caching + b"\r\n" in (await workers[0].response()).header_block, time


async def test_a_page_of_before_a_change_is_not_served_behind_it_while_the_store_is_away(
    workers: list[Worker], clock: Clock
) -> None:
    clock.time = START - 3
    assert await workers[0].price_of_page() == 255
    workers[0].catalog.is_away = True
    clock.time = START
    with pytest.raises(StoreUnavailable):
        await workers[0].response()
