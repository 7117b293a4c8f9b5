import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from cart.model import OrderId
from checkout.errors import ServiceUnavailable
from checkout.order import Order
from checkout.order_status import OrderStatus
from checkout.ports.queue import Delivery, Outgoing
from checkout.processor import Later
from checkout.worker import OrderWorker
from tests.unit.checkout.fake_services import FakeServices, Killed, MemoryQueue, an_order, message_of
from tests.virtual_time import in_virtual_time, loop_time


@asynccontextmanager
async def working(worker: OrderWorker) -> AsyncIterator[OrderWorker]:
    """The worker runs meanwhile, and is stopped at the end."""
    running = asyncio.ensure_future(worker.run())
    try:
        yield worker
    finally:
        worker.stop()
        await running


async def until(condition: Callable[[], bool], within_s: float = 1000.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110  waiting is free in virtual time
            await asyncio.sleep(0.01)


class ScriptedProcess:
    """Processes orders that take as long, or end, as a test says: by an error, or later."""

    def __init__(self, *, takes_s: float = 0.0, ends: Sequence[BaseException | Later | None] = ()) -> None:
        self.begun = 0
        self.running = 0
        self.most_running = 0
        self.finished: list[OrderId] = []
        self.begun_at: list[float] = []
        self.takes_s = takes_s
        self._ends = iter(ends)

    async def __call__(self, order_id: OrderId) -> Later | None:
        self.begun += 1
        self.begun_at.append(loop_time())
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        try:
            await asyncio.sleep(self.takes_s)
            end = next(self._ends, None)
            if isinstance(end, BaseException):
                raise end
        finally:
            self.running -= 1
        if end is None:
            self.finished.append(order_id)
        return end


async def fill(queue: MemoryQueue, count: int) -> list[Order]:
    orders = [an_order() for _ in range(count)]
    await queue.send([message_of(order) for order in orders])
    return orders


@in_virtual_time
async def test_orders_from_the_queue_are_completed() -> None:
    services, queue = FakeServices(), MemoryQueue()
    orders = [await services.accept() for _ in range(25)]
    await queue.send([message_of(order) for order in orders])

    async with working(OrderWorker(queue, services.processor().process)) as worker:
        await until(lambda: not len(queue))

    assert {services.now(order).status for order in orders} == {OrderStatus.COMPLETED}
    assert (worker.processed, worker.released, worker.dead_lettered) == (25, 0, 0)
    assert services.captured() == sum(order.total for order in orders)


@in_virtual_time
async def test_a_duplicate_of_a_completed_order_is_acknowledged_without_effect() -> None:
    services, queue = FakeServices(), MemoryQueue()
    order = await services.accept()
    await queue.send([message_of(order)])

    async with working(OrderWorker(queue, services.processor().process)) as worker:
        await until(lambda: not len(queue))
        after_first = services.now(order), list(services.sandbox.ledger), services.sold()
        await queue.send([message_of(order)])
        await until(lambda: worker.processed == 2)

    assert not len(queue)
    assert (services.now(order), list(services.sandbox.ledger), services.sold()) == after_first


@in_virtual_time
async def test_an_invalid_message_is_dead_lettered_alone_and_at_once(caplog: pytest.LogCaptureFixture) -> None:
    services, queue = FakeServices(), MemoryQueue()
    order = await services.accept()
    poisoned = Outgoing(order.id, b"\xff not an order", "odd")
    await queue.send([poisoned, message_of(order), poisoned])

    async with working(OrderWorker(queue, services.processor().process)) as worker:
        await until(lambda: not len(queue))

    assert services.now(order).status is OrderStatus.COMPLETED
    assert (worker.processed, worker.dead_lettered) == (1, 2)
    assert {reason.partition(":")[0] for _, reason in queue.dead} == {"NotAnOrderMessage"}
    named = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(named) == 2
    assert named[0].startswith("the message with SHA-256 ")
    assert "not an order" not in named[0].partition(" is dead-lettered")[0]


@in_virtual_time
async def test_a_message_whose_order_is_not_found_is_dead_lettered_by_its_number(
    caplog: pytest.LogCaptureFixture,
) -> None:
    queue = MemoryQueue()
    (order,) = await fill(queue, 1)

    async with working(OrderWorker(queue, FakeServices().processor().process)) as worker:
        await until(lambda: not len(queue))

    assert (worker.released, worker.dead_lettered) == (4, 1)
    assert queue.dead == [(message_of(order).body, "OrderNotFound")]
    assert f"order {order.number} is dead-lettered" in caplog.text


@in_virtual_time
async def test_a_message_that_cannot_be_dead_lettered_stays_in_the_queue() -> None:
    class Nowhere(MemoryQueue):
        async def dead_letter(self, delivery: Delivery, *, reason: str) -> None:
            raise ServiceUnavailable("no place for dead letters")

    queue = Nowhere()
    await queue.send([Outgoing(an_order().id, b"odd", "odd")])

    async with working(OrderWorker(queue, ScriptedProcess())) as worker:
        await asyncio.sleep(1000)

    assert len(queue) == 1
    assert worker.dead_lettered == 0
    assert 5 < worker.released < 20


@in_virtual_time
async def test_no_more_than_concurrency_orders_are_in_progress() -> None:
    queue, process = MemoryQueue(), ScriptedProcess(takes_s=1.0)
    await fill(queue, 40)

    async with working(OrderWorker(queue, process, concurrency=7)):
        await until(lambda: not len(queue))

    assert process.most_running == 7
    assert len(set(process.finished)) == len(process.finished) == 40


@in_virtual_time
async def test_an_order_for_later_is_delivered_again_as_often_as_it_takes() -> None:
    queue = MemoryQueue()
    process = ScriptedProcess(ends=[Later(delay_s) for delay_s in (2, 8, 32, 120)] + [Later(20, by_outage=True)] * 50)
    await fill(queue, 1)

    async with working(OrderWorker(queue, process)) as worker:
        await until(lambda: not len(queue), within_s=5000)

    waits = [later - sooner for sooner, later in zip(process.begun_at, process.begun_at[1:], strict=False)]
    assert waits == pytest.approx([2, 8, 32, 120] + [20] * 50, abs=1)
    assert (worker.processed, worker.released, worker.dead_lettered) == (1, 54, 0)


@in_virtual_time
async def test_a_fault_of_the_processor_ends_neither_the_order_nor_the_worker() -> None:
    queue, process = MemoryQueue(), ScriptedProcess(ends=[RuntimeError("a bug")] * 10)
    await fill(queue, 1)

    async with working(OrderWorker(queue, process)) as worker:
        await until(lambda: not len(queue), within_s=5000)

    assert (worker.processed, worker.released, worker.dead_lettered) == (1, 10, 0)


@in_virtual_time
async def test_an_outage_slows_down_receiving() -> None:
    queue = MemoryQueue()
    process = ScriptedProcess(ends=[Later(20.0, by_outage=True)] * 10_000)
    await fill(queue, 1000)

    async with working(OrderWorker(queue, process)):
        await asyncio.sleep(10)
        assert process.begun < 300


@in_virtual_time
async def test_a_long_running_order_is_extended() -> None:
    queue, process = MemoryQueue(visibility_s=30), ScriptedProcess(takes_s=200)
    await fill(queue, 3)

    async with working(OrderWorker(queue, process, visibility_s=30, drain_s=300)):
        await until(lambda: not len(queue))

    assert process.begun == 3


@in_virtual_time
async def test_stopping_lets_the_orders_in_progress_finish() -> None:
    queue, process = MemoryQueue(), ScriptedProcess(takes_s=5)
    await fill(queue, 20)
    worker = OrderWorker(queue, process, drain_s=20)
    running = asyncio.ensure_future(worker.run())
    await until(lambda: process.running == 20)

    worker.stop()
    await running

    assert len(process.finished) == worker.processed == 20
    assert not len(queue)
    assert loop_time() < 8


@in_virtual_time
async def test_stopping_waits_for_a_bounded_time_and_returns_what_is_not_finished() -> None:
    queue, process = MemoryQueue(visibility_s=30), ScriptedProcess(takes_s=3600)
    await fill(queue, 2)
    worker = OrderWorker(queue, process, drain_s=10, wait_s=2)
    running = asyncio.ensure_future(worker.run())
    await until(lambda: process.running == 2)

    worker.stop()
    await running

    assert loop_time() < 13
    assert len(await queue.receive(10, 0)) == 2


@in_virtual_time
async def test_stopping_interrupts_a_waiting_receive() -> None:
    worker = OrderWorker(MemoryQueue(), ScriptedProcess(), wait_s=3600)
    running = asyncio.ensure_future(worker.run())
    await asyncio.sleep(1)
    worker.stop()
    await running
    assert loop_time() < 2


class HangingQueue(MemoryQueue):
    """Never replies to a receive."""

    def __init__(self) -> None:
        super().__init__()
        self.receives = 0

    async def receive(self, limit: int, wait_s: float) -> Sequence[Delivery]:
        self.receives += 1
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    async def interrupt(self) -> None:
        pass


@in_virtual_time
async def test_stopping_does_not_wait_for_a_queue_that_hangs() -> None:
    class Hanging(HangingQueue):
        async def interrupt(self) -> None:
            await asyncio.sleep(0.25)
            raise ServiceUnavailable("no reply in time")

    queue = Hanging()
    worker = OrderWorker(queue, ScriptedProcess(), wait_s=3600)
    running = asyncio.ensure_future(worker.run())
    await until(lambda: queue.receives > 0)
    worker.stop()
    await running
    assert loop_time() < 1


@in_virtual_time
async def test_a_receive_that_is_being_cancelled_is_cancelled_once() -> None:
    class SlowToEnd(HangingQueue):
        async def receive(self, limit: int, wait_s: float) -> Sequence[Delivery]:
            try:
                return await super().receive(limit, wait_s)
            finally:
                await asyncio.sleep(1)

        async def interrupt(self) -> None:
            await asyncio.sleep(0.5)
            raise ServiceUnavailable("no reply in time")

    queue = SlowToEnd()
    worker = OrderWorker(queue, ScriptedProcess(), wait_s=0.25)
    running = asyncio.ensure_future(worker.run())
    await until(lambda: queue.receives > 0)
    worker.stop()
    await running


@in_virtual_time
async def test_stopping_waits_no_longer_than_a_receive_should_take(caplog: pytest.LogCaptureFixture) -> None:
    queue = HangingQueue()
    worker = OrderWorker(queue, ScriptedProcess(), wait_s=2)
    running = asyncio.ensure_future(worker.run())
    await until(lambda: queue.receives > 0)
    worker.stop()
    await running
    assert loop_time() < 3
    assert queue.receives == 1
    assert caplog.text == ""


@in_virtual_time
async def test_nothing_is_received_after_stop() -> None:
    queue, process = MemoryQueue(), ScriptedProcess(takes_s=3)
    worker = OrderWorker(queue, process, concurrency=1)
    await fill(queue, 5)
    running = asyncio.ensure_future(worker.run())
    await until(lambda: process.running == 1)

    worker.stop()
    await running

    assert process.begun == 1
    assert len(queue) == 4


class Unreliable(MemoryQueue):
    """A queue whose calls fail as often as a test says."""

    def __init__(self, *, failing: str, times: int) -> None:
        super().__init__()
        self._failing = failing
        self._left = times

    def _may_fail(self, name: str) -> None:
        if name == self._failing and self._left:
            self._left -= 1
            raise ServiceUnavailable("the queue is away")

    async def receive(self, limit: int, wait_s: float) -> Sequence[Delivery]:
        self._may_fail("receive")
        return await super().receive(limit, wait_s)

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        self._may_fail("done")
        await super().acknowledge(deliveries)

    async def extend(self, deliveries: Sequence[Delivery], seconds: float) -> None:
        self._may_fail("extend")
        await super().extend(deliveries, seconds)

    async def release(self, delivery: Delivery, delay_s: float) -> None:
        self._may_fail("release")
        await super().release(delivery, delay_s)


@pytest.mark.parametrize("failing", ["receive", "done", "extend", "release"])
@in_virtual_time
async def test_a_queue_that_fails_for_a_while_stops_nothing(failing: str) -> None:
    queue = Unreliable(failing=failing, times=3)
    process = ScriptedProcess(takes_s=25, ends=[Later(1.0)])
    orders = await fill(queue, 3)

    async with working(OrderWorker(queue, process, drain_s=300)):
        await until(lambda: not len(queue))

    assert set(process.finished) == {order.id for order in orders}


@in_virtual_time
async def test_receiving_backs_off_while_every_order_fails() -> None:
    queue, process = Unreliable(failing="receive", times=1000), ScriptedProcess()

    async with working(OrderWorker(queue, process)):
        await asyncio.sleep(30)

    assert queue._left > 900


@in_virtual_time
async def test_orders_that_finish_together_are_acknowledged_together() -> None:
    class Slow(MemoryQueue):
        async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
            await asyncio.sleep(0.01)
            await super().acknowledge(deliveries)

    queue = Slow()
    await fill(queue, 30)

    async with working(OrderWorker(queue, ScriptedProcess(takes_s=1))):
        await until(lambda: not len(queue))

    assert sum(queue.acknowledged) == 30
    assert max(queue.acknowledged) == 10
    assert len(queue.acknowledged) <= 6


@in_virtual_time
async def test_a_worker_that_died_can_run_again() -> None:
    queue = MemoryQueue(visibility_s=30)
    orders = await fill(queue, 3)
    process = ScriptedProcess(takes_s=1, ends=[Killed()])
    worker = OrderWorker(queue, process)
    with pytest.raises(BaseExceptionGroup):
        await worker.run()
    assert worker.in_progress == 0

    async with working(worker):
        await until(lambda: not len(queue))

    assert set(process.finished) == {order.id for order in orders}


@in_virtual_time
async def test_another_worker_continues_after_one_was_killed() -> None:
    queue = MemoryQueue(visibility_s=30)
    orders = await fill(queue, 3)
    with pytest.raises(BaseExceptionGroup) as caught:
        await OrderWorker(queue, ScriptedProcess(takes_s=1, ends=[Killed()])).run()
    assert caught.group_contains(Killed)

    second: Any = ScriptedProcess()
    async with working(OrderWorker(queue, second)):
        await until(lambda: not len(queue))

    assert set(second.finished) <= {order.id for order in orders}
    assert loop_time() >= 30
