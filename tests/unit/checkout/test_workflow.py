import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
import pytest

from checkout.errors import Declined, DependencyTripped, ServiceUnavailable
from checkout.facts import RefundRequest, ShipmentFact
from checkout.order import Order
from checkout.order_status import CancelReason, OrderStatus
from checkout.payments.sandbox import PaymentState
from checkout.workflow.runner import NO_FACTS, FactHandler, Workflow, order_steps
from tests.unit.checkout.fake_services import (
    KILLED_AFTER,
    KILLED_BEFORE,
    MUG,
    REPLY_LOST,
    UNAVAILABLE,
    FakeServices,
    Fault,
    Faults,
    Killed,
)
from tests.virtual_time import in_virtual_time, loop_time

DONE = ["accepted", "stock_confirmed", "payment_authorised", "shipping_arranged", "completed"]
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


async def test_the_shipment_is_stored_when_it_is_arranged(services: FakeServices) -> None:
    order = await services.accept()

    result = await services.run(order)

    assert result.shipment == await services.shipping.arrange(order)
    assert services.now(order).shipment == result.shipment


@in_virtual_time
async def test_an_order_is_completed(services: FakeServices) -> None:
    order = await services.accept(quantity=3)

    result = await services.run(order)

    assert result == services.now(order)
    assert statuses(result) == DONE
    assert services.ledger(order) == DONE_ONCE
    assert services.captured() == order.total
    assert services.sold() == 3
    assert order.id in services.shipping.booked
    assert services.notifications.notified == {order.id: 1}


@in_virtual_time
async def test_a_completed_order_leaves_no_record_in_stock(services: FakeServices) -> None:
    order = await services.accept()

    await services.run(order)

    assert services.stock.taken(MUG) == 0


@in_virtual_time
async def test_running_a_finished_order_again_changes_nothing(services: FakeServices) -> None:
    completed, cancelled = await services.accept(), await services.accept(token="tok_declined")
    first = [await services.run(order) for order in (completed, cancelled)]

    again = [await services.run(order) for order in (completed, cancelled)]

    assert again == first
    assert services.ledger(completed) == DONE_ONCE
    assert services.ledger(cancelled) == [PaymentState.VOIDED]  # the second worker makes sure that nothing is paid
    assert services.sold() == 2
    assert services.notifications.notified == {completed.id: 1}


# --- failures for good


@in_virtual_time
async def test_a_declined_payment_cancels_the_order_and_gives_the_stock_back(services: FakeServices) -> None:
    order = await services.accept(token="tok_declined")

    result = await services.run(order)

    assert statuses(result) == ["accepted", "stock_confirmed", "cancelled"]
    assert result.reason is CancelReason.PAYMENT_DECLINED
    assert result.history[-1].detail == "the payment was declined"
    assert services.sold() == 0
    assert services.captured() == 0


@in_virtual_time
async def test_stock_that_is_no_longer_held_cancels_the_order(services: FakeServices) -> None:
    order = await services.accept()
    await services.stock.cancel(order.id, [MUG])

    result = await services.run(order)

    assert statuses(result) == ["accepted", "cancelled"]
    assert result.reason is CancelReason.OUT_OF_STOCK
    assert services.sold() == 0


@in_virtual_time
async def test_steps_are_undone_in_reverse(services: FakeServices) -> None:
    order = await services.accept()
    await services.shipping.cancel(order)  # a carrier that declines from now on

    result = await services.run(order)

    assert result.reason is CancelReason.SHIPPING_FAILED
    undone = services.faults.calls[services.faults.calls.index("SandboxShipping.arrange") + 2 :]
    assert undone == [
        "SandboxShipping.cancel",
        "SandboxPayments.void",
        "MemoryOrders.update",
        "MemoryStock.cancel",
        "MemoryOrders.settle",
    ]
    assert services.ledger(order) == [PaymentState.AUTHORISED, PaymentState.VOIDED]
    assert services.sold() == 0


@in_virtual_time
async def test_a_step_that_cannot_be_undone_does_not_block_the_others(services: FakeServices) -> None:
    order = await services.accept(token="tok_declined")

    with pytest.raises(TimeoutError):
        await services.run(order, _workflow_with(services, payments=Silent(services.payments, "void")))

    assert services.now(order).status is OrderStatus.CANCELLED
    assert services.sold() == 0
    await services.run(order)
    assert services.ledger(order) == [PaymentState.VOIDED]


@in_virtual_time
async def test_a_declined_capture_cancels_the_order(services: FakeServices) -> None:
    order = await services.accept()
    await services.payments.void(order)
    stored = services.orders.orders[order.id]
    arranged = _at(order, OrderStatus.SHIPPING_ARRANGED)
    services.orders.orders[order.id] = msgspec.structs.replace(stored, order=arranged)

    result = await services.run(order)

    assert result.reason is CancelReason.PAYMENT_DECLINED
    assert statuses(result)[-2:] == ["shipping_arranged", "cancelled"]
    assert services.captured() == 0
    assert order.id in services.shipping.cancelled


@in_virtual_time
async def test_a_capture_that_took_effect_and_was_declined_is_refunded() -> None:
    services = FakeServices(Faults({"SandboxPayments.capture": [Fault(Declined("odd"), after=True)]}))
    order = await services.accept()

    result = await services.run(order)

    assert result.reason is CancelReason.PAYMENT_DECLINED
    assert services.ledger(order) == [*DONE_ONCE, PaymentState.REFUNDED]
    assert services.captured() == 0


@in_virtual_time
async def test_an_order_is_found_by_its_owner_and_number_once_a_worker_has_taken_it_up(services: FakeServices) -> None:
    order = await services.accept()
    assert await services.index.by_number(order.number) == []

    await services.run(order)

    assert await services.index.by_number(order.number) == [order.id]


@in_virtual_time
async def test_an_order_is_completed_even_if_the_notification_fails(services: FakeServices) -> None:
    order = await services.accept()
    workflow = _workflow_with(services, notifications=Silent(services.notifications, "order_completed"))

    result = await services.run(order, workflow)

    assert result.status is OrderStatus.COMPLETED
    assert result.history[-1].detail == "without notify: no response"


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
    facts: Mapping[type, FactHandler] = NO_FACTS,
    **ports: Any,
) -> Workflow:
    given: dict[str, Any] = {
        "index": services.index,
        "stock": services.stock,
        "payments": services.payments,
        "shipping": services.shipping,
        "notifications": services.notifications,
    }
    return Workflow(services.orders, order_steps(**(given | ports)), facts=facts, sleep=sleep, chance=chance)


# --- failures that pass


@in_virtual_time
async def test_a_step_is_tried_three_times_with_growing_pauses(services: FakeServices) -> None:
    order = await services.accept()
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    outcomes: list[Exception | None] = [ServiceUnavailable("away"), TimeoutError(), None]
    workflow = _workflow_with(services, payments=_Failing(services.payments, outcomes), sleep=sleep, chance=lambda: 1.0)

    result = await services.run(order, workflow)

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

    await services.run(order, workflow)

    assert loop_time() == pytest.approx(0.1 + 0.2)


@in_virtual_time
async def test_a_carrier_that_never_responds_leaves_the_order_waiting(services: FakeServices) -> None:
    order = await services.accept()

    with pytest.raises(TimeoutError):
        await services.run(order, _workflow_with(services, shipping=Silent(services.shipping, "arrange")))

    assert services.now(order).status is OrderStatus.PAYMENT_AUTHORISED
    assert (await services.run(order)).status is OrderStatus.COMPLETED


@in_virtual_time
async def test_a_capture_without_a_response_leaves_the_order_waiting(services: FakeServices) -> None:
    order = await services.accept()

    with pytest.raises(TimeoutError):
        await services.run(order, _workflow_with(services, payments=Silent(services.payments, "capture")))

    assert services.now(order).status is OrderStatus.SHIPPING_ARRANGED
    assert (await services.run(order)).status is OrderStatus.COMPLETED
    assert services.ledger(order) == DONE_ONCE


@in_virtual_time
async def test_an_internal_error_cancels_no_order(services: FakeServices) -> None:
    order = await services.accept()
    broken = _Failing(services.payments, [TypeError("a bug")] * 3)

    with pytest.raises(TypeError):
        await services.run(order, _workflow_with(services, payments=broken))

    assert services.now(order).status is OrderStatus.STOCK_CONFIRMED


@in_virtual_time
async def test_an_open_breaker_is_called_once_and_declines_no_order(services: FakeServices) -> None:
    order = await services.accept()
    cut_off = _Failing(services.payments, [DependencyTripped("payment", retry_after_s=1.0)])

    with pytest.raises(DependencyTripped):
        await services.run(order, _workflow_with(services, payments=cut_off))

    assert loop_time() == 0
    assert services.now(order).status is OrderStatus.STOCK_CONFIRMED
    assert (await services.run(order)).status is OrderStatus.COMPLETED


# --- facts


@in_virtual_time
async def test_a_fact_is_applied_once_by_the_handler_of_its_kind(services: FakeServices) -> None:
    order = await services.accept()
    await services.orders.append_fact(order.id, RefundRequest("evt_1", 1, amount=7), message=b"")
    workflow = _workflow_with(services, facts={RefundRequest: _note_refund})

    await services.run(services.now(order), workflow)
    result = await services.run(services.now(order), workflow)

    assert (result.status, result.refunded, result.facts) == (OrderStatus.COMPLETED, 7, ())


@in_virtual_time
async def test_a_fact_waits_for_its_time(services: FakeServices) -> None:
    async def ship(order: Order, fact: ShipmentFact) -> Order | None:
        return order.moved(OrderStatus.SHIPPED, at=fact.at) if order.status is OrderStatus.COMPLETED else None

    order = await services.accept()
    await services.orders.append_fact(order.id, ShipmentFact("evt_1", 1, "shipped"), message=b"")

    result = await services.run(services.now(order), _workflow_with(services, facts={ShipmentFact: ship}))

    assert statuses(result) == [*DONE, "shipped"]
    assert services.sold() == 2


@in_virtual_time
async def test_a_fact_whose_time_never_comes_is_dropped_with_the_end(services: FakeServices) -> None:
    async def never(_order: Order, _fact: ShipmentFact) -> Order | None:
        return None

    order = await services.accept(token="tok_declined")
    await services.orders.append_fact(order.id, ShipmentFact("evt_1", 1, "shipped"), message=b"")

    result = await services.run(services.now(order), _workflow_with(services, facts={ShipmentFact: never}))

    assert (result.status, result.facts, services.now(order).facts) == (OrderStatus.CANCELLED, (), ())


@in_virtual_time
async def test_a_fact_that_is_told_meanwhile_is_left_to_its_own_message(services: FakeServices) -> None:
    order = await services.accept()
    workflow = _workflow_with(services, facts={RefundRequest: _note_refund})
    stale = services.now(order)
    await services.orders.append_fact(order.id, RefundRequest("evt_1", 1, amount=7), message=b"")

    assert (await workflow.run(stale)).refunded == 0
    assert order.id in services.orders.in_flight
    assert (await services.run(services.now(order), workflow)).refunded == 7
    assert order.id not in services.orders.in_flight


async def _note_refund(order: Order, fact: RefundRequest) -> Order:
    return order.noted(at=fact.at, refunded=fact.amount)


# --- several workers, kills, lost answers


@in_virtual_time
async def test_two_workers_on_one_order_do_everything_once(services: FakeServices) -> None:
    order = await services.accept(token="tok_slow")

    results = await asyncio.gather(services.run(order), services.run(order))

    assert {result.status for result in results} == {OrderStatus.COMPLETED}
    assert services.ledger(order) == DONE_ONCE
    assert statuses(services.now(order)).count("completed") == 1
    assert services.sold() == 2


@in_virtual_time
async def test_an_order_cancelled_by_the_shopper_while_a_step_runs_is_undone(services: FakeServices) -> None:
    order = await services.accept(token="tok_slow")
    running = asyncio.ensure_future(services.run(order))
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
    slow = asyncio.ensure_future(services.run(order))
    await asyncio.sleep(1)
    await services.orders.cancel(services.now(order), at=order.created_at, message=b"")
    await services.run(order)

    result = await slow

    assert result.reason is CancelReason.REQUESTED
    assert services.ledger(order) == [PaymentState.VOIDED]
    assert services.sold() == 0


CALLS_OF_A_GOOD_ORDER = 13
CALLS_OF_A_DECLINED_ORDER = 8


@pytest.mark.parametrize("fault", [KILLED_BEFORE, KILLED_AFTER], ids=["before", "after"])
@pytest.mark.parametrize("number", range(1, CALLS_OF_A_GOOD_ORDER + 1))
@in_virtual_time
async def test_another_worker_continues_after_one_killed_at_any_call(
    services: FakeServices, fault: Fault, number: int
) -> None:
    order = await services.accept()
    services.faults.at_call(number, fault)
    with pytest.raises(Killed):
        await services.run(order)

    services.faults.never()
    result = await services.run(order)

    assert result.status is OrderStatus.COMPLETED
    assert services.ledger(order) == DONE_ONCE
    assert services.captured() == order.total
    assert services.sold() == 2
    assert services.stock.taken(MUG) == 0
    assert order.id in services.shipping.booked


@in_virtual_time
async def test_the_kills_above_cover_every_call(services: FakeServices) -> None:
    good, declined = await services.accept(), await services.accept(token="tok_declined")

    await services.run(good)
    calls_of_good = len(services.faults.calls)
    await services.run(declined)

    assert calls_of_good == CALLS_OF_A_GOOD_ORDER
    assert len(services.faults.calls) - calls_of_good == CALLS_OF_A_DECLINED_ORDER


@pytest.mark.parametrize("fault", [KILLED_BEFORE, KILLED_AFTER], ids=["before", "after"])
@pytest.mark.parametrize("number", range(1, CALLS_OF_A_DECLINED_ORDER + 1))
@in_virtual_time
async def test_another_worker_continues_a_cancellation(services: FakeServices, fault: Fault, number: int) -> None:
    order = await services.accept(token="tok_declined")
    services.faults.at_call(number, fault)
    with pytest.raises(Killed):
        await services.run(order)

    services.faults.never()
    result = await services.run(order)

    assert result.reason is CancelReason.PAYMENT_DECLINED
    assert services.ledger(order) in (
        [],
        [PaymentState.VOIDED],
    )  # closed by a worker that does not know that it was declined
    assert services.sold() == 0


@pytest.mark.parametrize("fault", [UNAVAILABLE, REPLY_LOST], ids=["before", "after"])
@pytest.mark.parametrize("number", range(1, CALLS_OF_A_GOOD_ORDER + 1))
@in_virtual_time
async def test_after_one_failed_call_another_run_is_enough(services: FakeServices, fault: Fault, number: int) -> None:
    order = await services.accept()
    services.faults.at_call(number, fault)

    try:
        result = await services.run(order)
    except ServiceUnavailable:  # of the store itself
        result = await services.run(order)

    assert result.status is OrderStatus.COMPLETED
    assert services.ledger(order) == DONE_ONCE
    assert services.sold() == 2


# --- what observers see


class SeenSteps:
    """A `StepObserver` that keeps the result of each call."""

    def __init__(self) -> None:
        self.results: list[tuple[str, str]] = []

    def step_called(self, step: str, seconds: float, result: str) -> None:
        assert seconds >= 0
        self.results.append((step, result))


@in_virtual_time
async def test_each_call_of_a_step_is_observed_with_its_result(services: FakeServices) -> None:
    seen = SeenSteps()
    await services.workflow(observer=seen).run(await services.accept())
    assert [result for _, result in seen.results] == ["done"] * 6

    declined = SeenSteps()
    await services.workflow(observer=declined).run(await services.accept(token="tok_declined"))
    assert declined.results[-1] == ("authorise_payment", "declined")
