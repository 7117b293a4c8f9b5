"""Under any sequence of failures, no order is lost, none is paid twice, and money and stock are consistent."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from checkout.order import Order
from checkout.order_status import OrderStatus
from checkout.payments.sandbox import PaymentState
from checkout.worker import OrderWorker
from tests.unit.checkout.fake_services import (
    DECLINED,
    KILLED_AFTER,
    KILLED_BEFORE,
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

Plan = Mapping[str, list[Fault]]

BUG = Fault(RuntimeError("a bug"))
WELL = Fault()
faults = st.one_of(
    st.sampled_from([UNAVAILABLE, REPLY_LOST, DECLINED, KILLED_BEFORE, KILLED_AFTER, BUG]),
    # Within a deadline, past it, and past the visibility of a delivery.
    st.sampled_from([0.5, 4.0, 12.0, 70.0]).map(lambda delay_s: Fault(delay_s=delay_s)),
)


def is_possible(port: str, fault: Fault) -> bool:
    """A service keeps the outcome of a key: it does not decline an authorisation that it has made. A token is declined each time."""
    return port != "SandboxPayments.authorise" or fault is not DECLINED


# A fault may last for all attempts at a step.
spells = st.builds(lambda fault, calls: [fault] * calls, st.one_of(st.just(WELL), faults), st.integers(1, 3))
plans = st.dictionaries(
    st.sampled_from(
        [
            "MemoryOrders.read",
            "MemoryProgress.take",
            "MemoryProgress.renew",
            "MemoryProgress.put_back",
            "MemoryProgress.set_aside",
            "MemoryOrders.transition",
            "MemoryStock.confirm",
            "MemoryStock.cancel",
            "MemoryStock.complete",
            "SandboxPayments.authorise",
            "SandboxPayments.capture",
            "SandboxPayments.void",
            "SandboxShipping.arrange",
            "SandboxShipping.cancel",
            "CountingNotifications.order_completed",
        ]
    ),
    st.lists(spells, min_size=1, max_size=4).map(lambda several: [fault for spell in several for fault in spell]),
).map(lambda plan: {port: [fault for fault in faults if is_possible(port, fault)] for port, faults in plan.items()})
tokens = st.sampled_from(["tok_ok", "tok_ok", "tok_slow", "tok_declined", "tok_timeout"])


@settings(max_examples=200, deadline=None)
@given(
    tokens=st.lists(tokens, min_size=1, max_size=4),
    plan=plans,
    copies=st.integers(1, 3),
    workers=st.integers(1, 3),
)
def test_money_and_stock_are_consistent_after_any_failures(
    tokens: list[str], plan: Plan, copies: int, workers: int
) -> None:
    run_in_virtual_time(check(tokens, plan, copies, workers))


async def check(tokens: Sequence[str], plan: Plan, copies: int, workers: int) -> None:
    services, queue = FakeServices(Faults(plan)), MemoryQueue()
    orders = [await services.accept(token=token, quantity=number) for number, token in enumerate(tokens, start=1)]
    await queue.send([message_of(order) for order in orders] * copies)

    async with asyncio.TaskGroup() as group:
        crew = [group.create_task(run_workers(services, queue)) for _ in range(workers)]
        while len(queue):  # noqa: ASYNC110  waiting is free in virtual time
            await asyncio.sleep(1)
        for member in crew:
            member.cancel()
    await services.faults.finish()

    assert not queue.dead
    check_books(services, orders, aside={entry.order_id for entry in await services.progress.needing_attention()})


async def run_workers(services: FakeServices, queue: MemoryQueue) -> None:
    """A worker process and its successors."""
    for number in itertools.count():
        processor = services.processor(holder=f"{id(asyncio.current_task())}:{number}", concurrency=2)
        try:
            await OrderWorker(queue, processor.process, concurrency=2).run()
        except* Killed:
            pass


def check_books(services: FakeServices, orders: Sequence[Order], aside: set[str]) -> None:
    now = [services.now(order) for order in orders]
    completed = [order for order in now if order.status is OrderStatus.COMPLETED]
    cancelled = [order for order in now if order.status is OrderStatus.CANCELLED]
    set_aside = [order for order in now if not order.status.has_ended and order.id in aside]
    # Nothing is in flight any more.
    assert len(orders) == len(completed) + len(cancelled) + len(set_aside)

    # An order that needs a person may stand between the taking of the money and the last word about it; nothing else may.
    paid = [order for order in now if services.ledger(order)[-1:] == [PaymentState.CAPTURED]]
    assert all(order in completed or order.id in aside for order in paid)
    assert all(order in paid for order in completed)
    assert services.captured() == sum(order.total for order in paid)
    for order in now:
        assert max(Counter(services.ledger(order)).values(), default=0) <= 1

    undone = [order for order in cancelled if order.id not in aside]
    for order in undone:
        assert services.ledger(order)[-1:] in ([], [PaymentState.VOIDED], [PaymentState.REFUNDED])
        assert order.id not in services.shipping.booked
    may_be_undone = [order for order in cancelled if order.id in aside]
    sold = sum(line.quantity for order in [*completed, *set_aside] for line in order.lines)
    unsure = sum(line.quantity for order in may_be_undone for line in order.lines)
    assert sold <= services.sold() <= sold + unsure

    for order in completed:
        assert services.notifications.notified[order.id] >= 1 or order.history[-1].detail
