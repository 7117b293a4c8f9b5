"""The store crashes at each command of an order's life and loses the end of its append-only file: the order ends all the same."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self

import pytest

from checkout.message import order_accepted
from checkout.order import Order
from checkout.order_status import OrderStatus
from checkout.outbox import OutboxDispatcher
from checkout.payments.order_payments import OrderPayments
from checkout.payments.sandbox import PaymentState, SandboxPayments
from checkout.processor import OrderProcessor
from checkout.queues.redis_queue import ACKNOWLEDGE, QUEUE, SEND, RedisQueue
from checkout.redis.in_flight import RedisInFlight
from checkout.redis.order_index import RedisOrderIndex
from checkout.redis.orders import SETTLE, UPDATE, RedisOrders
from checkout.redis.outbox import MARK_SENT, RedisOutbox
from checkout.redis.progress import RedisProgress
from checkout.redis.stock import COMPLETE, CONFIRM, RETURN_STOCK, RedisStock
from checkout.request import PaymentBody
from checkout.sandbox import SandboxNotifications
from checkout.shipping.sandbox import SandboxShipping
from checkout.stalled_orders import StalledOrders
from checkout.stored import in_flight_key
from checkout.worker import OrderWorker
from checkout.workflow.runner import Workflow, order_steps
from gateway.compose.orders import is_store_outage
from store import Client, StoreError, open_client
from tests.contract.checkout.shop import MUG, RedisShop, a_request
from tests.integration.checkout.lossy_store import CrashingStore, LossyServer
from tests.waiting import WITHIN_S

IDLE_S = 0.3
WRITES = (UPDATE, SETTLE, MARK_SENT, CONFIRM, COMPLETE, RETURN_STOCK, SEND, ACKNOWLEDGE)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[LossyServer]:
    server = LossyServer(tmp_path)
    yield server
    server.stop()


class Processes:
    """Everything that works on orders, on one store, until the block ends."""

    def __init__(self, store: CrashingStore, blocking_store: Client) -> None:
        self.payments = SandboxPayments()
        steps = order_steps(
            index=RedisOrderIndex(store),
            stock=RedisStock(store),
            payments=OrderPayments(self.payments),
            shipping=SandboxShipping(),
            notifications=SandboxNotifications(),
        )
        orders = RedisOrders(store)
        queue = RedisQueue(store, blocking_store, consumer="worker", visibility_s=IDLE_S)
        self._dispatcher = OutboxDispatcher(
            RedisOutbox(store, lease_ms=50), queue, pinned=store.pinned, sweep_s=0.05, min_age_s=0.1
        )
        workflow = Workflow(orders, steps, sleep=lambda _: asyncio.sleep(0.01))
        processor = OrderProcessor(
            RedisProgress(store, lease_ms=10_000),
            workflow,
            workflow,
            holder="worker",
            pinned=store.pinned,
            is_outage=is_store_outage,
            chance=lambda: 0.0,
        )
        self._worker = OrderWorker(queue, processor.process, wait_s=0.05)
        self._finder = StalledOrders(
            RedisInFlight(store, lease_ms=50), orders, queue, order_accepted, margin_s=IDLE_S, interval_s=0.05
        )
        self.submit = self._dispatcher.submit

    async def __aenter__(self) -> Self:
        runs = (self._dispatcher.run, self._worker.run, self._finder.run)
        self._running = [asyncio.create_task(run()) for run in runs]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.wait(self._running)

    def ledger(self, order: Order) -> list[PaymentState]:
        return [entry.became for entry in self.payments.ledger if entry.order_id == order.id]


@pytest.mark.parametrize("lost", [1, 2, 4, 1000])
@pytest.mark.parametrize(
    ("token", "end", "left", "ledger"),
    [
        ("tok_ok", OrderStatus.COMPLETED, 8, [PaymentState.AUTHORISED, PaymentState.CAPTURED]),
        ("tok_declined", OrderStatus.CANCELLED, 10, []),
    ],
)
async def test_an_order_ends_whatever_the_store_has_lost_since_it_was_accepted(
    server: LossyServer, token: str, end: OrderStatus, left: int, ledger: list[PaymentState], lost: int
) -> None:
    at = 0
    is_over = False
    while not is_over:
        at += 1
        async with AsyncExitStack() as stack:
            client, blocking_store = await open_client(server.url), await open_client(server.url, deadline_s=5.0)
            stack.push_async_callback(client.close)
            stack.push_async_callback(blocking_store.close)
            await client.execute("FLUSHALL")
            shop = RedisShop(client)
            await shop.set_stock(MUG, 10)
            request = a_request(await shop.cart(), payment=PaymentBody(token))
            placed = await shop.handlers().place(request, idempotency_key="key")
            server.keep()
            store = CrashingStore(client, server, *WRITES)
            store.at, store.lost = at, lost
            async with Processes(store, blocking_store) as processes:
                processes.submit(*shop.dispatched)
                await until_settled(client, shop, placed.order)
                is_over = store.count < at
            order = await shop.orders.read(placed.order.id)
            assert order is not None
            assert (at, order.status) == (at, end)
            assert (at, await shop.available(MUG), await shop.taken(MUG)) == (at, left, 0)
            assert (at, processes.ledger(order)) == (at, ledger)
    assert at > 6


async def until_settled(client: Client, shop: RedisShop, order: Order) -> None:
    """Wait until the order has ended, and neither queue nor outbox nor the orders in flight have anything of it."""
    partition = order.id[:2]
    async with asyncio.timeout(WITHIN_S):
        while True:
            await asyncio.sleep(0.01)
            with contextlib.suppress(StoreError):
                now = await shop.orders.read(order.id)
                assert now is not None
                if not now.status.has_ended:
                    continue
                left = await asyncio.gather(
                    client.execute("ZCARD", in_flight_key(partition)),
                    client.execute("XLEN", QUEUE),
                    client.execute("XLEN", f"{{{partition}}}outbox"),
                )
                if not any(left):
                    return
