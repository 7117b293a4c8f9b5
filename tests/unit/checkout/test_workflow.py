import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from cart.model import OrderId
from checkout.errors import Declined, DependencyTripped, OrderNotFound, ServiceUnavailable
from checkout.order import Order
from checkout.order_status import NEXT, CancelReason, OrderStatus
from checkout.sandbox import PaymentState
from checkout.steps.step import Step
from checkout.workflow import Workflow, order_steps
from tests.unit.checkout.fake_services import (
    KILLED_AFTER,
    KILLED_BEFORE,
    MUG,
    REPLY_LOST,
    UNAVAILABLE,
    FakeServices,
    Fault,
    Killed,
)
from tests.virtual_time import in_virtual_time, loop_time

DONE_ONCE = [PaymentState.AUTHORISED, PaymentState.CAPTURED]


def statuses(order: Order) -> list[str]:
    return [entry.status.value for entry in order.history]


@pytest.fixture
def services() -> FakeServices:
    return FakeServices()


class Silent:
    """A service that never answers, in place of one method of a port."""

    def __init__(self, port: Any, name: str) -> None:
        self._port = port
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return self._never if name == self._name else getattr(self._port, name)

    async def _never(self, *_args: Any) -> None:
        await asyncio.Event().wait()


@in_virtual_time
async def test_an_order_is_completed(services: FakeServices) -> None:
    order = await services.accept(quantity=3)

    result = await services.workflow().run(order.id)

    assert result == services.now(order)
    assert statuses(result) == [
        "accepted",
        "stock_confirmed",
        "payment_authorised",
        "shipping_arranged",
        "completed",
    ]
    assert services.ledger(order) == DONE_ONCE
    assert services.captured() == order.total
    assert services.sold() == 3
    assert order.id in services.shipping.booked
    assert services.notifications.notified == {order.id: 1}


@in_virtual_time
async def test_a_completed_order_leaves_no_record_in_stock(services: FakeServices) -> None:
    order = await services.accept()

    await services.workflow().run(order.id)

    assert services.stock.taken(MUG) == 0


@in_virtual_time
async def test_running_a_finished_order_again_changes_nothing(services: FakeServices) -> None:
    completed, cancelled = await services.accept(), await services.accept(token="tok_declined")
    first = [await services.workflow().run(order.id) for order in (completed, cancelled)]

    again = [await services.workflow().run(order.id) for order in (completed, cancelled)]

    assert again == first
    assert services.ledger(completed) == DONE_ONCE
    assert services.ledger(cancelled) == [PaymentState.VOIDED]
    assert services.sold() == 2
    assert services.notifications.notified == {completed.id: 1}


@in_virtual_time
async def test_an_unknown_order_cannot_be_run(services: FakeServices) -> None:
    with pytest.raises(OrderNotFound):
        await services.workflow().run(OrderId("7f" + "a" * 24))


# --- failures for good


@in_virtual_time
async def test_a_declined_payment_cancels_the_order_and_gives_the_stock_back(services: FakeServices) -> None:
    order = await services.accept(token="tok_declined")

    result = await services.workflow().run(order.id)

    assert statuses(result) == ["accepted", "stock_confirmed", "cancelled"]
    assert result.reason is CancelReason.PAYMENT_DECLINED
    assert result.history[-1].detail == "the payment was declined"
    assert services.sold() == 0
    assert services.captured() == 0


@in_virtual_time
async def test_stock_that_is_no_longer_held_cancels_the_order(services: FakeServices) -> None:
    order = await services.accept()
    await services.stock.cancel(order.id, [MUG])

    result = await services.workflow().run(order.id)

    assert statuses(result) == ["accepted", "cancelled"]
    assert result.reason is CancelReason.OUT_OF_STOCK
    assert services.sold() == 0


@in_virtual_time
async def test_steps_are_undone_in_reverse(services: FakeServices) -> None:
    order = await services.accept()
    await services.shipping.cancel(order)  # a carrier that declines from now on

    result = await services.workflow().run(order.id)

    assert result.reason is CancelReason.SHIPPING_FAILED
    undone = services.faults.calls[services.faults.calls.index("SandboxShipping.arrange") + 2 :]
    assert undone == ["SandboxShipping.cancel", "SandboxPayments.void", "MemoryStock.cancel"]
    assert services.ledger(order) == [PaymentState.AUTHORISED, PaymentState.VOIDED]
    assert services.sold() == 0


@in_virtual_time
async def test_a_step_that_cannot_be_undone_does_not_block_the_others(services: FakeServices) -> None:
    order = await services.accept(token="tok_declined")

    with pytest.raises(TimeoutError):
        await _workflow_with(services, payments=Silent(services.payments, "void")).run(order.id)

    assert services.now(order).status is OrderStatus.CANCELLED
    assert services.sold() == 0
    await services.workflow().run(order.id)
    assert services.ledger(order) == [PaymentState.VOIDED]


@in_virtual_time
async def test_a_declined_capture_cancels_the_order(services: FakeServices) -> None:
    order = await services.accept()
    await services.payments.void(order)
    stored = services.orders.orders[order.id]
    arranged = _at(order, OrderStatus.SHIPPING_ARRANGED)
    services.orders.orders[order.id] = msgspec.structs.replace(stored, order=arranged)

    result = await services.workflow().run(order.id)

    assert result.reason is CancelReason.PAYMENT_DECLINED
    assert statuses(result)[-2:] == ["shipping_arranged", "cancelled"]
    assert services.captured() == 0
    assert order.id in services.shipping.cancelled


@in_virtual_time
async def test_a_capture_that_took_effect_and_was_declined_is_refunded(services: FakeServices) -> None:
    order = await services.accept()
    await services.payments.capture(order)
    services.faults.at_call(8, Fault(Declined("odd")))

    result = await services.workflow().run(order.id)

    assert "SandboxPayments.capture" in services.faults.calls[7]
    assert result.reason is CancelReason.PAYMENT_DECLINED
    assert services.captured() == 0


@in_virtual_time
async def test_an_order_is_completed_even_if_the_notification_fails(services: FakeServices) -> None:
    order = await services.accept()
    workflow = _workflow_with(services, notifications=Silent(services.notifications, "order_completed"))

    result = await workflow.run(order.id)

    assert result.status is OrderStatus.COMPLETED
    assert result.history[-1].detail == "without Notify: no response"


def _at(order: Order, status: OrderStatus) -> Order:
    for step in (OrderStatus.STOCK_CONFIRMED, OrderStatus.PAYMENT_AUTHORISED, OrderStatus.SHIPPING_ARRANGED):
        order = order.moved(step, at=order.updated_at)
        if step is status:
            break
    return order


def _workflow_with(
    services: FakeServices,
    *,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    chance: Callable[[], float] = random.random,
    **ports: Any,
) -> Workflow:
    given: dict[str, Any] = {
        "stock": services.stock,
        "payments": services.payments,
        "shipping": services.shipping,
        "notifications": services.notifications,
    }
    return Workflow(services.orders, order_steps(**(given | ports)), sleep=sleep, chance=chance)


# --- failures that pass


@in_virtual_time
async def test_a_step_is_tried_three_times_with_growing_pauses(services: FakeServices) -> None:
    order = await services.accept()
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    outcomes: list[Exception | None] = [ServiceUnavailable("away"), TimeoutError(), None]
    workflow = _workflow_with(services, payments=_Failing(services.payments, outcomes), sleep=sleep, chance=lambda: 1.0)

    result = await workflow.run(order.id)

    assert result.status is OrderStatus.COMPLETED
    assert pauses == pytest.approx([0.2, 0.4])


class _Failing:
    """A payment service whose authorisations fail as planned before they succeed."""

    def __init__(self, payments: Any, outcomes: list[Exception | None]) -> None:
        self._payments = payments
        self._outcomes = outcomes

    async def authorise(self, order: Order) -> None:
        outcome = self._outcomes.pop(0)
        if outcome is not None:
            raise outcome
        await self._payments.authorise(order)

    def __getattr__(self, name: str) -> Callable[[Order], Awaitable[None]]:
        method: Callable[[Order], Awaitable[None]] = getattr(self._payments, name)
        return method


@in_virtual_time
async def test_pauses_are_jittered_down_to_a_half(services: FakeServices) -> None:
    order = await services.accept()
    workflow = _workflow_with(
        services,
        payments=_Failing(services.payments, [ServiceUnavailable("away"), ServiceUnavailable("away"), None]),
        chance=lambda: 0.0,
    )

    await workflow.run(order.id)

    assert loop_time() == pytest.approx(0.1 + 0.2)


@in_virtual_time
async def test_a_carrier_that_never_responds_fails_the_order_after_three_deadlines(services: FakeServices) -> None:
    order = await services.accept()

    result = await _workflow_with(services, shipping=Silent(services.shipping, "arrange")).run(order.id)

    assert result.reason is CancelReason.SHIPPING_FAILED
    assert result.history[-1].detail == "no response"
    assert 15 < loop_time() < 17


@in_virtual_time
async def test_a_capture_without_a_response_leaves_the_order_waiting(services: FakeServices) -> None:
    order = await services.accept()

    with pytest.raises(TimeoutError):
        await _workflow_with(services, payments=Silent(services.payments, "capture")).run(order.id)

    assert services.now(order).status is OrderStatus.SHIPPING_ARRANGED
    assert (await services.workflow().run(order.id)).status is OrderStatus.COMPLETED
    assert services.ledger(order) == DONE_ONCE


@in_virtual_time
async def test_an_internal_error_cancels_no_order(services: FakeServices) -> None:
    order = await services.accept()
    broken = _Failing(services.payments, [TypeError("a bug")] * 3)

    with pytest.raises(TypeError):
        await _workflow_with(services, payments=broken).run(order.id)

    assert services.now(order).status is OrderStatus.STOCK_CONFIRMED


@in_virtual_time
async def test_an_open_breaker_is_called_once_and_declines_no_order(services: FakeServices) -> None:
    order = await services.accept()
    cut_off = _Failing(services.payments, [DependencyTripped("payment", retry_after_s=1.0)])

    with pytest.raises(DependencyTripped):
        await _workflow_with(services, payments=cut_off).run(order.id)

    assert loop_time() == 0
    assert services.now(order).status is OrderStatus.STOCK_CONFIRMED
    assert (await services.workflow().run(order.id)).status is OrderStatus.COMPLETED


# --- several workers, kills, lost answers


@in_virtual_time
async def test_two_workers_on_one_order_do_everything_once(services: FakeServices) -> None:
    order = await services.accept(token="tok_slow")

    results = await asyncio.gather(services.workflow().run(order.id), services.workflow().run(order.id))

    assert {result.status for result in results} == {OrderStatus.COMPLETED}
    assert services.ledger(order) == DONE_ONCE
    assert statuses(services.now(order)).count("completed") == 1
    assert services.sold() == 2


@in_virtual_time
async def test_an_order_cancelled_by_the_shopper_while_a_step_runs_is_undone(services: FakeServices) -> None:
    order = await services.accept(token="tok_slow")
    running = asyncio.ensure_future(services.workflow().run(order.id))
    await asyncio.sleep(1)

    await services.orders.cancel(services.now(order), at=order.created_at, message=b"")
    result = await running

    assert result.reason is CancelReason.REQUESTED
    assert services.ledger(order) == [PaymentState.AUTHORISED, PaymentState.VOIDED]
    assert services.sold() == 0
    assert not services.notifications.notified


@in_virtual_time
async def test_an_order_cancelled_and_undone_while_a_step_runs_stays_undone(services: FakeServices) -> None:
    order = await services.accept(token="tok_slow")
    slow = asyncio.ensure_future(services.workflow().run(order.id))
    await asyncio.sleep(1)
    await services.orders.cancel(services.now(order), at=order.created_at, message=b"")
    await services.workflow().run(order.id)

    result = await slow

    assert result.reason is CancelReason.REQUESTED
    assert services.ledger(order) == [PaymentState.VOIDED]
    assert services.sold() == 0


CALLS_OF_A_GOOD_ORDER = 11
CALLS_OF_A_DECLINED_ORDER = 7


@pytest.mark.parametrize("fault", [KILLED_BEFORE, KILLED_AFTER], ids=["before", "after"])
@pytest.mark.parametrize("number", range(1, CALLS_OF_A_GOOD_ORDER + 1))
@in_virtual_time
async def test_another_worker_continues_after_one_killed_at_any_call(
    services: FakeServices, fault: Fault, number: int
) -> None:
    order = await services.accept()
    services.faults.at_call(number, fault)
    with pytest.raises(Killed):
        await services.workflow().run(order.id)

    services.faults.never()
    result = await services.workflow().run(order.id)

    assert result.status is OrderStatus.COMPLETED
    assert services.ledger(order) == DONE_ONCE
    assert services.captured() == order.total
    assert services.sold() == 2
    assert services.stock.taken(MUG) == 0
    assert order.id in services.shipping.booked


@in_virtual_time
async def test_the_kills_above_cover_every_call(services: FakeServices) -> None:
    good, declined = await services.accept(), await services.accept(token="tok_declined")

    await services.workflow().run(good.id)
    calls_of_good = len(services.faults.calls)
    await services.workflow().run(declined.id)

    assert calls_of_good == CALLS_OF_A_GOOD_ORDER
    assert len(services.faults.calls) - calls_of_good == CALLS_OF_A_DECLINED_ORDER


@pytest.mark.parametrize("fault", [KILLED_BEFORE, KILLED_AFTER], ids=["before", "after"])
@pytest.mark.parametrize("number", range(1, CALLS_OF_A_DECLINED_ORDER + 1))
@in_virtual_time
async def test_another_worker_continues_a_cancellation(services: FakeServices, fault: Fault, number: int) -> None:
    order = await services.accept(token="tok_declined")
    services.faults.at_call(number, fault)
    with pytest.raises(Killed):
        await services.workflow().run(order.id)

    services.faults.never()
    result = await services.workflow().run(order.id)

    assert result.reason is CancelReason.PAYMENT_DECLINED
    assert services.ledger(order) == [PaymentState.VOIDED]
    assert services.sold() == 0


@pytest.mark.parametrize("fault", [UNAVAILABLE, REPLY_LOST], ids=["before", "after"])
@pytest.mark.parametrize("number", range(1, CALLS_OF_A_GOOD_ORDER + 1))
@in_virtual_time
async def test_after_one_failed_call_another_run_is_enough(services: FakeServices, fault: Fault, number: int) -> None:
    order = await services.accept()
    services.faults.at_call(number, fault)

    try:
        result = await services.workflow().run(order.id)
    except ServiceUnavailable:  # of the store itself
        result = await services.workflow().run(order.id)

    assert result.status is OrderStatus.COMPLETED
    assert services.ledger(order) == DONE_ONCE
    assert services.sold() == 2


# --- the list of steps


ALL_STATUSES = [*NEXT.values()]


class _Nothing(Step):
    async def apply(self, order: Order) -> None:
        raise Declined("never applied here")


def _leading_to(status: OrderStatus | None) -> Step:
    step = _Nothing()
    step.reaches = status
    return step


@pytest.mark.parametrize(
    "reached",
    [
        [],
        [OrderStatus.STOCK_CONFIRMED],
        [OrderStatus.PAYMENT_AUTHORISED],
        [*ALL_STATUSES, None],
        [*ALL_STATUSES, OrderStatus.COMPLETED],
    ],
)
def test_steps_that_do_not_lead_to_completed_are_refused(
    services: FakeServices, reached: list[OrderStatus | None]
) -> None:
    with pytest.raises(ValueError, match="leads to"):
        Workflow(services.orders, [_leading_to(status) for status in reached])
