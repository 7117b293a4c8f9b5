"""The store's breaker trips again and again under a whole gateway: nothing that belongs together is parted."""

from __future__ import annotations

import asyncio
import functools
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from cart.catalog.model import CatalogRow
from cart.catalog.redis_catalog import RedisCatalog
from cart.model import Sku
from checkout.queues.redis_queue import DEAD, QUEUE
from gateway import compose
from gateway.config.policies import Breaker, Policies, Room
from gateway.prerequisites import StoreAddress
from gateway.settings import Settings
from store import Client
from tests.integration.gateway.resilience.shopping import SKU, Shop
from tests.waiting import until

STOCK = 100_000
TRIPS = 6
ROOM = Room(name="drop", routes=("GET /v1/products",), admissions_per_s=100, max_active=100, max_queue_age_s=5.0)
POLICIES = Policies(
    breaker={"store": Breaker(open_s=0.1, max_open_s=0.2, ramp_s=1.0)},
    rooms=(ROOM,),
)


@pytest.fixture
async def shop(store: Client, store_url: str, tmp_path: Path) -> AsyncIterator[Shop]:
    await RedisCatalog(store).put([CatalogRow(Sku(SKU), "a mug", 255, "GBP", STOCK)])
    async with AsyncExitStack() as stack:
        settings = Settings(data_dir=tmp_path, policies=POLICIES, workers=1)
        gateway = await compose.gateway(settings, StoreAddress(store_url, is_embedded=False), stack, worker_name="s:0a")
        server = await asyncio.get_running_loop().create_server(gateway.edge.protocol, "127.0.0.1", 0)
        stack.push_async_callback(gateway.edge.drain, 0.0)
        stack.callback(server.close)
        yield Shop(gateway, server.sockets[0].getsockname()[1])


def has_answered(shop: Shop, requests: int) -> bool:
    return shop.statuses.total() >= requests


def has_rejected(shop: Shop, rejected: int) -> bool:
    return shop.statuses[503] > rejected


async def test_six_trips_under_load_leave_no_ghosts_and_every_order_ends(shop: Shop, store: Client) -> None:
    numbers = itertools.count()

    async def order_until_rejected(rejected: int) -> list[str]:
        """Order again and again until the trip is noticed, which a fast machine outruns with a fixed number of orders."""
        order_ids: list[str] = []
        while not order_ids or shop.statuses[503] <= rejected:
            order_ids.append(await shop.order(next(numbers)))
        return order_ids

    placing: list[asyncio.Task[list[str]]] = []
    for _ in range(TRIPS):
        under_way, rejected = shop.statuses.total() + 45, shop.statuses[503]
        placing += [asyncio.create_task(order_until_rejected(rejected)) for _ in range(30)]
        # They are in every step of an order then.
        await until(functools.partial(has_answered, shop, under_way), step_s=0)
        await shop.drill(tripped=True)
        await until(functools.partial(has_rejected, shop, rejected))
        await shop.drill(tripped=False)
        await until(lambda: shop.gateway.edge.run_unit is None)
    order_ids = list(itertools.chain.from_iterable(await asyncio.gather(*placing)))
    assert len(set(order_ids)) == next(numbers) >= 30 * TRIPS

    for order_id in order_ids:
        await shop.until_completed(order_id)
    # Nothing is left in the queue: an entry without its delivery would make the oldest order older and older.
    assert await store.execute("XLEN", DEAD) == 0
    left = 1
    while left:
        left = await store.execute("XLEN", QUEUE)
        await asyncio.sleep(0.01)
    assert (await store.execute("XPENDING", QUEUE, "workers"))[0] == 0
    assert int(await store.execute("HGET", f"{{{SKU}}}p", "stock")) == STOCK - len(order_ids)
    # The rate of a waiting room that slows down for old orders.
    assert (await shop.snapshot("rooms"))["drop"]["factor"] == 1.0
