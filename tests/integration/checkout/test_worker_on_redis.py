"""Orders placed, queued and worked on over one store, by a worker that is killed at each of its commands."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from checkout.message import order_accepted
from checkout.order import Order
from checkout.order_status import OrderStatus
from checkout.ports.queue import Outgoing
from checkout.queues.redis_queue import DEAD, QUEUE, RedisQueue
from checkout.redis_orders import RedisOrders
from checkout.redis_stock import RedisStock
from checkout.request import PaymentBody
from checkout.sandbox import PaymentState, SandboxNotifications, SandboxPayments, SandboxShipping
from checkout.worker import OrderWorker
from checkout.workflow import Workflow, order_steps
from store import Client, Store, open_client
from tests.contract.checkout.shop import BOX, MUG, FailingStore, Killed, RedisShop, a_request

STOCK = 10_000
DONE_ONCE = [PaymentState.AUTHORISED, PaymentState.CAPTURED]


@pytest.fixture
async def blocking_store(store_url: str) -> AsyncIterator[Client]:
    client = await open_client(store_url, deadline_s=5.0)
    yield client
    await client.close()


class FakeServices:
    """The services that outlive a worker: store, queue, payment service and carrier."""

    def __init__(self, store: Client, blocking_store: Client) -> None:
        self.store = store
        self.blocking_store = blocking_store
        self.shop = RedisShop(store)
        self.payments = SandboxPayments()
        self.shipping = SandboxShipping()
        self.queue = RedisQueue(store, blocking_store, consumer="sender")

    async def place(self, token: str, quantity: int) -> Order:
        """Check out a cart, and send its order to the queue."""
        cart = await self.shop.cart({MUG: quantity, BOX: 1})
        request = a_request(cart, payment=PaymentBody(token))
        placed = await self.shop.handlers().place(request, idempotency_key=cart.id)
        entry = self.shop.dispatched.pop()
        assert list(await self.queue.send([Outgoing(entry.order_id, entry.message)])) == [True]
        return placed.order

    def worker(self, store: Store, blocking_store: Store) -> OrderWorker:
        """A worker process that just started; always the same one to the queue."""
        steps = order_steps(
            stock=RedisStock(store),
            payments=self.payments,
            shipping=self.shipping,
            notifications=SandboxNotifications(),
        )
        queue = RedisQueue(store, blocking_store, consumer="worker", max_deliveries=10)
        return OrderWorker(queue, Workflow(RedisOrders(store), steps), wait_s=0.01)

    async def work_off(self, worker: OrderWorker) -> None:
        """Run the worker until the queue is empty, or it dies."""
        running = asyncio.ensure_future(worker.run())
        while not running.done() and await self.store.execute("XLEN", QUEUE):
            pass
        worker.stop()
        await running

    async def status(self, order: Order) -> OrderStatus:
        now = await self.shop.orders.read(order.id)
        assert now is not None
        return now.status

    def ledger(self, order: Order) -> list[PaymentState]:
        return [entry.became for entry in self.payments.ledger if entry.order_id == order.id]

    def captured(self) -> int:
        return sum(entry.amount for entry in self.payments.ledger if entry.became is PaymentState.CAPTURED)

    async def accounts(self) -> list[tuple[int, int]]:
        """Available and still taken of each SKU."""
        return [(await self.shop.available(sku), await self.shop.taken(sku)) for sku in (MUG, BOX)]


@pytest.fixture
async def services(store: Client, blocking_store: Client) -> FakeServices:
    services = FakeServices(store, blocking_store)
    for sku in (MUG, BOX):
        await services.shop.set_stock(sku, STOCK)
    return services


async def test_a_hundred_orders_are_completed(services: FakeServices) -> None:
    orders = [await services.place("tok_declined" if number % 10 == 0 else "tok_ok", 2) for number in range(100)]
    worker = services.worker(services.store, services.blocking_store)

    await services.work_off(worker)

    statuses = [await services.status(order) for order in orders]
    assert statuses.count(OrderStatus.COMPLETED) == 90
    assert statuses.count(OrderStatus.CANCELLED) == 10
    assert (worker.processed, worker.failed, worker.dead_lettered) == (100, 0, 0)
    assert services.captured() == sum(order.total for order in orders) * 90 // 100
    assert await services.accounts() == [(STOCK - 180, 0), (STOCK - 90, 0)]


async def test_two_workers_at_once_do_everything_once(services: FakeServices, store_url: str) -> None:
    orders = [await services.place("tok_ok", 1) for _ in range(40)]
    for order in orders:  # and each message twice
        await services.queue.send([Outgoing(order.id, order_accepted(order))])
    other = await open_client(store_url, deadline_s=5.0)
    one, two = services.worker(services.store, services.blocking_store), services.worker(services.store, other)

    await asyncio.gather(services.work_off(one), services.work_off(two))
    await other.close()

    assert one.processed + two.processed == 80
    assert [services.ledger(order) for order in orders] == [DONE_ONCE] * 40
    assert await services.accounts() == [(STOCK - 40, 0), (STOCK - 40, 0)]


@pytest.mark.parametrize("ran", [False, True], ids=["before", "after"])
async def test_another_worker_continues_after_one_killed_at_any_command(services: FakeServices, ran: bool) -> None:
    completed: list[Order] = []
    cancelled: list[Order] = []
    for at in range(1, 1000):
        completed.append(await services.place("tok_ok", 2))
        cancelled.append(await services.place("tok_declined", 3))
        failing = FailingStore(services.store, at=at, ran=ran, error=Killed())
        try:
            await services.work_off(services.worker(failing, failing))
            break  # it got through with fewer commands
        except* Killed:
            pass
        await services.work_off(services.worker(services.store, services.blocking_store))

    assert len(completed) > 15
    assert {await services.status(order) for order in completed} == {OrderStatus.COMPLETED}
    assert {await services.status(order) for order in cancelled} == {OrderStatus.CANCELLED}
    assert [services.ledger(order) for order in completed] == [DONE_ONCE] * len(completed)
    assert [services.ledger(order) for order in cancelled] == [[PaymentState.VOIDED]] * len(cancelled)
    assert services.captured() == sum(order.total for order in completed)
    assert await services.accounts() == [(STOCK - 2 * len(completed), 0), (STOCK - len(completed), 0)]
    assert await services.store.execute("XLEN", DEAD) == 0
