"""Orders placed, queued and worked on over one store, by a worker that is killed at each of its commands."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import NoReturn

import pytest

from checkout.message import order_accepted
from checkout.order import Order
from checkout.order_status import OrderStatus
from checkout.outbox import outgoing
from checkout.payments.order_payments import OrderPayments
from checkout.payments.sandbox import PaymentState, SandboxPayments
from checkout.ports.queue import Outgoing
from checkout.processor import OrderProcessor
from checkout.queues.redis_queue import DEAD, QUEUE, RedisQueue
from checkout.redis.in_flight import RedisInFlight
from checkout.redis.order_index import RedisOrderIndex
from checkout.redis.orders import RedisOrders
from checkout.redis.progress import RedisProgress
from checkout.redis.stock import RedisStock
from checkout.request import PaymentBody
from checkout.sandbox import SandboxNotifications
from checkout.shipping.sandbox import SandboxShipping
from checkout.stalled_orders import StalledOrders
from checkout.stored import order_key
from checkout.worker import OrderWorker
from checkout.workflow.runner import Workflow, order_steps
from store import Client, Store, StoreError, StoreUnavailable, open_client
from tests.contract.checkout.shop import BOX, MUG, FailingStore, Killed, RedisShop, a_request

STOCK = 10_000
# Short, because the orders of a killed worker wait for it.
LEASE_S = 0.1
_numbers = itertools.count(1)
DONE_ONCE = [PaymentState.AUTHORISED, PaymentState.CAPTURED]


@pytest.fixture
async def blocking_store(store_url: str) -> AsyncIterator[Client]:
    client = await open_client(store_url, deadline_s=5.0)
    yield client
    await client.close()


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("checkout.processor.BUSY_S", 0.01)
    monkeypatch.setattr("checkout.processor.MIN_DEFER_S", 0.01)


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
        assert list(await self.queue.send([outgoing(entry)])) == [True]
        return placed.order

    def processor(self, store: Store) -> OrderProcessor:
        """The processor of a worker process that just started."""
        steps = order_steps(
            index=RedisOrderIndex(store),
            stock=RedisStock(store),
            payments=OrderPayments(self.payments),
            shipping=self.shipping,
            notifications=SandboxNotifications(),
        )
        workflow = Workflow(RedisOrders(store), steps)
        return OrderProcessor(
            RedisProgress(store, lease_ms=round(LEASE_S * 1000)),
            workflow,
            workflow,
            holder=f"worker:{next(_numbers)}",
            lease_s=LEASE_S,
            is_outage=lambda error: isinstance(error, StoreError),
        )

    def worker(self, store: Store, blocking_store: Store, *, visibility_s: float = 30.0) -> OrderWorker:
        """A worker process that just started; always the same one to the queue."""
        queue = RedisQueue(store, blocking_store, consumer="worker", visibility_s=visibility_s)
        return OrderWorker(queue, self.processor(store).process, wait_s=0.01)

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
    assert (worker.processed, worker.released, worker.dead_lettered) == (100, 0, 0)
    assert services.captured() == sum(order.total for order in orders) * 90 // 100
    assert await services.accounts() == [(STOCK - 180, 0), (STOCK - 90, 0)]


async def test_two_workers_at_once_do_everything_once(services: FakeServices, store_url: str) -> None:
    orders = [await services.place("tok_ok", 1) for _ in range(40)]
    for order in orders:  # and each message twice
        await services.queue.send([Outgoing(order.id, order_accepted(order), "again")])
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
    # A declined payment is closed once more by a worker that did not see it declined.
    assert all(services.ledger(order) in ([], [PaymentState.VOIDED]) for order in cancelled)
    assert services.captured() == sum(order.total for order in completed)
    assert await services.accounts() == [(STOCK - 2 * len(completed), 0), (STOCK - len(completed), 0)]
    assert await services.store.execute("XLEN", DEAD) == 0


async def test_an_order_whose_record_is_broken_is_set_aside_and_the_others_complete(
    services: FakeServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("checkout.processor.FIRST_RETRY_S", 0.01)
    monkeypatch.setattr("checkout.processor.MAX_RETRY_S", 0.01)
    broken, *good = [await services.place("tok_ok", 1) for _ in range(5)]
    await services.store.execute("HSET", order_key(broken.id), "doc", "{not an order")

    await services.work_off(services.worker(services.store, services.blocking_store))

    progress = RedisProgress(services.store, lease_ms=1000)
    (entry,) = await progress.needing_attention()
    assert entry.order_id == broken.id
    assert "DecodeError" in entry.reason
    assert {await services.status(order) for order in good} == {OrderStatus.COMPLETED}


async def test_a_completed_order_keeps_nothing_of_its_progress(services: FakeServices) -> None:
    order = await services.place("tok_ok", 1)

    await services.work_off(services.worker(services.store, services.blocking_store))

    fields = await services.store.execute("HKEYS", order_key(order.id))
    assert not {b"lease", b"failures", b"deaths", b"unanswered", b"aside"} & set(fields)


@pytest.mark.parametrize("ran", [False, True], ids=["before", "after"])
async def test_a_worker_loses_no_order_with_any_reply_of_the_store(services: FakeServices, ran: bool) -> None:
    """A claim, a lease, a step, a release or an acknowledgement whose reply is lost; the worker goes on."""
    completed: list[Order] = []
    cancelled: list[Order] = []
    for at in range(1, 1000):
        completed.append(await services.place("tok_ok", 2))
        cancelled.append(await services.place("tok_declined", 3))
        lost = StoreUnavailable("the connection was lost", may_have_run=True)
        failing = FailingStore(services.store, at=at, ran=ran, error=lost)
        await services.work_off(services.worker(failing, failing, visibility_s=0.3))
        if failing.count < at:
            break  # it got through with fewer commands

    assert len(completed) > 15
    assert {await services.status(order) for order in completed} == {OrderStatus.COMPLETED}
    assert {await services.status(order) for order in cancelled} == {OrderStatus.CANCELLED}
    assert [services.ledger(order) for order in completed] == [DONE_ONCE] * len(completed)
    assert services.captured() == sum(order.total for order in completed)
    assert await services.accounts() == [(STOCK - 2 * len(completed), 0), (STOCK - len(completed), 0)]
    assert await RedisProgress(services.store, lease_ms=1000).count_needing_attention() == 0


async def test_the_delay_of_a_retry_survives_the_loss_of_worker_and_queue(
    services: FakeServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_args: object, **_more: object) -> NoReturn:
        raise RuntimeError("a fault of this order")

    order = await services.place("tok_ok", 1)
    await services.shop.outbox.mark_sent(await services.shop.outbox.unsent(per_partition=10))
    with monkeypatch.context() as patch:
        patch.setattr(services.payments, "authorise", broken)
        later = await services.processor(services.store).process(order.id)
    assert later is not None
    await services.store.execute("DEL", QUEUE)

    finder = StalledOrders(
        RedisInFlight(services.store), services.shop.orders, services.queue, order_accepted, margin_s=0.0
    )
    assert await finder.sweep() == 1
    assert [entry.order_id for entry in await services.shop.outbox.unsent(per_partition=10)] == [order.id]
    early = await services.processor(services.store).process(order.id)
    assert early is not None
    assert 0 < early.delay_s <= later.delay_s
    assert await services.status(order) is OrderStatus.STOCK_CONFIRMED

    # The server's clock cannot be moved, so the delay is.
    at_ms, revision = (await services.store.execute("HGET", order_key(order.id), "due")).split()
    await services.store.execute("HSET", order_key(order.id), "due", b"%d %b" % (int(at_ms) - 60_000, revision))
    assert await services.processor(services.store).process(order.id) is None
    assert await services.status(order) is OrderStatus.COMPLETED
    assert services.ledger(order) == DONE_ONCE
    assert await services.store.execute("HEXISTS", order_key(order.id), "due") == 0
