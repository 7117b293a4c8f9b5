"""Whatever makes units of a SKU available again publishes it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from cart.catalog.model import CatalogRow
from cart.catalog.redis_catalog import RedisCatalog
from cart.ids import new_cart_id
from cart.model import OrderId, Sku
from checkout.ports.stock import StockLine
from checkout.redis.changes import RedisStockNotices
from checkout.redis.inventory import RedisInventory
from checkout.redis.stock import RedisStock
from store import Client
from store.subscriber import Subscriber

WITHIN_S = 30.0
MUG = Sku("85123A")
ORDER = OrderId(new_cart_id())
LINES = [StockLine(MUG, 1)]


async def cancelled(store: Client) -> None:
    await RedisStock(store).cancel(ORDER, [MUG])


async def released(store: Client) -> None:
    await RedisStock(store).release(ORDER, [MUG], fence=1)


async def expired(store: Client) -> None:
    await RedisStock(store, hold_ms=-1000).hold(ORDER, LINES, fence=1)
    assert await RedisStock(store).expire(ORDER, [MUG])


async def restocked(store: Client) -> None:
    await RedisStock(store).restock(ORDER, LINES, report="returned")


async def added(store: Client) -> None:
    await RedisInventory(store).add(MUG, 1, key="delivery")


async def counted(store: Client) -> None:
    await RedisCatalog(store).put([CatalogRow(MUG, stock=5)])


@pytest.fixture
async def told(store: Client, store_url: str) -> AsyncIterator[asyncio.Event]:
    """Set at a notice of the SKU, whose one unit is held; the confirmation of the subscription is over."""
    await RedisCatalog(store).put([CatalogRow(MUG, "a mug", 255, "GBP", 1)])
    assert await RedisStock(store).hold(ORDER, LINES, fence=1) == []
    subscriber, event = Subscriber(store_url), asyncio.Event()
    running = asyncio.create_task(subscriber.run())
    RedisStockNotices(subscriber).listen(MUG, event.set)
    async with asyncio.timeout(WITHIN_S):
        await event.wait()
    event.clear()
    yield event
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize("returned", [cancelled, released, expired, restocked, added, counted])
async def test_units_that_are_available_again_are_announced(
    store: Client, told: asyncio.Event, returned: Callable[[Client], Awaitable[None]]
) -> None:
    await returned(store)
    async with asyncio.timeout(WITHIN_S):
        await told.wait()
    available = await store.execute("HGET", "{85123A}p", "stock")
    assert int(available) >= 1


async def test_a_sale_is_not_announced(store: Client, told: asyncio.Event) -> None:
    stock = RedisStock(store)
    await stock.hold(ORDER, LINES, fence=2)
    await stock.confirm(ORDER, [MUG])
    await stock.complete(ORDER, [MUG])
    await RedisCatalog(store).put([CatalogRow(MUG, price=300, currency="GBP")])
    await store.execute("SPUBLISH", "other", "")
    assert not told.is_set()
    await RedisInventory(store).add(MUG, 1, key="last")
    async with asyncio.timeout(WITHIN_S):
        await told.wait()
