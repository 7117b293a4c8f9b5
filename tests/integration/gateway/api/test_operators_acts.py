"""An act of an operator on the admin API is carried out at once, in a process of any role."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Literal

import pytest

from checkout.order import Order
from checkout.order_status import OrderStatus
from checkout.queues.redis_queue import QUEUE
from checkout.redis.orders import RedisOrders
from checkout.redis.outbox import LEASE_KEY
from checkout.redis.progress import RedisProgress
from checkout.stored import encode_order, order_key
from gateway import compose
from gateway.prerequisites import StoreAddress
from gateway.settings import Settings
from store import Client, Lease
from tests.unit.checkout.fake_services import an_order
from tests.waiting import WITHIN_S


@pytest.mark.parametrize("role", ["all", "edge", "worker"])
async def test_an_act_is_sent_to_the_queue_though_the_outbox_is_never_swept(
    store: Client, store_url: str, tmp_path: Path, role: Literal["all", "edge", "worker"]
) -> None:
    order = an_order()
    await store.execute("HSET", order_key(order.id), "doc", encode_order(order), "status", order.status.value)
    await RedisProgress(store, lease_ms=1).set_aside(order.id, "worker", reason="odd")
    assert await Lease(store, LEASE_KEY, ttl_ms=round(2 * WITHIN_S * 1000)).acquire(), "so that no process sweeps"
    async with AsyncExitStack() as stack:
        settings = Settings(data_dir=tmp_path, workers=1, role=role, store_timeout=5.0)
        address = StoreAddress(store_url, is_embedded=False)
        gateway = await compose.gateway(settings, address, stack, worker_name="shop:0a")

        await gateway.commands["retry_order"]({"order": order.id})

        # A worker takes the message from the queue at once.
        async with asyncio.timeout(WITHIN_S):
            while not await store.execute("XLEN", QUEUE) and await status_of(store, order) is order.status:  # noqa: ASYNC110  another process changes it
                await asyncio.sleep(0.01)


async def status_of(store: Client, order: Order) -> OrderStatus:
    now = await RedisOrders(store).read(order.id)
    assert now is not None
    return now.status
