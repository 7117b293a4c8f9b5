"""Orders of several SKUs where each is a call of its own, as on a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any

import pytest

from cart.ids import new_cart_id
from cart.model import OrderId, Sku
from cart.sku_keys import product_key
from checkout.errors import HoldOutcome, Shortage, SoldAhead
from checkout.ports.stock import StockLine
from checkout.redis.stock import HOLD, RETURN_STOCK, RedisStock
from store import Script, Store
from tests.contract.cart.stores import StoreProxy
from tests.contract.checkout.shop import BOX, MUG, RedisShop

LINES = [StockLine(BOX, 1), StockLine(MUG, 1)]


@pytest.fixture(params=["redis", "cluster"])
def bare_shop(request: pytest.FixtureRequest) -> RedisShop:
    return RedisShop(request.getfixturevalue("cluster_store" if request.param == "cluster" else "store"))


@pytest.fixture
async def shop(bare_shop: RedisShop) -> RedisShop:
    """A shop with one mug and one box."""
    for sku in (MUG, BOX):
        await bare_shop.set_stock(sku, 1)
    return bare_shop


class OtherFirst(StoreProxy):
    """A store on which an order gets one SKU at once, and asks for the others only when both orders have got one."""

    def __init__(self, store: Store, first: Sku, both: asyncio.Barrier) -> None:
        super().__init__(store)
        self._first = product_key(first)
        self._both = both
        self._waiting = 2

    def run(self, script: Script, keys: Sequence[Any], args: Sequence[Any] = ()) -> Awaitable[Any]:
        return self._run(script, keys, args)

    async def _run(self, script: Script, keys: Sequence[Any], args: Sequence[Any]) -> Any:
        is_first_attempt, self._waiting = self._waiting > 0, self._waiting - 1
        if is_first_attempt and keys[0] != self._first:
            await self._both.wait()
        reply = await self._store.run(script, keys, args)
        if is_first_attempt and keys[0] == self._first:
            await self._both.wait()
        return reply


class CountedCalls(StoreProxy):
    """A store that records which scripts run for which products, and how many calls run at once."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.calls: list[tuple[Script, str]] = []
        self.at_once = self._running = 0

    def run(self, script: Script, keys: Sequence[Any], args: Sequence[Any] = ()) -> Awaitable[Any]:
        self.calls.append((script, keys[0]))
        return self._counted(super().run(script, keys, args))

    async def _counted(self, call: Awaitable[Any]) -> Any:
        self._running += 1
        self.at_once = max(self.at_once, self._running)
        try:
            return await call
        finally:
            self._running -= 1


async def hold(store: Store) -> list[HoldOutcome]:
    return await RedisStock(store, lines_per_call=1).hold(OrderId(new_cart_id()), LINES, fence=1)


async def test_of_two_orders_that_hold_what_the_other_lacks_one_gets_all(shop: RedisShop) -> None:
    both = asyncio.Barrier(4)
    results = await asyncio.gather(*(hold(OtherFirst(shop.store, first, both)) for first in (MUG, BOX)))
    assert sorted(map(len, results)) == [0, 1]
    for sku in (MUG, BOX):
        assert (await shop.available(sku), await shop.taken(sku)) == (0, 1)


async def test_lines_are_held_at_once_where_none_is_short(shop: RedisShop) -> None:
    store = CountedCalls(shop.store)
    assert await hold(store) == []
    assert (len(store.calls), store.at_once) == (2, 2)


async def test_a_short_line_is_asked_for_again_in_the_order_of_the_skus(shop: RedisShop) -> None:
    await shop.set_stock(BOX, 0)
    store = CountedCalls(shop.store)
    assert await hold(store) == [Shortage(BOX, 1, 0)]
    mug, box = product_key(MUG), product_key(BOX)
    assert store.calls[:3] == [(HOLD, box), (HOLD, mug), (RETURN_STOCK, mug)]
    assert store.calls[3:5] == [(HOLD, mug), (HOLD, box)]
    assert (await shop.available(MUG), await shop.taken(MUG)) == (1, 0)


async def test_an_order_that_holds_nothing_asks_once(shop: RedisShop) -> None:
    for sku in (MUG, BOX):
        await shop.set_stock(sku, 0)
    store = CountedCalls(shop.store)
    assert await hold(store) == [Shortage(BOX, 1, 0), Shortage(MUG, 1, 0)]
    assert len(store.calls) == 2


async def test_units_ahead_are_held_in_order_as_well(shop: RedisShop) -> None:
    await shop.sell_ahead(MUG, limit=1)
    await shop.set_stock(MUG, 0)
    await shop.set_stock(BOX, 0)
    refused = await hold(shop.store)
    assert [each for each in refused if isinstance(each, Shortage)] == [Shortage(BOX, 1, 0)]
    assert (await shop.available(MUG), await shop.taken(MUG)) == (0, 0)
    await shop.set_stock(BOX, 1)
    assert await hold(shop.store) == [SoldAhead(MUG, 1)]
