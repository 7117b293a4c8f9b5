"""The operations on an order's payment, on a service that charges and hangs, stores failures and forgets keys."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import msgspec
import pytest

from benchmarks.upstreams.payment_stand_in import AUTHORISED_S, KEY_LIFE_S, SINGLE_USE, Fault
from checkout.errors import Declined, ResolveLater, ServiceNotReached, ServiceUnavailable
from checkout.facts import RefundRequest
from checkout.order import Order
from checkout.order_status import CancelReason, OrderStatus
from checkout.payments.order_payments import OrderPayments
from checkout.payments.payment import Payment
from checkout.ports.payments import PaymentNotRun, PaymentUnknown
from tests.payments import NOW_S, PaymentService
from tests.unit.checkout.fake_services import an_order
from tests.virtual_time import in_virtual_time, loop_time, pause

DEADLINE_S = 4.0
EFFECTS = [Fault.LOST, Fault.HANGS, Fault.FAILS, Fault.FAILS_LATE]


def clock() -> float:
    return NOW_S + loop_time()


def clock_ms() -> int:
    return round(clock() * 1000)


class Bench:
    """A payment service, and workers that come and go."""

    def __init__(self, adapter: str, *, search_lag_s: float = 0.0) -> None:
        self.service = PaymentService(adapter, clock=clock, search_lag_s=search_lag_s)
        self.worker = self.new_worker()

    def new_worker(self) -> OrderPayments:
        """A worker that has just started."""
        return OrderPayments(self.service.provider, clock_ms=clock_ms)

    def order(self, token: str = "tok_ok") -> Order:
        order = an_order(token=token)
        entry = msgspec.structs.replace(order.history[0], at=clock_ms())
        order = msgspec.structs.replace(order, created_at=clock_ms(), updated_at=clock_ms(), history=(entry,))
        return order.moved(OrderStatus.STOCK_CONFIRMED, at=clock_ms())

    def look_ups(self, order: Order) -> int:
        return self.service.stand_in.look_ups[order.id]

    async def shipped(self, token: str = "tok_ok") -> Order:
        """An order whose payment is to be captured now."""
        order = self.order(token)
        order = msgspec.structs.replace(order, payment=await self.worker.authorise(order))
        order = order.moved(OrderStatus.PAYMENT_AUTHORISED, at=clock_ms())
        return order.moved(OrderStatus.SHIPPING_ARRANGED, at=clock_ms())

    def cancelled(self, order: Order) -> Order:
        return order.moved(OrderStatus.CANCELLED, at=clock_ms(), reason=CancelReason.REQUESTED)

    async def until_known(self, act: Callable[[OrderPayments], Awaitable[Any]], *, restarts: bool) -> Any:
        """Call again and again, as a worker does, or as one new worker after another."""
        for _ in range(6):
            try:
                async with asyncio.timeout(DEADLINE_S):
                    return await act(self.new_worker() if restarts else self.worker)
            except ResolveLater as later:
                await asyncio.sleep(later.retry_after_s)
            except (TimeoutError, ServiceUnavailable):
                await asyncio.sleep(2)
        raise AssertionError("the outcome is still unknown")


@pytest.fixture(params=["http", "stripe"])
def bench(request: pytest.FixtureRequest) -> Bench:
    return Bench(request.param, search_lag_s=30.0 if request.param == "stripe" else 0.0)


# --- the ordinary order


@in_virtual_time
async def test_an_ordinary_order_is_paid_with_two_calls_and_no_look_up(bench: Bench) -> None:
    order = await bench.shipped()

    payment = await bench.worker.capture(order)

    assert payment.captured == order.total
    assert len(bench.service.transport.requests) == 2
    assert bench.look_ups(order) == 0


@in_virtual_time
async def test_an_ordinary_order_is_cancelled_with_one_call(bench: Bench) -> None:
    order = bench.order()
    order = msgspec.structs.replace(order, payment=await bench.worker.authorise(order))

    payment = await bench.worker.void(bench.cancelled(order))

    assert payment is not None
    assert payment.voided
    assert len(bench.service.transport.requests) == 2


@in_virtual_time
async def test_a_declined_order_is_cancelled_without_another_call(bench: Bench) -> None:
    order = bench.order(token="tok_declined")
    with pytest.raises(Declined):
        await bench.worker.authorise(order)

    assert await bench.worker.void(bench.cancelled(order)) is None
    assert len(bench.service.transport.requests) == 1


# --- unknown outcomes


@pytest.mark.parametrize("restarts", [False, True], ids=["same worker", "new workers"])
@pytest.mark.parametrize("fault", EFFECTS)
@in_virtual_time
async def test_an_authorisation_without_an_outcome_takes_effect_once(
    bench: Bench, fault: Fault, restarts: bool
) -> None:
    order = bench.order()
    bench.service.fail_next(fault)

    payment = await bench.until_known(lambda worker: worker.authorise(order), restarts=restarts)

    assert payment.authorised == order.total
    assert bench.service.movements(order.id) == [("authorised", order.total)]
    assert bench.look_ups(order) <= 3


@pytest.mark.parametrize("restarts", [False, True], ids=["same worker", "new workers"])
@pytest.mark.parametrize("fault", EFFECTS)
@in_virtual_time
async def test_a_capture_without_an_outcome_takes_effect_once(bench: Bench, fault: Fault, restarts: bool) -> None:
    order = await bench.shipped()
    bench.service.fail_next(fault)

    payment = await bench.until_known(lambda worker: worker.capture(order), restarts=restarts)

    assert payment.captured == order.total
    assert bench.service.movements(order.id) == [("authorised", order.total), ("captured", order.total)]
    assert bench.look_ups(order) <= 3


@pytest.mark.parametrize("fault", EFFECTS)
@in_virtual_time
async def test_an_order_whose_authorisation_has_no_outcome_is_voided_when_it_is_cancelled(
    bench: Bench, fault: Fault
) -> None:
    order = bench.order()
    bench.service.fail_next(fault)
    with suppress(TimeoutError, ServiceUnavailable):
        async with asyncio.timeout(DEADLINE_S):
            await bench.worker.authorise(order)
    cancelled = bench.cancelled(order)

    await bench.until_known(lambda worker: worker.void(cancelled), restarts=True)

    movements = bench.service.movements(order.id)
    assert sum({"authorised": 1, "voided": -1}[kind] for kind, _ in movements) <= 0
    assert bench.look_ups(order) <= 3
    with suppress(Declined, ServiceUnavailable):  # a call that arrives late
        await bench.service.provider.authorise(order, number=1, key=f"{order.id}:authorise-1")
    assert bench.service.movements(order.id) == movements


@pytest.mark.parametrize("fault", EFFECTS)
@in_virtual_time
async def test_a_capture_without_an_outcome_is_refunded_when_the_order_is_cancelled(bench: Bench, fault: Fault) -> None:
    order = await bench.shipped()
    bench.service.fail_next(fault)
    with suppress(TimeoutError, ServiceUnavailable):
        async with asyncio.timeout(DEADLINE_S):
            await bench.new_worker().capture(order)
    cancelled = bench.cancelled(order)

    payment = await bench.until_known(lambda worker: worker.void(cancelled), restarts=True)

    assert not payment.holds_money


@pytest.mark.parametrize("fault", EFFECTS)
@in_virtual_time
async def test_a_void_and_a_refund_without_an_outcome_take_effect_once(bench: Bench, fault: Fault) -> None:
    voided = bench.order()
    voided = bench.cancelled(msgspec.structs.replace(voided, payment=await bench.worker.authorise(voided)))
    refunded = await bench.shipped()
    refunded = msgspec.structs.replace(refunded, payment=await bench.worker.capture(refunded))
    request = RefundRequest("r1", clock_ms(), amount=400)

    bench.service.fail_next(fault)
    await bench.until_known(lambda worker: worker.void(voided), restarts=True)
    bench.service.fail_next(fault)
    await bench.until_known(lambda worker: worker.refund(refunded, request), restarts=True)

    assert bench.service.movements(voided.id)[1:] == [("voided", voided.total)]
    assert bench.service.movements(refunded.id)[2:] == [("refunded", 400)]


@pytest.mark.parametrize("operation", ["authorise", "capture", "refund"])
@in_virtual_time
async def test_nothing_is_charged_again_after_the_life_of_the_keys(bench: Bench, operation: str) -> None:
    order = bench.order() if operation == "authorise" else await bench.shipped()
    if operation == "refund":
        order = msgspec.structs.replace(order, payment=await bench.worker.capture(order))
    request = RefundRequest("r1", clock_ms())

    async def act(worker: OrderPayments) -> Payment:
        if operation == "refund":
            return await worker.refund(order, request)
        return await (worker.authorise(order) if operation == "authorise" else worker.capture(order))

    bench.service.fail_next(Fault.HANGS)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(DEADLINE_S):
            await act(bench.worker)
    movements = bench.service.movements(order.id)
    pause(KEY_LIFE_S + 60)

    await act(bench.new_worker())

    assert bench.service.movements(order.id) == movements
    assert bench.look_ups(order) <= 3


@in_virtual_time
async def test_the_stand_in_would_charge_again_without_the_look_up(bench: Bench) -> None:
    """The failure that the test above is about exists."""
    order = bench.order()
    for _ in range(2):
        await bench.service.provider.authorise(order, number=1, key=f"{order.id}:authorise-1")
        pause(KEY_LIFE_S + 60)

    assert len(bench.service.movements(order.id)) == 2


@in_virtual_time
async def test_two_stored_failures_in_a_row_use_up_two_keys(bench: Bench) -> None:
    order = bench.order()
    bench.service.fail_next(Fault.FAILS, Fault.FAILS)

    await bench.until_known(lambda worker: worker.authorise(order), restarts=True)

    keys = [headers.get("Idempotency-Key") for _, _, headers, _ in bench.service.transport.requests]
    assert [key for key in dict.fromkeys(keys) if key] == [
        f"{order.id}:authorise-1",
        f"{order.id}:authorise-1.2",
        f"{order.id}:authorise-1.3",
    ]
    assert bench.look_ups(order) <= 6
    assert bench.service.movements(order.id) == [("authorised", order.total)]


@in_virtual_time
async def test_a_call_that_was_not_carried_out_is_repeated_without_a_look_up() -> None:
    bench = Bench("http")
    order = bench.order()
    bench.service.fail_next(Fault.BUSY)
    with pytest.raises(PaymentNotRun):
        await bench.worker.authorise(order)

    await bench.worker.authorise(order)

    assert bench.look_ups(order) == 0


# --- authorisations that run out


@in_virtual_time
async def test_an_authorisation_that_ran_out_is_renewed_once_and_captured(bench: Bench) -> None:
    order = await bench.shipped()
    pause(AUTHORISED_S + 60)

    payment = await bench.new_worker().capture(order)

    assert payment.authorisations == 2
    assert payment.captured == order.total
    assert [kind for kind, _ in bench.service.movements(order.id)] == ["authorised", "authorised", "captured"]
    assert await bench.new_worker().capture(order) == payment


@in_virtual_time
async def test_an_authorisation_that_cannot_be_renewed_is_a_decline_with_the_reason(bench: Bench) -> None:
    order = await bench.shipped(token=SINGLE_USE)
    pause(AUTHORISED_S + 60)

    with pytest.raises(Declined, match="the authorisation of the payment ran out: the payment was declined"):
        await bench.new_worker().capture(order)


@in_virtual_time
async def test_a_renewed_authorisation_that_ran_out_is_not_renewed_again(bench: Bench) -> None:
    order = await bench.shipped()
    pause(AUTHORISED_S + 60)
    bench.service.fail_next(Fault.NONE, Fault.LOST)  # renewed, but not captured
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(DEADLINE_S):
            await bench.worker.capture(order)
    pause(AUTHORISED_S + 60)

    with pytest.raises(Declined, match="the renewed authorisation of the payment ran out"):
        await bench.until_known(lambda worker: worker.capture(order), restarts=True)


@pytest.mark.parametrize("later_s", [0, 5])
@in_virtual_time
async def test_a_payment_that_a_person_has_voided_is_not_authorised_again(bench: Bench, later_s: int) -> None:
    order = await bench.shipped()
    assert order.payment is not None
    await bench.service.provider.void(order, order.payment, key="by hand")
    bench.service.stand_in.accounts[order.payment.reference].cancellation_reason = "requested_by_customer"
    pause(later_s)

    with pytest.raises(Declined):
        await bench.new_worker().capture(order)

    assert bench.service.movements(order.id) == [("authorised", order.total), ("voided", order.total)]


# --- refunds


@in_virtual_time
async def test_refunds_in_parts_and_then_the_rest(bench: Bench) -> None:
    order = await bench.shipped()
    order = msgspec.structs.replace(order, payment=await bench.worker.capture(order))

    for _ in range(3):
        await bench.new_worker().refund(order, RefundRequest("r1", 1, amount=300))
    payment = await bench.worker.refund(order, RefundRequest("r2", 1))

    assert payment.refundable == 0
    assert bench.service.movements(order.id)[2:] == [("refunded", 300), ("refunded", order.total - 300)]
    with pytest.raises(Declined):
        await bench.worker.refund(order, RefundRequest("r3", 1, amount=1))


@pytest.mark.parametrize("amount", [None, 1, 5000, 0, -1])
@in_virtual_time
async def test_a_refund_that_the_payment_does_not_cover_is_refused_without_a_call(
    bench: Bench, amount: int | None
) -> None:
    """Money may have come back at the service, of which the order's record does not know yet."""
    order = await bench.shipped()
    captured = await bench.worker.capture(order)
    await bench.service.provider.refund(order, captured, captured.captured, refund_id="by hand", key="by hand")
    order = msgspec.structs.replace(order, payment=captured)
    bench.service.transport.requests.clear()

    with pytest.raises(Declined):
        await bench.worker.refund(order, RefundRequest("r1", 1, amount=amount))

    assert {method for method, *_ in bench.service.transport.requests} == {"GET"}


@pytest.mark.parametrize(
    ("fault", "raised"),
    [
        (TimeoutError(), ResolveLater),
        (PaymentUnknown("cut off"), ServiceNotReached),
        (PaymentNotRun("away"), ServiceNotReached),
    ],
)
@pytest.mark.parametrize("operation", ["authorise", "capture", "void"])
@in_virtual_time
async def test_a_look_up_without_a_response_has_the_order_wait(
    bench: Bench, operation: str, fault: Exception, raised: type[Exception]
) -> None:
    order = bench.order() if operation == "authorise" else await bench.shipped()
    if operation == "void":
        order = bench.cancelled(order)
    pause(2)  # an earlier worker may have made the call

    async def look_up(*_: Any) -> None:
        raise fault

    provider: Any = bench.service.provider
    provider.look_up = look_up
    with pytest.raises(raised):
        await getattr(bench.new_worker(), operation)(order)
