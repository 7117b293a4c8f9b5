import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from cart.model import OrderId
from checkout.errors import DependencyTripped, ServiceUnavailable
from checkout.order import Order
from checkout.order_status import OrderStatus
from checkout.ports.queue import Delivery, Outgoing
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


class ScriptedWorkflow:
    """A workflow whose orders take as long, or fail, as a test says."""

    def __init__(self, *, takes_s: float = 0.0, errors: Sequence[BaseException] = ()) -> None:
        self.begun = 0
        self.running = 0
        self.most_running = 0
        self.finished: list[OrderId] = []
        self.begun_at: list[float] = []
        self.takes_s = takes_s
        self._errors = iter(errors)

    async def run(self, order_id: OrderId) -> Order:
        self.begun += 1
        self.begun_at.append(loop_time())
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        try:
            await asyncio.sleep(self.takes_s)
            if (error := next(self._errors, None)) is not None:
                raise error
        finally:
            self.running -= 1
        self.finished.append(order_id)
        return an_order()


async def fill(queue: MemoryQueue, count: int) -> list[Order]:
    orders = [an_order() for _ in range(count)]
    await queue.send([message_of(order) for order in orders])
    return orders


@in_virtual_time
async def test_orders_from_the_queue_are_completed() -> None:
    services, queue = FakeServices(), MemoryQueue()
    orders = [await services.accept() for _ in range(25)]
    await queue.send([message_of(order) for order in orders])

    async with working(OrderWorker(queue, services.workflow())) as worker:
        await until(lambda: not len(queue))

    assert {services.now(order).status for order in orders} == {OrderStatus.COMPLETED}
    assert (worker.processed, worker.failed, worker.dead_lettered) == (25, 0, 0)
    assert services.captured() == sum(order.total for order in orders)


@in_virtual_time
async def test_a_duplicate_of_a_completed_order_is_acknowledged_without_effect() -> None:
    services, queue = FakeServices(), MemoryQueue()
    order = await services.accept()
    await queue.send([message_of(order)])

    async with working(OrderWorker(queue, services.workflow())) as worker:
        await until(lambda: not len(queue))
        after_first = services.now(order), list(services.payments.ledger), services.sold()
        await queue.send([message_of(order)])
        await until(lambda: worker.processed == 2)

    assert not len(queue)
    assert (services.now(order), list(services.payments.ledger), services.sold()) == after_first


@in_virtual_time
async def test_an_invalid_message_is_dead_lettered_alone() -> None:
    services, queue = FakeServices(), MemoryQueue()
    order = await services.accept()
    poisoned = Outgoing(order.id, b"\xff not an order")
    await queue.send([poisoned, message_of(order), poisoned])

    async with working(OrderWorker(queue, services.workflow())) as worker:
        await until(lambda: not len(queue))

    assert services.now(order).status is OrderStatus.COMPLETED
    assert (worker.processed, worker.failed, worker.dead_lettered) == (1, 10, 2)
    assert {reason.partition(":")[0] for _, reason in queue.dead} == {"NotAnOrderMessage"}


@in_virtual_time
async def test_no_more_than_concurrency_orders_are_in_progress() -> None:
    queue, workflow = MemoryQueue(), ScriptedWorkflow(takes_s=1.0)
    await fill(queue, 40)

    async with working(OrderWorker(queue, workflow, concurrency=7)):
        await until(lambda: not len(queue))

    assert workflow.most_running == 7
    assert len(set(workflow.finished)) == len(workflow.finished) == 40


@in_virtual_time
async def test_a_failed_order_is_delivered_again_with_a_growing_delay() -> None:
    queue = MemoryQueue()
    workflow = ScriptedWorkflow(
        errors=[ServiceUnavailable("away"), RuntimeError("odd"), ServiceUnavailable("away"), KeyError("x")]
    )
    await fill(queue, 1)

    async with working(OrderWorker(queue, workflow, chance=lambda: 1.0)) as worker:
        await until(lambda: not len(queue))

    waits = [later - sooner for sooner, later in zip(workflow.begun_at, workflow.begun_at[1:], strict=False)]
    assert waits == pytest.approx([2, 8, 32, 120], abs=1)
    assert (worker.processed, worker.failed, worker.dead_lettered) == (1, 4, 0)


@in_virtual_time
async def test_an_order_that_fails_five_times_is_a_dead_letter_with_its_reason() -> None:
    queue, workflow = MemoryQueue(), ScriptedWorkflow(errors=[ServiceUnavailable("nobody there")] * 5)
    await fill(queue, 1)

    async with working(OrderWorker(queue, workflow)) as worker:
        await until(lambda: bool(queue.dead))

    assert queue.dead[0][1] == "ServiceUnavailable: nobody there"
    assert (worker.processed, worker.failed, worker.dead_lettered) == (0, 5, 1)


@in_virtual_time
async def test_an_order_is_never_dead_lettered_during_an_outage() -> None:
    queue = MemoryQueue()
    workflow = ScriptedWorkflow(errors=[DependencyTripped("payment", retry_after_s=20.0)] * 30)
    await fill(queue, 1)

    async with working(OrderWorker(queue, workflow, chance=lambda: 0.5)) as worker:
        await until(lambda: not len(queue))

    waits = [later - sooner for sooner, later in zip(workflow.begun_at, workflow.begun_at[1:], strict=False)]
    assert waits == pytest.approx([30.0] * 30, abs=1)
    assert (worker.processed, worker.deferred, worker.failed, worker.dead_lettered) == (1, 30, 0, 0)


@in_virtual_time
async def test_the_definition_of_an_outage_is_configurable() -> None:
    queue, workflow = MemoryQueue(), ScriptedWorkflow(errors=[ConnectionError("store away")] * 10)
    await fill(queue, 1)

    worker = OrderWorker(queue, workflow, is_outage=lambda error: isinstance(error, ConnectionError))
    async with working(worker):
        await until(lambda: not len(queue))

    assert (worker.processed, worker.deferred, worker.failed) == (1, 10, 0)


@in_virtual_time
async def test_an_outage_slows_down_receiving() -> None:
    queue = MemoryQueue()
    workflow = ScriptedWorkflow(errors=[DependencyTripped("payment", retry_after_s=20.0)] * 10_000)
    await fill(queue, 1000)

    async with working(OrderWorker(queue, workflow)):
        await asyncio.sleep(10)
        assert workflow.begun < 300


@in_virtual_time
async def test_a_long_running_order_is_extended() -> None:
    queue, workflow = MemoryQueue(visibility_s=30), ScriptedWorkflow(takes_s=200)
    await fill(queue, 3)

    async with working(OrderWorker(queue, workflow, visibility_s=30, drain_s=300)):
        await until(lambda: not len(queue))

    assert workflow.begun == 3


@in_virtual_time
async def test_stopping_lets_the_orders_in_progress_finish() -> None:
    queue, workflow = MemoryQueue(), ScriptedWorkflow(takes_s=5)
    await fill(queue, 20)
    worker = OrderWorker(queue, workflow, drain_s=20)
    running = asyncio.ensure_future(worker.run())
    await until(lambda: workflow.running == 20)

    worker.stop()
    await running

    assert len(workflow.finished) == worker.processed == 20
    assert not len(queue)
    assert loop_time() < 8


@in_virtual_time
async def test_stopping_waits_for_a_bounded_time_and_loses_nothing() -> None:
    queue, workflow = MemoryQueue(visibility_s=30), ScriptedWorkflow(takes_s=3600)
    await fill(queue, 2)
    worker = OrderWorker(queue, workflow, drain_s=10, wait_s=2)
    running = asyncio.ensure_future(worker.run())
    await until(lambda: workflow.running == 2)

    worker.stop()
    await running

    assert loop_time() < 13
    assert len(queue) == 2
    async with working(OrderWorker(queue, ScriptedWorkflow())):
        await until(lambda: not len(queue))


@in_virtual_time
async def test_stopping_interrupts_a_waiting_receive() -> None:
    worker = OrderWorker(MemoryQueue(), ScriptedWorkflow(), wait_s=3600)
    running = asyncio.ensure_future(worker.run())
    await asyncio.sleep(1)
    worker.stop()
    await running
    assert loop_time() < 2


@in_virtual_time
async def test_a_queue_that_cannot_be_interrupted_is_waited_for() -> None:
    class Away(MemoryQueue):
        async def interrupt(self) -> None:
            raise ServiceUnavailable("away")

    worker = OrderWorker(Away(), ScriptedWorkflow(), wait_s=10)
    running = asyncio.ensure_future(worker.run())
    await asyncio.sleep(1)
    worker.stop()
    await running
    assert loop_time() < 12


@in_virtual_time
async def test_nothing_is_received_after_stop() -> None:
    queue, workflow = MemoryQueue(), ScriptedWorkflow(takes_s=3)
    worker = OrderWorker(queue, workflow, concurrency=1)
    await fill(queue, 5)
    running = asyncio.ensure_future(worker.run())
    await until(lambda: workflow.running == 1)

    worker.stop()
    await running

    assert workflow.begun == 1
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

    async def extend(self, delivery: Delivery, seconds: float) -> None:
        self._may_fail("extend")
        await super().extend(delivery, seconds)

    async def release(self, delivery: Delivery, delay_s: float, *, reason: str) -> bool:
        self._may_fail("release")
        return await super().release(delivery, delay_s, reason=reason)


@pytest.mark.parametrize("failing", ["receive", "done", "extend", "release"])
@in_virtual_time
async def test_a_queue_that_fails_for_a_while_stops_nothing(failing: str) -> None:
    queue = Unreliable(failing=failing, times=3)
    workflow = ScriptedWorkflow(takes_s=25, errors=[RuntimeError("once")])
    orders = await fill(queue, 3)

    async with working(OrderWorker(queue, workflow, drain_s=300)):
        await until(lambda: not len(queue))

    assert set(workflow.finished) == {order.id for order in orders}


@in_virtual_time
async def test_receiving_backs_off_while_every_order_fails() -> None:
    queue, workflow = Unreliable(failing="receive", times=1000), ScriptedWorkflow()

    async with working(OrderWorker(queue, workflow)):
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

    async with working(OrderWorker(queue, ScriptedWorkflow(takes_s=1))):
        await until(lambda: not len(queue))

    assert sum(queue.acknowledged) == 30
    assert max(queue.acknowledged) == 10
    assert len(queue.acknowledged) <= 6


@in_virtual_time
async def test_a_worker_that_died_can_run_again() -> None:
    queue = MemoryQueue(visibility_s=30)
    orders = await fill(queue, 3)
    workflow = ScriptedWorkflow(takes_s=1, errors=[Killed()])
    worker = OrderWorker(queue, workflow)
    with pytest.raises(BaseExceptionGroup):
        await worker.run()
    assert worker.in_progress == 0

    async with working(worker):
        await until(lambda: not len(queue))

    assert set(workflow.finished) == {order.id for order in orders}


@in_virtual_time
async def test_another_worker_continues_after_one_was_killed() -> None:
    queue = MemoryQueue(visibility_s=30)
    orders = await fill(queue, 3)
    with pytest.raises(BaseExceptionGroup) as caught:
        await OrderWorker(queue, ScriptedWorkflow(takes_s=1, errors=[Killed()])).run()
    assert caught.group_contains(Killed)

    second: Any = ScriptedWorkflow()
    async with working(OrderWorker(queue, second)):
        await until(lambda: not len(queue))

    assert set(second.finished) <= {order.id for order in orders}
    assert loop_time() >= 30
