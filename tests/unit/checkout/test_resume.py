"""A worker dies at any call of the store or of a service, and its message is lost: the order is found, and ends once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
import pytest

from cart.timestamps import unix_ms
from checkout.attention import OrderDesk
from checkout.facts import RetryFrom
from checkout.memory.in_flight import MemoryInFlight
from checkout.message import order_accepted
from checkout.order import Order
from checkout.order_status import CancelReason, OrderStatus
from checkout.payments.sandbox import PaymentState
from checkout.stalled_orders import StalledOrders
from checkout.workflow.orders import VERSION_1
from checkout.workflow.table import RetryPolicy, WorkflowTable
from tests.unit.checkout.fake_services import (
    KILLED_AFTER,
    KILLED_BEFORE,
    LEASE_MS,
    MUG,
    NOW,
    UNAVAILABLE,
    FakeServices,
    Fault,
    Faults,
    Killed,
    MemoryQueue,
    leave_to_the_sweep,
)
from tests.virtual_time import in_virtual_time, loop_time, pause

DONE_ONCE: Final = [PaymentState.AUTHORISED, PaymentState.CAPTURED]
Story = Callable[[FakeServices], Awaitable[Order]]


def services_in_virtual_time(faults: Faults | None = None) -> FakeServices:
    services = FakeServices(faults)
    services.clock_ms = lambda: NOW + round(loop_time() * 1000)
    return services


async def good(services: FakeServices) -> Order:
    return await services.accept()


async def declined(services: FakeServices) -> Order:
    return await services.accept(token="tok_declined")


async def cancelled(services: FakeServices) -> Order:
    """Cancelled by the shopper when its shipment is booked."""
    order = await services.accept()
    for status in (OrderStatus.STOCK_CONFIRMED, OrderStatus.PAYMENT_AUTHORISED):
        order = await services.orders.transition(order, status, at=order.created_at)
    await services.stock.confirm(order.id, order.skus)
    await services.payments.authorise(order)
    await services.shipping.arrange(order)
    order, _ = await services.orders.cancel(order, at=order.created_at, message=b"")
    return order


async def retried(services: FakeServices) -> Order:
    """An operator has it run again from its first step, when its stock is confirmed."""
    order = await services.accept()
    await services.stock.confirm(order.id, order.skus)
    order = await services.orders.transition(order, OrderStatus.STOCK_CONFIRMED, at=order.created_at)
    await OrderDesk(services.orders, services.progress, message=order_accepted, dispatch=leave_to_the_sweep).retry_from(
        order.id, "enter_in_index"
    )
    return services.now(order)


async def notified_again(services: FakeServices) -> Order:
    """An operator wants the notification of a completed order once more."""
    order = await services.accept()
    await services.run(order)
    await services.orders.append_fact(order.id, RetryFrom("again", 1, "notify"), message=b"")
    return order


STORIES: Final[dict[str, tuple[Story, int, CancelReason | None, list[PaymentState]]]] = {
    # Each with its calls, the reason if it is cancelled, and its payment.
    "good": (good, 13, None, DONE_ONCE),
    "declined": (declined, 9, CancelReason.PAYMENT_DECLINED, []),
    "cancelled": (cancelled, 8, CancelReason.REQUESTED, [PaymentState.AUTHORISED, PaymentState.VOIDED]),
    "retried": (retried, 14, None, DONE_ONCE),
    "notified again": (notified_again, 6, None, DONE_ONCE),
}
EACH_CALL: Final = [
    pytest.param(name, fault, number, id=f"{name}-{kind}-{number}")
    for name, (_, calls, _, _) in STORIES.items()
    for kind, fault in (("before", KILLED_BEFORE), ("after", KILLED_AFTER))
    for number in range(1, calls + 1)
]


async def found(services: FakeServices) -> list[str]:
    """The orders for which the finder of stuck orders sends a message."""
    services.orders.entries.clear()
    in_flight = MemoryInFlight(services.orders, services.progress, clock_ms=lambda: unix_ms() + 10_000_000)
    await StalledOrders(in_flight, services.orders, MemoryQueue(), order_accepted, margin_s=60.0).sweep()
    return [entry.order_id for entry in services.orders.entries.values()]


@pytest.mark.parametrize(("name", "fault", "number"), EACH_CALL)
@in_virtual_time
async def test_an_order_whose_worker_and_message_are_lost_ends_once(name: str, fault: Fault, number: int) -> None:
    story, _, reason, ledger = STORIES[name]
    services = services_in_virtual_time()
    order = await story(services)
    services.orders.in_flight[order.id] = unix_ms()
    services.faults.at_call(number, fault)
    with pytest.raises(Killed):
        await services.processor(holder="killed").process(order.id)
    services.faults.never()
    pause(LEASE_MS / 1000 + 1)

    # It is still in flight, unless it had ended and was settled.
    if found_ids := await found(services):
        assert found_ids == [order.id]
        assert await services.processor(holder="next").process(order.id) is None

    now = services.now(order)
    assert now.status is (OrderStatus.COMPLETED if reason is None else OrderStatus.CANCELLED)
    assert now.reason is reason
    assert not now.facts
    # The next worker makes sure that a payment is voided whose outcome it cannot know.
    assert services.ledger(order) in (ledger, [*ledger, PaymentState.VOIDED])
    assert services.captured() == (order.total if reason is None else 0)
    assert services.sold() == (2 if reason is None else 0)
    assert services.stock.taken(MUG) == 0
    assert (order.id in services.shipping.booked) is (reason is None)
    assert [entry.status for entry in now.history] == list(dict.fromkeys(entry.status for entry in now.history))
    assert await found(services) == []


class StoreAway(Exception):
    """A command of the store failed, or its reply was lost."""


@pytest.mark.parametrize("name", STORIES)
@pytest.mark.parametrize("after", [False, True], ids=["not sent", "reply lost"])
@in_virtual_time
async def test_an_order_ends_once_although_any_one_call_fails(name: str, after: bool) -> None:
    story, calls, reason, ledger = STORIES[name]
    for number in range(1, calls + 1):
        services = services_in_virtual_time()
        order = await story(services)
        services.faults.at_call(number, Fault(StoreAway(), after=after))
        processor = services.processor(is_outage=lambda error: isinstance(error, StoreAway))
        while (later := await processor.process(order.id)) is not None:
            pause(later.delay_s)

        now = services.now(order)
        assert now.reason is reason, services.faults.calls
        assert now.status is (OrderStatus.COMPLETED if reason is None else OrderStatus.CANCELLED)
        assert services.ledger(order) in (ledger, [*ledger, PaymentState.VOIDED])
        assert services.captured() == (order.total if reason is None else 0)
        assert services.sold() == (2 if reason is None else 0)
        assert not now.facts
        assert (processor.counts.failed, processor.counts.set_aside) == (0, 0)


@pytest.mark.parametrize("name", STORIES)
@in_virtual_time
async def test_the_kills_above_cover_every_call(name: str) -> None:
    story, calls, _, _ = STORIES[name]
    services = services_in_virtual_time()
    order = await story(services)
    before = len(services.faults.calls)

    await services.processor().process(order.id)

    assert len(services.faults.calls) - before == calls


@pytest.mark.parametrize("status", list(OrderStatus)[:4])
@in_virtual_time
async def test_an_order_that_waits_at_any_step_is_found_when_its_message_is_lost(status: OrderStatus) -> None:
    refuses = {
        OrderStatus.ACCEPTED: "MemoryStock.confirm",
        OrderStatus.STOCK_CONFIRMED: "SandboxPayments.authorise",
        OrderStatus.PAYMENT_AUTHORISED: "SandboxShipping.arrange",
        OrderStatus.SHIPPING_ARRANGED: "SandboxPayments.capture",
    }
    broken = Fault(RuntimeError("a fault of its own"))
    services = FakeServices(Faults({refuses[status]: [broken] * 3}))
    order = await services.accept()
    services.orders.in_flight[order.id] = unix_ms()
    later = await services.processor().process(order.id)
    assert later is not None
    assert services.now(order).status is status

    assert await found(services) == [order.id]
    early = await services.processor(holder="next").process(order.id)
    assert early is not None
    assert early.delay_s <= later.delay_s
    pause(early.delay_s)
    assert await services.processor(holder="next").process(order.id) is None

    assert services.now(order).status is OrderStatus.COMPLETED
    assert services.ledger(order) == DONE_ONCE
    assert await found(services) == []


@in_virtual_time
async def test_a_step_may_have_a_give_up_time_of_its_own() -> None:
    services = FakeServices(Faults({"SandboxPayments.capture": [UNAVAILABLE] * 100}))
    impatient = RetryPolicy(attempts=1, backoff_s=0.2, give_up_s=30.0)
    rows = [
        msgspec.structs.replace(row, retry=impatient) if row.name == "capture_payment" else row
        for row in VERSION_1.rows
    ]
    processor = services.processor(tables={0: WorkflowTable(1, tuple(rows))}, patience_s=3600.0)
    order = await services.accept()

    while (later := await processor.process(order.id)) is not None:
        pause(later.delay_s)

    assert 30 < loop_time() < 60
    [needs] = await services.progress.needing_attention()
    assert needs.reason.startswith("its shipment is booked, its payment may be captured: no response to it in")
