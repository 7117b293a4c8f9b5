"""Workers are replaced by newer ones, one by one, while orders of both versions of the workflow are in flight."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from checkout.message import order_accepted
from checkout.order import Order
from checkout.order_status import CancelReason, OrderStatus
from checkout.payments.sandbox import PaymentState
from checkout.processor import NEWER_WORKER_S, OrderProcessor
from checkout.steps.step import Services, Step
from checkout.worker import OrderWorker
from checkout.workflow.orders import THREE_CALLS, VERSION_1
from checkout.workflow.table import StepRow, WorkflowTable
from tests.unit.checkout.fake_services import MUG, FakeServices, MemoryQueue, message_of
from tests.virtual_time import in_virtual_time, loop_time
from tests.waiting import until

ORDERS_OF_EACH = 150
WORKERS = 4


class Screening:
    """What the step that version 2 adds has seen."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()

    def step(self, _services: Services) -> Step:
        return _Screen(self.seen)


class _Screen(Step):
    def __init__(self, seen: Counter[str]) -> None:
        self._seen = seen

    async def apply(self, order: Order) -> None:
        await asyncio.sleep(0.5)
        self._seen[order.id] += 1


def version_2(screening: Screening) -> WorkflowTable:
    """Version 1 with a step more, before the payment, and without the first step."""
    added = StepRow(name="screen", step=screening.step, retry=THREE_CALLS)
    _, confirm, *rest = VERSION_1.rows
    return WorkflowTable(2, (confirm, added, *rest))


class Shop(FakeServices):
    """A shop whose processes are of either version."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = MemoryQueue()
        self.screening = Screening()
        self.old: Mapping[int, WorkflowTable] = {0: VERSION_1, 1: VERSION_1}
        self.new = {**self.old, 2: version_2(self.screening)}
        self.ran_by: dict[str, set[str]] = {}
        self._names = itertools.count(1)

    async def accept_of(self, version: int, *, token: str = "tok_ok") -> Order:
        order = await self.accept(token=token)
        order = msgspec.structs.replace(order, workflow=version)
        self.orders.orders[order.id] = msgspec.structs.replace(self.orders.orders[order.id], order=order)
        await self.queue.send([message_of(order)])
        return order

    def start(self, tables: Mapping[int, WorkflowTable], kind: str) -> tuple[OrderWorker, asyncio.Task[None]]:
        name = f"{kind} {next(self._names)}"
        processor = self.processor_of(tables, name)
        worker = OrderWorker(self.queue, processor.process, concurrency=4, drain_s=2.0, chance=lambda: 0.5)
        return worker, asyncio.ensure_future(worker.run())

    def processor_of(self, tables: Mapping[int, WorkflowTable], name: str, **settings: Any) -> OrderProcessor:
        workflow = self.workflow(tables=tables, observer=None)
        seen = Seen(workflow, self.ran_by, name)
        return OrderProcessor(self.progress, seen, seen, holder=name, clock=loop_time, chance=lambda: 0.5, **settings)


class Seen:
    """A workflow that notes which worker changed which order."""

    def __init__(self, workflow: Any, ran_by: dict[str, set[str]], name: str) -> None:
        self._workflow = workflow
        self._ran_by = ran_by
        self._name = name

    async def run(self, order: Order, hold: Any) -> Order:
        done = await self._workflow.run(order, hold)
        self._ran_by.setdefault(order.id, set()).add(self._name.split()[0])
        assert isinstance(done, Order)
        return done

    def give_up_s(self, version: int, status: OrderStatus | None) -> float | None:
        return None

    async def give_up(self, order: Order, detail: str, hold: Any) -> bool:
        return bool(await self._workflow.give_up(order, detail, hold))


@pytest.fixture
def shop() -> Shop:
    return Shop()


@in_virtual_time
async def test_all_orders_end_by_the_steps_of_their_version(shop: Shop) -> None:
    running = [shop.start(shop.old, "old") for _ in range(WORKERS)]
    of_1 = [await shop.accept_of(1, token="tok_slow" if number % 3 else "tok_ok") for number in range(ORDERS_OF_EACH)]
    await asyncio.sleep(1)
    # The first new edge accepts orders of version 2, while all workers are old.
    of_2 = [await shop.accept_of(2) for _ in range(ORDERS_OF_EACH)]
    await asyncio.sleep(3)
    assert not shop.screening.seen
    for number, (worker, task) in enumerate(list(running)):
        running.append(shop.start(shop.new, "new"))
        if number % 2:
            task.cancel()  # killed
        else:
            worker.stop()
        await asyncio.wait([task])
        await asyncio.sleep(3)
    await until(lambda: not len(shop.queue), within_s=3600, step_s=1)
    for worker, _ in running:
        worker.stop()
    await asyncio.gather(*(task for _, task in running), return_exceptions=True)

    assert {shop.now(order).status for order in (*of_1, *of_2)} == {OrderStatus.COMPLETED}
    assert shop.sold() == 2 * 2 * ORDERS_OF_EACH
    assert all(shop.ledger(order) == [PaymentState.AUTHORISED, PaymentState.CAPTURED] for order in (*of_1, *of_2))
    # The step that version 2 adds, for its orders only; the one that it removes, for those of version 1 only.
    assert set(shop.screening.seen) == {order.id for order in of_2}
    assert [len(await shop.index.by_number(order.number)) for order in of_1] == [1] * ORDERS_OF_EACH
    assert [len(await shop.index.by_number(order.number)) for order in of_2] == [0] * ORDERS_OF_EACH
    assert {by for order in of_2 for by in shop.ran_by[order.id]} == {"new"}
    assert {by for order in of_1 for by in shop.ran_by[order.id]} == {"old", "new"}
    assert not shop.queue.dead
    assert await shop.progress.count_needing_attention() == 0


@in_virtual_time
async def test_an_order_of_a_later_version_waits_and_nothing_of_it_changes(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    order = await shop.accept_of(2)
    old = shop.processor_of(shop.old, "old")

    for _ in range(10):
        later = await old.process(order.id)
        assert later is not None
        assert later.delay_s == pytest.approx(1.5 * NEWER_WORKER_S)
        assert not later.by_outage

    assert caplog.messages == ["orders of version 2 of the workflow wait for a newer worker"]
    assert shop.now(order) == order
    assert not shop.faults.calls
    assert old.counts.failed == 0
    assert await shop.processor_of(shop.new, "new").process(order.id) is None
    assert shop.now(order).status is OrderStatus.COMPLETED


@in_virtual_time
async def test_an_old_worker_does_not_give_up_an_order_of_a_later_version(shop: Shop) -> None:
    order = await shop.accept_of(2)
    for _ in range(5):
        await shop.progress.take(order.id, "killer")
        await shop.progress.put_back(order.id, "killer", failed=True)

    assert await shop.processor_of(shop.old, "old").process(order.id) is not None
    assert shop.now(order).status is OrderStatus.ACCEPTED

    assert await shop.processor_of(shop.new, "new").process(order.id) is None
    assert shop.now(order).reason is CancelReason.NOT_PROCESSED


@in_virtual_time
async def test_a_shopper_cancels_an_order_of_a_later_version_on_an_old_process(shop: Shop) -> None:
    order = await shop.accept_of(2)
    await shop.orders.cancel(order, at=order.created_at, message=order_accepted(order))

    assert await shop.processor_of(shop.old, "old").process(order.id) is not None
    assert shop.stock.taken(MUG) == 2

    assert await shop.processor_of(shop.new, "new").process(order.id) is None
    assert shop.stock.taken(MUG) == 0
    assert shop.now(order).reason is CancelReason.REQUESTED
