import asyncio

import pytest

from checkout.errors import Declined
from checkout.sandbox import PaymentState, SandboxPayments, SandboxShipping
from tests.unit.checkout.fake_services import FakeServices, an_order
from tests.virtual_time import in_virtual_time, loop_time


def effects(payments: SandboxPayments) -> list[PaymentState]:
    return [entry.became for entry in payments.ledger]


async def test_tok_ok_is_approved_and_captured_once() -> None:
    payments, order = SandboxPayments(), an_order(token="tok_ok")

    for _ in range(3):
        await payments.authorise(order)
    for _ in range(3):
        await payments.capture(order)
    await payments.authorise(order)

    assert effects(payments) == [PaymentState.AUTHORISED, PaymentState.CAPTURED]
    assert {entry.amount for entry in payments.ledger} == {order.total}


@pytest.mark.parametrize("token", ["tok_declined", "tok_unheard_of", ""])
async def test_every_other_token_is_declined(token: str) -> None:
    payments = SandboxPayments()

    with pytest.raises(Declined):
        await payments.authorise(an_order(token=token))

    assert not payments.ledger


@in_virtual_time
async def test_tok_slow_is_approved_after_two_seconds() -> None:
    payments = SandboxPayments()

    await payments.authorise(an_order(token="tok_slow"))

    assert loop_time() == pytest.approx(2.0)
    assert effects(payments) == [PaymentState.AUTHORISED]


@in_virtual_time
async def test_tok_timeout_never_responds() -> None:
    payments = SandboxPayments()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(86_400):
            await payments.authorise(an_order(token="tok_timeout"))

    assert not payments.ledger


@in_virtual_time
async def test_an_authorisation_after_its_void_has_no_effect() -> None:
    payments, order = SandboxPayments(), an_order(token="tok_slow")

    late = asyncio.ensure_future(payments.authorise(order))
    await asyncio.sleep(1)
    await payments.void(order)

    with pytest.raises(Declined):
        await late
    assert effects(payments) == [PaymentState.VOIDED]


async def test_a_voided_payment_cannot_be_captured() -> None:
    payments, order = SandboxPayments(), an_order()
    await payments.authorise(order)
    await payments.void(order)

    with pytest.raises(Declined):
        await payments.capture(order)

    assert effects(payments) == [PaymentState.AUTHORISED, PaymentState.VOIDED]


async def test_voiding_a_captured_payment_refunds_it_once() -> None:
    payments, order = SandboxPayments(), an_order()
    await payments.authorise(order)
    await payments.capture(order)

    await payments.void(order)
    await payments.void(order)
    with pytest.raises(Declined):
        await payments.capture(order)
    with pytest.raises(Declined):
        await payments.authorise(order)

    assert effects(payments) == [PaymentState.AUTHORISED, PaymentState.CAPTURED, PaymentState.REFUNDED]


async def test_after_a_restart_an_order_past_its_authorisation_is_captured() -> None:
    order = an_order()

    after_restart = SandboxPayments()
    await after_restart.capture(order)
    await after_restart.capture(order)

    assert effects(after_restart) == [PaymentState.CAPTURED]


async def test_memory_is_bounded() -> None:
    payments, shipping = SandboxPayments(max_payments=10), SandboxShipping(max_orders=10)

    for _ in range(50):
        order = an_order()
        await payments.authorise(order)
        await shipping.arrange(order)

    assert len(payments.ledger) == 10
    assert len(payments._states) <= 10
    assert len(shipping.booked) <= 10
    assert order.id in payments._states
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

    await services.workflow().run(order.id)

    assert services.now(order).reason == "payment_declined"
    assert loop_time() < 17
    assert services.ledger(order) == [PaymentState.VOIDED]
    assert services.sold() == 0
