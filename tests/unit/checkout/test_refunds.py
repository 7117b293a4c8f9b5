"""Refunds of completed orders: in full, in parts, refused, and once each."""

from __future__ import annotations

import itertools

import pytest

from checkout.errors import ServiceUnavailable
from checkout.facts import RefundRequest
from checkout.order import Order
from checkout.order_status import OrderStatus
from checkout.payments.sandbox import PaymentState
from tests.unit.checkout.fake_services import NOW, REPLY_LOST, UNAVAILABLE, FakeServices, Fault, Faults

TOTAL = 2 * 255 + 495
NUMBERS = itertools.count(1)


def request(amount: int | None = None, *, of: str = "", detail: str | None = None) -> RefundRequest:
    return RefundRequest(of or f"refund-{next(NUMBERS)}", NOW, amount, detail)


async def refund(services: FakeServices, order: Order, *requests: RefundRequest) -> Order:
    """Append the requests and run the order."""
    for each in requests:
        await services.orders.append_fact(order.id, each, message=b"")
    return await services.run(order)


async def completed(services: FakeServices) -> Order:
    return await services.run(await services.accept())


def refunds(order: Order) -> list[int]:
    return [entry.refunded for entry in order.history if entry.refunded is not None]


@pytest.fixture
def services() -> FakeServices:
    return FakeServices()


async def test_all_of_an_order_is_refunded(services: FakeServices) -> None:
    order = await completed(services)
    assert order.total == TOTAL
    order = await refund(services, order, request(detail="lost on the way"))
    assert refunds(order) == [TOTAL]
    assert (order.status, order.history[-1].detail) == (OrderStatus.COMPLETED, "lost on the way")
    assert services.captured() == 0
    assert not order.facts


async def test_several_parts_and_then_what_is_left_are_refunded(services: FakeServices) -> None:
    order = await refund(services, await completed(services), request(100), request(5), request())
    assert refunds(order) == [100, 5, TOTAL - 105]
    assert order.refunded == TOTAL
    assert services.captured() == 0
    assert order.payment is not None
    assert order.payment.refunded == TOTAL


async def test_the_same_request_refunds_once(services: FakeServices) -> None:
    order = await completed(services)
    for _ in range(5):
        order = await refund(services, order, request(100, of="once"))
    assert refunds(order) == [100]
    assert services.captured() == TOTAL - 100


@pytest.mark.parametrize(
    ("amount", "reason"),
    [
        (TOTAL - 99, "a refund of 9.06 GBP was refused: 9.05 GBP is left"),
        (0, "a refund was refused: the amount must be above zero"),
        (-5, "a refund was refused: the amount must be above zero"),
    ],
)
async def test_more_than_is_left_is_refused_with_a_reason(services: FakeServices, amount: int, reason: str) -> None:
    order = await refund(services, await completed(services), request(100), request(amount))
    assert refunds(order) == [100]
    assert order.history[-1].detail == reason
    assert services.captured() == TOTAL - 100


async def test_nothing_is_left_to_refund(services: FakeServices) -> None:
    order = await refund(services, await completed(services), request(), request())
    assert refunds(order) == [TOTAL]
    assert order.history[-1].detail == "a refund was refused: all is refunded"


async def test_a_request_before_the_order_is_completed_waits(services: FakeServices) -> None:
    order = await refund(services, await services.accept(), request(100))
    assert refunds(order) == [100]
    assert [entry.status for entry in order.history[-2:]] == [OrderStatus.COMPLETED, OrderStatus.COMPLETED]


async def test_a_cancelled_order_has_nothing_to_refund(services: FakeServices) -> None:
    order = await refund(services, await services.accept(token="tok_declined"), request(100))
    assert order.status is OrderStatus.CANCELLED
    assert not refunds(order)
    assert "the order is cancelled" in (order.history[-1].detail or "")


async def test_a_shipped_order_is_refunded_and_stays_shipped(services: FakeServices) -> None:
    order = await completed(services)
    order = await services.orders.transition(order, OrderStatus.SHIPPED, at=NOW)
    order = await refund(services, order, request(100))
    assert order.status is OrderStatus.SHIPPED
    assert order.history[-1].refunded == 100


@pytest.mark.parametrize("fault", [UNAVAILABLE, REPLY_LOST], ids=["not-made", "made"])
async def test_a_refund_without_a_known_outcome_is_asked_for_again_and_made_once(fault: Fault) -> None:
    services = FakeServices(Faults({"SandboxPayments.refund": [fault]}))
    order = await completed(services)
    await services.orders.append_fact(order.id, request(100), message=b"")
    with pytest.raises(ServiceUnavailable):
        await services.run(order)
    assert services.now(order).facts

    order = await services.run(order)

    assert refunds(order) == [100]
    assert services.ledger(order).count(PaymentState.REFUNDED) == 1
    assert services.captured() == TOTAL - 100


@pytest.mark.parametrize("fault", [UNAVAILABLE, REPLY_LOST], ids=["not-stored", "stored"])
async def test_a_refund_that_was_made_and_whose_entry_was_not_stored_is_entered_once(fault: Fault) -> None:
    services = FakeServices()
    order = await completed(services)
    await services.orders.append_fact(order.id, request(100), message=b"")
    services.faults = Faults({"MemoryOrders.update": [fault]})
    with pytest.raises(ServiceUnavailable):
        await services.run(order)

    order = await services.run(order)

    assert refunds(order) == [100]
    assert services.captured() == TOTAL - 100


async def test_requests_are_applied_in_their_sequence(services: FakeServices) -> None:
    order = await completed(services)
    order = await refund(services, order, request(100), request(TOTAL), request(5))
    assert refunds(order) == [100, 5]
    assert [entry.refunded for entry in order.history[-3:]] == [100, None, 5]
