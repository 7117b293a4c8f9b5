"""The contract of `LowStockList`, for both adapters."""

from __future__ import annotations

import asyncio

from cart.model import Sku
from cart.sku_keys import product_key
from checkout.memory.low_stock import MemoryLowStockList
from checkout.ports.low_stock import MAX_LOW_SKUS, LowStockList
from checkout.redis.low_stock import KEY, RedisLowStockList
from tests.contract.checkout.shop import BOX, MUG, MemoryShop, RedisShop, Shop

MARK = 5


def list_of(shop: Shop, *, max_skus: int = MAX_LOW_SKUS) -> LowStockList:
    if isinstance(shop, MemoryShop):
        return MemoryLowStockList(shop.memory_stock.available, max_skus=max_skus)
    assert isinstance(shop, RedisShop)
    times = iter(range(1, 10**6))
    return RedisLowStockList(shop.store, max_skus=max_skus, clock_ms=lambda: next(times))


async def test_a_sku_is_new_in_the_list_once(shop: Shop) -> None:
    listed = list_of(shop)
    assert await listed.refresh(MARK) == {}
    await shop.set_stock(MUG, 5)
    assert await listed.add(MUG)
    assert not await listed.add(MUG)
    assert await listed.refresh(MARK) == {MUG: 5}
    assert not await listed.add(MUG)


async def test_of_many_at_once_one_lists_the_sku(shop: Shop) -> None:
    listed = list_of(shop)
    assert sorted(await asyncio.gather(*(listed.add(MUG) for _ in range(20)))) == [False] * 19 + [True]


async def test_the_latest_sku_is_the_first(shop: Shop) -> None:
    listed = list_of(shop)
    for sku, units in ((MUG, 3), (BOX, 0)):
        await shop.set_stock(sku, units)
        await listed.add(sku)
    assert list((await listed.refresh(MARK)).items()) == [(BOX, 0), (MUG, 3)]


async def test_a_sku_with_more_units_leaves_the_list_and_is_new_later(shop: Shop) -> None:
    listed = list_of(shop)
    await listed.add(MUG)
    assert await listed.refresh(MARK) == {}
    await shop.set_stock(MUG, 5)
    assert await listed.refresh(MARK) == {}
    assert await listed.add(MUG)
    assert await listed.refresh(MARK) == {MUG: 5}


async def test_a_sku_that_left_the_catalogue_leaves_the_list(shop: Shop) -> None:
    listed = list_of(shop)
    await listed.add(Sku("removed"))
    assert await listed.refresh(MARK) == {}
    assert await listed.add(Sku("removed"))


async def test_the_earliest_are_dropped_from_a_full_list(shop: Shop) -> None:
    listed = list_of(shop, max_skus=600)
    skus = [Sku(f"S{number}") for number in range(650)]
    for sku in skus:
        await shop.set_stock(sku, 1)
        await listed.add(sku)
    assert list(await listed.refresh(MARK)) == skus[:-601:-1]
    if isinstance(shop, RedisShop):
        assert await shop.store.execute("ZCARD", KEY) == 600


async def test_a_sku_that_is_sold_while_it_leaves_the_list_stays(shop: Shop) -> None:
    if not isinstance(shop, RedisShop):
        return  # in memory, nothing comes between
    store = shop.store

    class SellsMeanwhile:
        """A store on which the units are sold, and listed, just before they are listed no more."""

        async def execute(self, *command: str | int) -> object:
            if command[0] == "ZREM":
                await store.execute("HSET", product_key(MUG), "stock", 2)
                assert not await RedisLowStockList(store).add(MUG)
            return await store.execute(*command)

    listed = RedisLowStockList(SellsMeanwhile())  # type: ignore[arg-type]
    await listed.add(MUG)
    assert await listed.refresh(MARK) == {MUG: 2}
    assert await listed.refresh(MARK) == {MUG: 2}
