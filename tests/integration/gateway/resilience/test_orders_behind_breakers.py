"""Orders while payment, carrier or queue are away, in virtual time: none is lost, none is declined for it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from cart.model import OrderId
from cart.timestamps import unix_ms
from checkout.errors import Declined, DependencyTripped, ServiceUnavailable
from checkout.guarded import GuardedPayments, GuardedShipping, GuardedSink, is_service_failure
from checkout.order import Order
from checkout.order_status import OrderStatus
from checkout.outbox import OutboxDispatcher
from checkout.payments.order_payments import OrderPayments
from checkout.payments.payment import Payment
from checkout.ports.outbox import OutboxEntry
from checkout.ports.queue import Outgoing
from checkout.ports.services import Guard
from checkout.processor import PATIENCE_S, Later, OrderProcessor
from checkout.worker import OrderWorker
from checkout.workflow.runner import Workflow, order_steps
from gateway.resilience.breaker import Breaker
from gateway.resilience.breaker_model import State
from gateway.resilience.breakers import Breakers
from gateway.resilience.uncounted import Uncounted
from tests.unit.checkout.fake_services import FakeServices, MemoryQueue, an_order, message_of
from tests.virtual_time import in_virtual_time, loop_time

PAYMENT = Payment(reference="pay_1", authorised=100)


class Away:
    """A service that hangs or fails while `how` says so."""

    def __init__(self, service: Any) -> None:
        self.how: str | None = None
        self.calls = 0
        self._service = service

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._service, name)
        if not callable(method):
            return method

        async def call(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            if self.how == "hangs":
                await asyncio.Event().wait()
            if self.how == "fails":
                raise ServiceUnavailable("connection refused")
            return await method(*args, **kwargs)

        return call


class Bench:
    """A back services whose payment service and carrier are behind breakers, and its worker."""

    def __init__(self) -> None:
        self.services, self.queue = FakeServices(), MemoryQueue()
        self.breakers = Breakers({}, clock=loop_time, now=loop_time)
        self.payments, self.shipping = Away(self.services.sandbox), Away(self.services.shipping)
        self.ended_at: dict[OrderId, float] = {}
        self.processor = OrderProcessor(
            self.services.progress,
            self._workflow(lambda breaker: breaker, leaves_on_timeout=True),
            self._workflow(Uncounted, leaves_on_timeout=False),
            holder="worker",
            clock=loop_time,
        )
        self.worker = OrderWorker(self.queue, self._process)

    def _workflow(self, guard: Callable[[Breaker], Guard], *, leaves_on_timeout: bool) -> Workflow:
        steps = order_steps(
            index=self.services.index,
            stock=self.services.stock,
            payments=OrderPayments(GuardedPayments(self.payments, guard(self.breaker("payment")))),
            shipping=GuardedShipping(self.shipping, guard(self.breaker("shipping"))),
            notifications=self.services.notifications,
        )
        return Workflow(self.services.orders, steps, clock_ms=unix_ms, leaves_on_timeout=leaves_on_timeout)

    async def _process(self, order_id: OrderId) -> Later | None:
        later = await self.processor.process(order_id)
        if later is None:
            self.ended_at[order_id] = loop_time()
        return later

    def breaker(self, name: str) -> Breaker:
        return self.breakers.of(name, is_failure=is_service_failure)

    async def accept(self, count: int, *, token: str = "tok_ok") -> list[Order]:
        orders = [await self.services.accept(token=token) for _ in range(count)]
        await self.queue.send([message_of(order) for order in orders])
        return orders

    def statuses(self) -> set[OrderStatus]:
        return {self.services.now(order).status for order in self.services.accepted}

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        running = asyncio.ensure_future(self.worker.run())
        try:
            yield
        finally:
            self.worker.stop()
            await running


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(100_000):
        while not condition():  # noqa: ASYNC110 - waiting is free in virtual time
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("service", ["payment", "shipping"])
@pytest.mark.parametrize("how", ["hangs", "fails"])
@in_virtual_time
async def test_orders_wait_for_a_service_that_is_away_and_complete_when_it_is_back(service: str, how: str) -> None:
    bench = Bench()
    away = bench.payments if service == "payment" else bench.shipping
    breaker = bench.breaker(service)
    away.how = how
    async with bench.working():
        await bench.accept(40)
        await until(lambda: breaker.state is State.OPEN)
        cut_off_at, asked_before = loop_time(), away.calls
        await bench.accept(40)
        # Far longer than it takes to use up the failures and the attempts of an order.
        await asyncio.sleep(PATIENCE_S - 60)
        assert bench.statuses() <= {OrderStatus.STOCK_CONFIRMED, OrderStatus.PAYMENT_AUTHORISED, OrderStatus.ACCEPTED}
        # Besides the orders that were called when it tripped, each of which tries again every two minutes: one probe every
        # half a minute or so.
        tried_again = 40 * (3 + (loop_time() - cut_off_at) / 60)
        assert away.calls - asked_before < 40 + tried_again + (loop_time() - cut_off_at) / 10

        away.how = None
        await until(lambda: not len(bench.queue))
    assert bench.statuses() == {OrderStatus.COMPLETED}
    assert (bench.worker.processed, bench.worker.dead_lettered) == (80, 0)
    assert (bench.processor.counts.failed, bench.processor.counts.set_aside) == (0, 0)
    assert bench.processor.counts.deferred > 0
    assert bench.services.captured() == sum(order.total for order in bench.services.accepted)
    assert breaker.state is State.CLOSED


@in_virtual_time
async def test_declined_payments_are_responses_and_trip_nothing() -> None:
    bench = Bench()
    async with bench.working():
        await bench.accept(50, token="tok_declined")
        await until(lambda: not len(bench.queue))
    assert bench.statuses() == {OrderStatus.CANCELLED}
    assert bench.breaker("payment").state is State.CLOSED


@in_virtual_time
async def test_an_order_ends_although_its_payment_never_responds() -> None:
    bench = Bench()
    async with bench.working():
        (silent,) = await bench.accept(1, token="tok_timeout")
        await bench.accept(20)
        await until(lambda: not len(bench.queue))
    assert bench.services.now(silent).status is OrderStatus.CANCELLED
    assert bench.worker.processed == 21


@in_virtual_time
async def test_an_order_cancelled_while_payment_and_carrier_are_cut_off_is_undone_when_they_are_back() -> None:
    bench = Bench()
    bench.breaker("payment")
    bench.breaker("shipping")
    bench.breakers.trip("shipping", "drill")
    async with bench.working():
        (order,) = await bench.accept(1)
        await until(lambda: bench.statuses() == {OrderStatus.PAYMENT_AUTHORISED})
        bench.breakers.trip("payment", "drill")
        await bench.services.orders.cancel(bench.services.now(order), at=unix_ms(), message=b"")
        await asyncio.sleep(1800)
        assert len(bench.queue) == 1
        assert [state.value for state in bench.services.ledger(order)] == ["authorised"]

        bench.breakers.release("shipping")
        bench.breakers.release("payment")
        await until(lambda: not len(bench.queue))
    assert [state.value for state in bench.services.ledger(order)] == ["authorised", "voided"]
    assert bench.services.sold() == 0
    assert bench.processor.counts.failed == 0


@pytest.mark.parametrize("arrangement", ["mixed", "silent first", "good first"])
@in_virtual_time
async def test_good_orders_do_not_wait_for_payments_that_never_respond(arrangement: str) -> None:
    bench = Bench()
    good = [await bench.services.accept() for _ in range(286)]
    silent = [await bench.services.accept(token="tok_timeout") for _ in range(60)]
    orders = {"mixed": [*good, *silent], "silent first": [*silent, *good], "good first": [*good, *silent]}[arrangement]
    if arrangement == "mixed":
        random.Random(7).shuffle(orders)
    async with bench.working():
        await bench.queue.send([message_of(order) for order in orders])
        await until(lambda: not len(bench.queue))

    assert max(bench.ended_at[order.id] for order in good) < 10
    assert {bench.services.now(order).status for order in good} == {OrderStatus.COMPLETED}
    # And the others end too, without money and stock.
    assert {bench.services.now(order).status for order in silent} == {OrderStatus.CANCELLED}
    assert max(bench.ended_at.values()) < 300
    assert bench.breaker("payment").changes[State.OPEN] == 0
    assert bench.services.sold() == 2 * len(good)


@in_virtual_time
async def test_good_orders_that_come_one_by_one_do_not_wait_for_silent_ones() -> None:
    bench = Bench()
    sent_at: dict[OrderId, float] = {}
    good: list[Order] = []
    tokens = ["tok_ok"] * 286 + ["tok_timeout"] * 60
    random.Random(7).shuffle(tokens)
    async with bench.working():
        for token in tokens:
            (order,) = await bench.accept(1, token=token)
            sent_at[order.id] = loop_time()
            good += [order] if token == "tok_ok" else []
            await asyncio.sleep(0.1)
        await until(lambda: not len(bench.queue))

    assert max(bench.ended_at[order.id] - sent_at[order.id] for order in good) < 10
    assert max(bench.ended_at.values()) < 300


@in_virtual_time
async def test_a_few_silent_orders_of_a_quiet_hour_do_not_cut_the_service_off() -> None:
    """Five calls are enough to open the breaker of the payment, and each of these orders makes four."""
    bench = Bench()
    async with bench.working():
        await bench.accept(4, token="tok_timeout")
        await until(lambda: not len(bench.queue))

    assert bench.statuses() == {OrderStatus.CANCELLED}
    assert bench.breaker("payment").changes[State.OPEN] == 0
    assert bench.breaker("payment").outcomes["failed"] == 4


@pytest.mark.parametrize("service", ["payment", "shipping"])
@in_virtual_time
async def test_orders_of_a_quiet_hour_wait_for_a_service_that_hangs(service: str) -> None:
    bench = Bench()
    away = bench.payments if service == "payment" else bench.shipping
    away.how = "hangs"
    async with bench.working():
        orders = await bench.accept(2)
        await asyncio.sleep(PATIENCE_S * 2 / 3)
        assert OrderStatus.CANCELLED not in bench.statuses()
        assert bench.breaker(service).changes[State.OPEN] == 0

        away.how = None
        await until(lambda: not len(bench.queue))

    assert bench.statuses() == {OrderStatus.COMPLETED}
    for order in orders:
        assert [state.value for state in bench.services.ledger(order)] == ["authorised", "captured"]


@pytest.mark.parametrize("service", ["payment", "shipping"])
@in_virtual_time
async def test_an_order_of_a_quiet_hour_needs_a_person_when_its_patience_ends(service: str) -> None:
    bench = Bench()
    away = bench.payments if service == "payment" else bench.shipping
    away.how = "hangs"
    async with bench.working():
        (order,) = await bench.accept(1)
        await until(lambda: not len(bench.queue))

    assert PATIENCE_S <= bench.ended_at[order.id] < PATIENCE_S + 400
    (needing,) = await bench.services.progress.needing_attention()
    assert (needing.order_id, "no response to it in" in needing.reason) == (order.id, True)
    assert OrderStatus.CANCELLED not in bench.statuses()


@in_virtual_time
async def test_in_an_outage_only_orders_that_were_called_need_attention_after_their_time() -> None:
    bench = Bench()
    bench.payments.how = "hangs"
    async with bench.working():
        called = await bench.accept(10)
        await until(lambda: bench.breaker("payment").state is State.OPEN)
        waiting = await bench.accept(300)
        await asyncio.sleep(PATIENCE_S + 300)
        aside = {entry.order_id for entry in await bench.services.progress.needing_attention()}
        assert aside >= {order.id for order in called}

        bench.payments.how = None
        await until(lambda: len(bench.ended_at) == 310)
    # The time of some ends between the recovery and the next run.
    needing_attention = await bench.services.progress.needing_attention()
    assert all("no response" in entry.reason for entry in needing_attention)
    aside = {entry.order_id for entry in needing_attention}
    # Each probe calls one more.
    assert len(aside) < 100
    left = [order for order in waiting if order.id not in aside]
    assert {bench.services.now(order).status for order in left} == {OrderStatus.COMPLETED}


@in_virtual_time
async def test_a_drill_stops_orders_that_wait_for_a_response_too() -> None:
    bench = Bench()
    async with bench.working():
        bench.payments.how = "hangs"
        (order,) = await bench.accept(1)
        await until(lambda: bench.payments.calls == 1)
        bench.breakers.trip("payment", "drill")
        await asyncio.sleep(600)
        assert bench.payments.calls == 1
        bench.payments.how = None
        bench.breakers.release("payment")
        await until(lambda: not len(bench.queue))
    assert bench.services.now(order).status is OrderStatus.COMPLETED


# The queue


class Outbox:
    def __init__(self) -> None:
        self.entries: dict[str, OutboxEntry] = {}

    def write(self, count: int) -> list[OutboxEntry]:
        first = len(self.entries)
        written = [OutboxEntry("7f", f"{n}-0", OrderId(f"order {n}"), b"%d" % n) for n in range(first, first + count)]
        self.entries |= {entry.entry_id: entry for entry in written}
        return written

    async def unsent(self, *, per_partition: int) -> Sequence[OutboxEntry]:
        return list(self.entries.values())[:per_partition]

    async def mark_sent(self, entries: Sequence[OutboxEntry]) -> None:
        for entry in entries:
            self.entries.pop(entry.entry_id, None)


class FlakyQueue:
    def __init__(self) -> None:
        self.is_away = True
        self.asked = 0
        self.sent: set[OrderId] = set()

    async def send(self, messages: Sequence[Outgoing]) -> Sequence[bool]:
        self.asked += 1
        if self.is_away:
            raise ServiceUnavailable("no queue")
        self.sent.update(message.order_id for message in messages)
        return [True] * len(messages)


@in_virtual_time
async def test_the_outbox_keeps_orders_while_the_queue_is_cut_off_and_sends_them_later() -> None:
    outbox, queue = Outbox(), FlakyQueue()
    breaker = Breakers({}, clock=loop_time, now=loop_time).of("queue")
    dispatcher = OutboxDispatcher(outbox, GuardedSink(queue, breaker))
    running = asyncio.ensure_future(dispatcher.run())
    for entry in outbox.write(100):
        dispatcher.submit(entry)
    await until(lambda: breaker.state is State.OPEN)
    asked_at, asked_before = loop_time(), queue.asked
    await asyncio.sleep(600)
    assert len(outbox.entries) == 100
    assert queue.asked - asked_before < 4 + (loop_time() - asked_at) / 4

    queue.is_away = False
    await until(lambda: not outbox.entries)
    assert len(queue.sent) == 100
    await until(lambda: breaker.state is State.CLOSED)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


# The guards themselves


@in_virtual_time
async def test_a_call_that_hangs_ends_at_the_deadline_inside_its_guard() -> None:
    bench = Bench()
    bench.payments.how = "hangs"
    with pytest.raises(TimeoutError):
        await GuardedPayments(bench.payments, bench.breaker("payment"), deadline_s=1.5).authorise(
            an_order(), number=1, key="key"
        )
    assert loop_time() == pytest.approx(1.5)
    assert bench.breaker("payment").outcomes["failed"] == 1


@pytest.mark.parametrize(
    "call",
    [
        lambda payments, order: payments.authorise(order, number=1, key="key"),
        lambda payments, order: payments.capture(order, PAYMENT, key="key"),
        lambda payments, order: payments.void(order, PAYMENT, key="key"),
        lambda payments, order: payments.close(order, key="key"),
        lambda payments, order: payments.refund(order, PAYMENT, 1, refund_id="r1", key="key"),
        lambda payments, order: payments.look_up(order, None),
    ],
    ids=["authorise", "capture", "void", "close", "refund", "look_up"],
)
@in_virtual_time
async def test_every_call_of_a_guarded_payment_service_is_guarded(
    call: Callable[[GuardedPayments, Order], Awaitable[object]],
) -> None:
    bench = Bench()
    bench.breakers.trip("payment", "drill")
    with pytest.raises(DependencyTripped):
        await call(GuardedPayments(bench.payments, bench.breaker("payment")), an_order())
    assert bench.payments.calls == 0


@pytest.mark.parametrize("call", ["arrange", "cancel"])
@in_virtual_time
async def test_every_call_of_a_guarded_carrier_is_guarded(call: str) -> None:
    bench = Bench()
    bench.breakers.trip("shipping", "drill")
    with pytest.raises(DependencyTripped):
        await getattr(GuardedShipping(bench.shipping, bench.breaker("shipping")), call)(an_order())
    assert bench.shipping.calls == 0


def test_only_a_final_no_does_not_speak_against_a_service() -> None:
    assert not is_service_failure(Declined("no funds"))
    assert is_service_failure(ServiceUnavailable("gone"))
    assert is_service_failure(TimeoutError())
