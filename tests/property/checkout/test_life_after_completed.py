"""Workers, carriers, operators and shoppers act on orders in any interleaving: each report and request has one effect."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from cart.model import OrderId
from checkout.facts import Fact, RefundRequest, ShipmentFact
from checkout.order import Order
from checkout.order_status import CANCELLABLE, OrderStatus
from checkout.payments.sandbox import PaymentState
from checkout.ports.orders import Receipt
from checkout.worker import OrderWorker
from tests.unit.checkout.fake_services import (
    DECLINED,
    KILLED_AFTER,
    KILLED_BEFORE,
    NOW,
    REPLY_LOST,
    UNAVAILABLE,
    FakeServices,
    Fault,
    Faults,
    Killed,
    MemoryQueue,
    message_of,
)
from tests.virtual_time import run_in_virtual_time

# By rank: an order only moves on.
AFTERWARDS = [OrderStatus.COMPLETED, OrderStatus.SHIPPED, OrderStatus.DELIVERED, OrderStatus.RETURNED]
TOTAL = 2 * 255 + 495


class Act(NamedTuple):
    """Something that somebody does at a time: appends a fact, or cancels where there is none."""

    at_s: float
    fact: Fact | None


shipments: st.SearchStrategy[Fact] = st.builds(
    lambda number, became, restock: ShipmentFact(f"carrier:{number}:{became}:{restock}", NOW, became, restock=restock),
    st.integers(0, 1),
    st.sampled_from(["shipped", "delivered", "returned"]),
    st.booleans(),
)
refunds: st.SearchStrategy[Fact] = st.sampled_from(
    [RefundRequest(f"refund:{number}", NOW, amount) for number, amount in enumerate((100, 700, TOTAL, None, TOTAL + 1))]
)
# Before, between and long after the steps of the order; a repeat is an act like another.
acts = st.builds(
    Act, st.sampled_from([0.0, 0.01, 0.3, 4.0, 30.0, 200.0]), st.one_of(shipments, shipments, refunds, st.none())
)
faults = st.one_of(
    st.sampled_from([UNAVAILABLE, REPLY_LOST, KILLED_BEFORE, KILLED_AFTER]),
    st.sampled_from([0.2, 4.5, 70.0]).map(lambda delay_s: Fault(delay_s=delay_s)),
)
PORTS = (
    "MemoryOrders.read",
    "MemoryOrders.update",
    "MemoryOrders.transition",
    "MemoryOrders.settle",
    "MemoryProgress.take",
    "MemoryProgress.renew",
    "MemoryProgress.put_back",
    "MemoryStock.complete",
    "MemoryStock.restock",
    "SandboxPayments.capture",
    "SandboxPayments.refund",
    "SandboxPayments.look_up",
    "SandboxShipping.arrange",
)
plans = st.dictionaries(st.sampled_from(PORTS), st.lists(st.one_of(st.just(Fault()), faults), min_size=1, max_size=6))


class RecordedOrders(dict[OrderId, Receipt]):
    """Checks each change of an order against the one before it."""

    def __setitem__(self, order_id: OrderId, receipt: Receipt) -> None:
        before, after = self.get(order_id), receipt.order
        if before is not None:
            self.check(before.order, after)
        super().__setitem__(order_id, receipt)

    def check(self, before: Order, after: Order) -> None:
        """The history grows by one entry at most, and the revision by one with it."""
        grown = len(after.history) - len(before.history)
        assert after.history[: len(before.history)] == before.history
        assert 0 <= grown <= after.revision - before.revision <= 1
        assert after.refunded <= after.total


@settings(max_examples=60, deadline=None)
@given(
    of_orders=st.lists(st.lists(acts, max_size=8), min_size=1, max_size=3),
    plan=plans,
    workers=st.integers(1, 3),
)
def test_each_report_and_each_refund_has_one_effect(
    of_orders: list[list[Act]], plan: Mapping[str, list[Fault]], workers: int
) -> None:
    run_in_virtual_time(check(of_orders, plan, workers))


# Deaths and lost replies where a fact is applied: between its effect and its record.
while_applying = st.dictionaries(
    st.sampled_from(["MemoryOrders.update", "MemoryStock.restock", "SandboxPayments.refund"]),
    st.lists(st.sampled_from([Fault(), UNAVAILABLE, REPLY_LOST, KILLED_BEFORE, KILLED_AFTER]), min_size=1, max_size=4),
    min_size=1,
)
RETURNED = Act(30.0, ShipmentFact("carrier", NOW, "returned", restock=True))


@settings(max_examples=40, deadline=None)
@given(acts_of_one=st.lists(acts, max_size=4), plan=while_applying, at_s=st.sampled_from([0.01, 30.0]))
def test_a_worker_that_dies_while_it_applies_a_fact_has_no_second_effect(
    acts_of_one: list[Act], plan: Mapping[str, list[Fault]], at_s: float
) -> None:
    refund = Act(at_s, RefundRequest("some", NOW, 100))
    run_in_virtual_time(check([[*acts_of_one, RETURNED, refund]], plan, 2))


@settings(max_examples=20, deadline=None)
@given(acts_of_one=st.lists(acts, max_size=8), declined_after=st.integers(0, 3))
def test_a_payment_service_that_declines_refunds_loses_no_money(acts_of_one: list[Act], declined_after: int) -> None:
    plan = {"SandboxPayments.refund": [Fault()] * declined_after + [DECLINED] * 3}
    run_in_virtual_time(check([acts_of_one], plan, 2))


async def check(of_orders: Sequence[Sequence[Act]], plan: Mapping[str, Sequence[Fault]], workers: int) -> None:
    services, queue = FakeServices(Faults(plan)), MemoryQueue()
    services.orders.orders = RecordedOrders()
    orders = [await services.accept() for _ in of_orders]
    await queue.send([message_of(order) for order in orders])

    async with asyncio.TaskGroup() as group:
        crew = [group.create_task(run_workers(services, queue)) for _ in range(workers)]
        await asyncio.gather(
            *(do(services, queue, order, act) for order, each in zip(orders, of_orders, strict=True) for act in each)
        )
        while len(queue):  # noqa: ASYNC110  waiting is free in virtual time
            await asyncio.sleep(1)
        for member in crew:
            member.cancel()
    await services.faults.finish()

    assert not queue.dead
    assert not await services.progress.needing_attention()
    for order, each in zip(orders, of_orders, strict=True):
        check_order(services, services.now(order), [act.fact for act in each if act.fact is not None])
    check_books(services, [services.now(order) for order in orders])


async def do(services: FakeServices, queue: MemoryQueue, order: Order, act: Act) -> None:
    """Append the fact and send the message of the order, as webhooks and commands do; or cancel, if it is not too late."""
    await asyncio.sleep(act.at_s)
    message = message_of(order)
    if act.fact is not None:
        if await services.orders.append_fact(order.id, act.fact, message=message.body) is None:
            return
    elif services.now(order).status in CANCELLABLE:
        await services.orders.cancel(services.now(order), at=NOW, message=message.body)
    else:
        return
    await queue.send([message])


async def run_workers(services: FakeServices, queue: MemoryQueue) -> None:
    """A worker process and its successors."""
    for number in itertools.count():
        processor = services.processor(holder=f"{id(asyncio.current_task())}:{number}", concurrency=3)
        try:
            await OrderWorker(queue, processor.process, concurrency=3).run()
        except* Killed:
            pass


def check_order(services: FakeServices, order: Order, facts: Sequence[Fact]) -> None:
    """Every fact has had its effect, and no other."""
    assert order.status.has_ended
    assert not order.facts
    entries = order.history
    if order.status is OrderStatus.CANCELLED:
        assert entries[-1].status is OrderStatus.CANCELLED
        assert not order.refunded
        assert order.id not in services.shipping.booked
        return
    reports = [fact for fact in facts if isinstance(fact, ShipmentFact)]
    reached = [OrderStatus(report.became) for report in reports]
    assert order.status is max([OrderStatus.COMPLETED, *reached], key=AFTERWARDS.index)
    passed = [entry.status for entry in entries if entry.status in AFTERWARDS]
    assert passed == sorted(passed, key=AFTERWARDS.index)
    moves = [status for status, _ in itertools.groupby(passed)]
    assert len(set(moves)) == len(moves)
    assert order.restocked == any(report.restock and report.became == "returned" for report in reports)

    requests = {fact.id for fact in facts if isinstance(fact, RefundRequest)}
    refunds = [entry for entry in entries if entry.refunded is not None]
    refused = [entry for entry in entries if entry.detail is not None and "was refused" in entry.detail]
    assert len(refunds) + len(refused) == len(requests)
    assert services.ledger(order).count(PaymentState.REFUNDED) == len(refunds)


def check_books(services: FakeServices, orders: Sequence[Order]) -> None:
    """Money and stock are those of the orders."""
    bought = [order for order in orders if order.status is not OrderStatus.CANCELLED]
    assert services.captured() == sum(order.total - order.refunded for order in bought) >= 0
    kept = [order for order in bought if not order.restocked]
    assert services.sold() == sum(line.quantity for order in kept for line in order.lines)
