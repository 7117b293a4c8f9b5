import asyncio

import pytest

from checkout.errors import Declined
from checkout.payments.payment import Payment
from checkout.payments.sandbox import PaymentState, SandboxPayments
from checkout.ports.payments import AuthorisationExpired
from checkout.shipping.sandbox import SandboxShipping
from tests.unit.checkout.fake_services import FakeServices, an_order
from tests.virtual_time import in_virtual_time, loop_time

UNKNOWN = Payment(reference="of another process", authorised=1005)


def effects(payments: SandboxPayments) -> list[PaymentState]:
    return [entry.became for entry in payments.ledger]


async def test_tok_ok_is_approved_and_captured_once() -> None:
    payments, order = SandboxPayments(), an_order(token="tok_ok")

    for _ in range(3):
        payment = await payments.authorise(order, number=1, key="k")
    for _ in range(3):
        await payments.capture(order, payment, key="k")
    await payments.authorise(order, number=1, key="k")

    assert effects(payments) == [PaymentState.AUTHORISED, PaymentState.CAPTURED]
    assert {entry.amount for entry in payments.ledger} == {order.total}


@pytest.mark.parametrize("token", ["tok_declined", "tok_unheard_of", ""])
async def test_every_other_token_is_declined(token: str) -> None:
    payments = SandboxPayments()

    with pytest.raises(Declined):
        await payments.authorise(an_order(token=token), number=1, key="k")

    assert not payments.ledger


@in_virtual_time
async def test_tok_capture_timeout_is_approved_and_its_capture_never_returns() -> None:
    payments, order = SandboxPayments(), an_order(token="tok_capture_timeout")
    payment = await payments.authorise(order, number=1, key="k")

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(3600):
            await payments.capture(order, payment, key="k")
    await payments.void(order, payment, key="k")

    assert effects(payments) == [PaymentState.AUTHORISED, PaymentState.VOIDED]


@in_virtual_time
async def test_tok_slow_is_approved_after_two_seconds() -> None:
    payments = SandboxPayments()

    await payments.authorise(an_order(token="tok_slow"), number=1, key="k")

    assert loop_time() == pytest.approx(2.0)
    assert effects(payments) == [PaymentState.AUTHORISED]


@pytest.mark.parametrize(("token", "ledger"), [("tok_timeout", []), ("tok_lost", [PaymentState.AUTHORISED])])
@in_virtual_time
async def test_tok_timeout_and_tok_lost_never_respond(token: str, ledger: list[PaymentState]) -> None:
    payments = SandboxPayments()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(86_400):
            await payments.authorise(an_order(token=token), number=1, key="k")

    assert effects(payments) == ledger


@in_virtual_time
async def test_an_order_whose_approval_was_lost_is_completed_and_authorised_once() -> None:
    services = FakeServices()
    order = await services.accept(token="tok_lost")

    await services.run(order)

    assert services.now(order).status == "completed"
    assert services.ledger(order) == [PaymentState.AUTHORISED, PaymentState.CAPTURED]


async def test_the_first_authorisation_of_tok_expires_has_run_out() -> None:
    payments, order = SandboxPayments(), an_order(token="tok_expires")
    payment = await payments.authorise(order, number=1, key="k")
    with pytest.raises(AuthorisationExpired):
        await payments.capture(order, payment, key="k")

    payment = await payments.authorise(order, number=2, key="k2")
    await payments.capture(order, payment, key="k")

    assert effects(payments) == [PaymentState.AUTHORISED, PaymentState.AUTHORISED, PaymentState.CAPTURED]


@in_virtual_time
async def test_an_authorisation_after_its_closing_has_no_effect() -> None:
    payments, order = SandboxPayments(), an_order(token="tok_slow")

    late = asyncio.ensure_future(payments.authorise(order, number=1, key="k"))
    await asyncio.sleep(1)
    await payments.close(order, key="k")

    with pytest.raises(Declined):
        await late
    assert effects(payments) == [PaymentState.VOIDED]


async def test_a_voided_payment_cannot_be_captured() -> None:
    payments, order = SandboxPayments(), an_order()
    payment = await payments.authorise(order, number=1, key="k")
    await payments.void(order, payment, key="k")

    with pytest.raises(Declined):
        await payments.capture(order, payment, key="k")

    assert effects(payments) == [PaymentState.AUTHORISED, PaymentState.VOIDED]


async def test_a_captured_payment_is_refunded_in_parts_and_each_once() -> None:
    payments, order = SandboxPayments(), an_order()
    payment = await payments.capture(order, await payments.authorise(order, number=1, key="k"), key="k")

    for _ in range(2):
        await payments.refund(order, payment, 400, refund_id="r1", key="k")
    payment = await payments.refund(order, payment, order.total - 400, refund_id="r2", key="k")

    assert payment.refundable == 0
    with pytest.raises(Declined):
        await payments.refund(order, payment, 1, refund_id="r3", key="k")
    assert [entry.amount for entry in payments.ledger if entry.became is PaymentState.REFUNDED] == [400, 605]


async def test_after_a_restart_an_order_past_its_authorisation_is_captured_once() -> None:
    order = an_order()

    after_restart = SandboxPayments()
    await after_restart.capture(order, UNKNOWN, key="k")
    await after_restart.capture(order, UNKNOWN, key="k")

    assert effects(after_restart) == [PaymentState.CAPTURED]


async def test_memory_is_bounded() -> None:
    payments, shipping = SandboxPayments(max_payments=10), SandboxShipping(max_orders=10)

    for _ in range(50):
        order = an_order()
        await payments.authorise(order, number=1, key="k")
        await shipping.arrange(order)

    assert len(payments.ledger) == 10
    assert len(payments._payments) <= 10
    assert len(shipping.booked) <= 10
    assert order.id in payments._payments
    assert order.id in shipping.booked


async def test_a_booking_after_its_cancellation_has_no_effect() -> None:
    shipping, order = SandboxShipping(), an_order()
    await shipping.arrange(order)
    await shipping.cancel(order)

    with pytest.raises(Declined):
        await shipping.arrange(order)

    assert not shipping.booked


@in_virtual_time
async def test_a_payment_without_a_response_is_declined_within_the_deadlines() -> None:
    services = FakeServices()
    order = await services.accept(token="tok_timeout")

    await services.run(order)

    assert services.now(order).reason == "payment_declined"
    assert loop_time() < 17
    assert services.ledger(order) == [PaymentState.VOIDED]
    assert services.sold() == 0
