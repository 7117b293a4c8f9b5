"""Whatever makes units of a SKU available again publishes it, and a process that has refused the SKU sells them at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from cart.catalog.model import CatalogRow
from cart.catalog.redis_catalog import RedisCatalog
from cart.ids import new_cart_id
from cart.model import OrderId, Sku
from checkout.errors import OutOfStock
from checkout.ports.stock import StockLine
from checkout.redis.changes import RedisStockNotices
from checkout.redis.inventory import RedisInventory
from checkout.redis.stock import RedisStock
from checkout.sold_out import SoldOut
from store.opening import StoreClient, open_store_client, open_subscriber
from tests.contract.checkout.shop import RedisShop, a_request
from tests.waiting import WITHIN_S, until

MUG = Sku("85123A")
ORDER = OrderId(new_cart_id())
LINES = [StockLine(MUG, 1)]


async def cancelled(store: StoreClient) -> None:
    await RedisStock(store).cancel(ORDER, [MUG])


async def released(store: StoreClient) -> None:
    await RedisStock(store).release(ORDER, [MUG], fence=1)


async def expired(store: StoreClient) -> None:
    await RedisStock(store, hold_ms=-1000).hold(ORDER, LINES, fence=1)
    assert await RedisStock(store).expire(ORDER, [MUG])


async def restocked(store: StoreClient) -> None:
    await RedisStock(store).restock(ORDER, LINES, report="returned")


async def added(store: StoreClient) -> None:
    await RedisInventory(store).add(MUG, 1, key="delivery")


async def counted(store: StoreClient) -> None:
    await RedisCatalog(store).put([CatalogRow(MUG, stock=5)])


@pytest.fixture(params=["store_url", "cluster_url"])
def url(request: pytest.FixtureRequest) -> str:
    """The address of one server, and that of a cluster."""
    return str(request.getfixturevalue(request.param))


@pytest.fixture
async def store(url: str) -> AsyncIterator[StoreClient]:
    client = await open_store_client(url, deadline_s=5.0)
    await client.execute("FLUSHDB")
    yield client
    await client.close()


@pytest.fixture
async def notices(store: StoreClient, url: str) -> AsyncIterator[RedisStockNotices]:
    subscriber = open_subscriber(url, store)
    running = asyncio.create_task(subscriber.run())
    yield RedisStockNotices(subscriber)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def listening(notices: RedisStockNotices) -> asyncio.Event:
    """Set at a notice of the SKU; the confirmation of the subscription is over."""
    event = asyncio.Event()
    notices.listen(MUG, event.set)
    async with asyncio.timeout(WITHIN_S):
        await event.wait()
    event.clear()
    return event


@pytest.fixture
async def told(store: StoreClient, notices: RedisStockNotices) -> asyncio.Event:
    """Set at a notice of the SKU, whose one unit is held."""
    await RedisCatalog(store).put([CatalogRow(MUG, "a mug", 255, "GBP", 1)])
    assert await RedisStock(store).hold(ORDER, LINES, fence=1) == []
    return await listening(notices)


@pytest.mark.parametrize("returned", [cancelled, released, expired, restocked, added, counted])
async def test_units_that_are_available_again_are_announced(
    store: StoreClient, told: asyncio.Event, returned: Callable[[StoreClient], Awaitable[None]]
) -> None:
    await returned(store)
    async with asyncio.timeout(WITHIN_S):
        await told.wait()
    available = await store.execute("HGET", "{85123A}p", "stock")
    assert int(available) >= 1


async def test_a_sale_is_not_announced(store: StoreClient, told: asyncio.Event) -> None:
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


async def test_a_unit_that_another_process_returns_is_sold_before_its_sku_is_forgotten(
    store: StoreClient, notices: RedisStockNotices
) -> None:
    # Its clock stands still: only a notice makes it forget.
    sold_out = SoldOut(notices, clock=lambda: 0.0)
    heard: list[Sku] = []
    notices.listen(MUG, lambda: heard.append(MUG))
    await until(lambda: heard)
    shop = RedisShop(store)
    await shop.set_stock(MUG, 1)
    await until(lambda: len(heard) == 2)
    heard.pop()
    handlers, elsewhere = shop.handlers(sold_out=sold_out), shop.handlers()
    first, crowd = await shop.cart({MUG: 1}), await shop.cart({MUG: 1})
    sold = (await elsewhere.place(a_request(first), idempotency_key="first")).order
    with pytest.raises(OutOfStock):
        await handlers.place(a_request(crowd), idempotency_key="crowd")
    # The memory begins anew once a return can no longer be missed.
    await until(lambda: len(heard) == 2)
    with pytest.raises(OutOfStock):
        await handlers.place(a_request(crowd), idempotency_key="crowd")
    assert sold_out.units_left() == {MUG: 0}

    await shop.stock.cancel(sold.id, [MUG])

    await until(lambda: not sold_out.units_left())
    placed = await handlers.place(a_request(crowd), idempotency_key="crowd")
    assert (placed.replayed, await shop.available(MUG)) == (False, 0)
