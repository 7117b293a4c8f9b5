"""Deliveries that a worker gets again, too early, or in another sequence."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from cart.model import OrderId
from checkout.errors import ServiceUnavailable
from checkout.order_status import OrderStatus
from checkout.payments.sandbox import PaymentState
from checkout.ports.queue import Delivery, Outgoing
from checkout.worker import OrderWorker
from tests.unit.checkout.fake_services import FakeServices, Fault, Faults, MemoryQueue, an_order, message_of
from tests.virtual_time import in_virtual_time, loop_time

VISIBILITY_S = 5.0
STEP_S = 20.0
ORDERS = 12


class OneAtATime:
    """Processes orders one after the other, each for `VISIBILITY_S`, however many are received."""

    def __init__(self) -> None:
        self.begun: Counter[OrderId] = Counter()
        self.finished = 0
        self._slow_step = asyncio.Lock()

    async def __call__(self, order_id: OrderId) -> None:
        self.begun[order_id] += 1
        async with self._slow_step:
            await asyncio.sleep(VISIBILITY_S)
        self.finished += 1


class CountingQueue(MemoryQueue):
    """Counts deliveries; `failing` says which calls of `extend`, by their numbers, fail or hang."""

    def __init__(self, *, failing: Sequence[int] = (), hanging: Sequence[int] = ()) -> None:
        super().__init__(visibility_s=VISIBILITY_S)
        self.delivered = 0
        self.extends = 0
        self._failing = failing
        self._hanging = hanging

    async def receive(self, limit: int, wait_s: float) -> Sequence[Delivery]:
        received = await super().receive(limit, wait_s)
        self.delivered += len(received)
        return received

    async def extend(self, deliveries: Sequence[Delivery], seconds: float) -> None:
        self.extends += 1
        if self.extends in self._hanging:
            await asyncio.sleep(3600)
        if self.extends in self._failing:
            raise ServiceUnavailable("the queue is away")
        await super().extend(deliveries, seconds)


class ScramblingQueue(CountingQueue):
    """Delivers each message one to five times, in any sequence, within a minute."""

    def __init__(self, *, chance: random.Random, failing: Sequence[int] = ()) -> None:
        super().__init__(failing=failing)
        self._chance = chance

    async def send(self, messages: Sequence[Outgoing]) -> Sequence[bool]:
        copies = [message for message in messages for _ in range(self._chance.randint(1, 5))]
        self._chance.shuffle(copies)
        await super().send(copies)
        for number, (body, at, attempts) in self._waiting.items():
            self._waiting[number] = (body, at + self._chance.uniform(0, 60), attempts)
        return [True] * len(messages)


@asynccontextmanager
async def working(*workers: OrderWorker) -> AsyncIterator[None]:
    running = [asyncio.ensure_future(worker.run()) for worker in workers]
    yield
    for worker in workers:
        worker.stop()
    await asyncio.gather(*running)


async def until_empty(queue: MemoryQueue) -> None:
    async with asyncio.timeout(10_000):
        while len(queue):  # noqa: ASYNC110  waiting is free in virtual time
            await asyncio.sleep(0.1)


@pytest.mark.parametrize(
    ("failing", "hanging"), [((), ()), ((2, 3, 9), ()), ((), (2, 3, 9))], ids=["reachable", "failing", "hanging"]
)
def test_64_deliveries_behind_a_slow_step_do_not_expire(failing: Sequence[int], hanging: Sequence[int]) -> None:
    @in_virtual_time
    async def test() -> None:
        queue, process = CountingQueue(failing=failing, hanging=hanging), OneAtATime()
        await queue.send([message_of(an_order()) for _ in range(64)])
        busy, idle = (
            OrderWorker(queue, process, concurrency=64, visibility_s=VISIBILITY_S, drain_s=3600) for _ in range(2)
        )
        async with working(busy):
            while busy.in_progress < 64:  # noqa: ASYNC110  waiting is free in virtual time
                await asyncio.sleep(0.01)
            async with working(idle):
                await until_empty(queue)
        assert loop_time() > 64 * VISIBILITY_S
        assert (busy.processed, idle.processed) == (64, 0)
        assert queue.delivered == 64
        assert set(process.begun.values()) == {1}

    test()


STEPS = (
    "MemoryStock.confirm",
    "SandboxPayments.authorise",
    "SandboxShipping.arrange",
    "SandboxPayments.capture",
    "CountingNotifications.order_completed",
)
# The steps of an order take `STEP_S` in all.
SLOW = Fault(delay_s=STEP_S / len(STEPS))
# Longer than the deadline of a call; it takes effect all the same.
TOO_SLOW = Fault(delay_s=STEP_S)


@pytest.mark.parametrize("extends", [True, False], ids=["extended", "never extended"])
@pytest.mark.parametrize("seed", range(5))
def test_deliveries_one_to_five_times_and_reordered_have_one_effect(seed: int, extends: bool) -> None:
    """With a visibility of 5 s, orders of 20 s, steps of 20 s among them, and two workers, also where extensions fail."""

    @in_virtual_time
    async def test() -> None:
        services = FakeServices(
            Faults({step: [TOO_SLOW] * 3 * step.endswith(("authorise", "arrange")) + [SLOW] * 200 for step in STEPS})
        )
        queue = ScramblingQueue(chance=random.Random(seed), failing=() if extends else range(100_000))
        orders = [await services.accept() for _ in range(ORDERS)]
        await queue.send([message_of(order) for order in orders])
        workers = [
            OrderWorker(queue, services.processor(holder=name).process, visibility_s=VISIBILITY_S, drain_s=3600)
            for name in ("one", "two")
        ]

        async with working(*workers):
            await until_empty(queue)
        await services.faults.finish()

        assert queue.delivered > ORDERS
        for order in orders:
            assert [entry.status for entry in services.now(order).history] == [
                OrderStatus.ACCEPTED,
                OrderStatus.STOCK_CONFIRMED,
                OrderStatus.PAYMENT_AUTHORISED,
                OrderStatus.SHIPPING_ARRANGED,
                OrderStatus.COMPLETED,
            ]
            assert services.ledger(order) == [PaymentState.AUTHORISED, PaymentState.CAPTURED]
        assert set(services.notifications.notified.values()) == {1}
        assert services.captured() == sum(order.total for order in orders)
        assert services.sold() == 2 * ORDERS

    test()
