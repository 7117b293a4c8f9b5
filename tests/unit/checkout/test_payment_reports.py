"""Webhooks of a payment service beside the calls of the worker: one transition, in any sequence and however often."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from benchmarks.upstreams.payment_stand_in import Fault, Webhook
from checkout.fact_intake import FactIntake
from checkout.facts import PaymentFact, RefundRequest
from checkout.message import order_accepted
from checkout.order import Order
from checkout.order_status import OrderStatus
from checkout.payments.facts import PaymentReports
from checkout.payments.order_payments import OrderPayments
from checkout.payments.payment import Payment
from checkout.payments.webhooks import PaymentWebhookIntake
from tests.payments import NOW_S, PaymentService
from tests.unit.checkout.fake_services import FakeServices, an_order
from tests.virtual_time import in_virtual_time, loop_time

ORDINARY = ["accepted", "stock_confirmed", "payment_authorised", "shipping_arranged", "completed"]


def clock() -> float:
    return NOW_S + loop_time()


class Delivering:
    """A payment service whose webhooks arrive before the response to the call that caused them."""

    def __init__(self, provider: Any, deliver: Callable[[], Any]) -> None:
        self._provider = provider
        self._deliver = deliver

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._provider, name)
        if not callable(method):
            return method

        async def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return await method(*args, **kwargs)
            finally:
                await self._deliver()

        return call


class Shop:
    """Orders with a payment service that sends webhooks; each is delivered `times`."""

    def __init__(self, adapter: str, *, times: int) -> None:
        self.services = FakeServices()
        self.payment = PaymentService(adapter, clock=clock)
        intake = FactIntake(self.services.orders, message=order_accepted, dispatch=lambda _entry: None)
        self._intake = PaymentWebhookIntake(self.payment.reader, intake)
        self._times = times

    async def deliver(self, *, reverse: bool = False) -> None:
        """Deliver the webhooks that were sent since."""
        webhooks, self.payment.webhooks[:] = list(self.payment.webhooks), []
        for webhook in reversed(webhooks) if reverse else webhooks:
            for _ in range(self._times):
                await self._intake.receive(self.payment.headers(webhook), webhook.body)

    async def accept(self) -> Order:
        return await self.services.accept()

    async def run(self, order: Order, *, during: bool = False) -> Order:
        """A run by a worker that has just started; webhooks arrive `during` its calls."""
        provider = Delivering(self.payment.provider, self.deliver) if during else self.payment.provider
        payments = OrderPayments(provider, clock_ms=lambda: round(clock() * 1000))
        workflow = self.services.workflow(ports={"payments": payments}, clock_ms=lambda: round(clock() * 1000))
        stored = await self.services.orders.read(order.id)
        assert stored is not None
        return await workflow.run(stored)

    def is_ordinary(self, order: Order) -> bool:
        now = self.services.now(order)
        assert [entry.status for entry in now.history] == ORDINARY
        assert self.payment.movements(order.id) == [("authorised", order.total), ("captured", order.total)]
        assert now.payment is not None
        assert (now.payment.authorised, now.payment.captured) == (order.total, order.total)
        return not now.facts


@pytest.fixture(params=["http", "stripe"])
def adapter(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("times", [1, 5])
@in_virtual_time
async def test_webhooks_before_the_responses_of_the_workers_calls(adapter: str, times: int) -> None:
    shop = Shop(adapter, times=times)
    order = await shop.accept()

    await shop.run(order, during=True)
    await shop.run(order)  # the message that each fact has put into the outbox

    assert shop.is_ordinary(order)


@pytest.mark.parametrize("times", [1, 5])
@in_virtual_time
async def test_a_webhook_instead_of_the_response(adapter: str, times: int) -> None:
    """The worker's call hangs; the webhook arrives before the worker's next run, which then needs no look-up."""
    shop = Shop(adapter, times=times)
    order = await shop.accept()
    shop.payment.fail_next(Fault.HANGS)
    running = asyncio.ensure_future(shop.run(order))
    await asyncio.sleep(1)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await shop.deliver()

    await shop.run(order)

    assert shop.is_ordinary(order)
    assert shop.payment.stand_in.look_ups[order.id] == 0


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("times", [1, 5])
@in_virtual_time
async def test_webhooks_after_the_order_is_completed(adapter: str, times: int, reverse: bool) -> None:
    shop = Shop(adapter, times=times)
    order = await shop.accept()
    await shop.run(order)

    await shop.deliver(reverse=reverse)
    await shop.run(order)

    assert shop.is_ordinary(order)


@in_virtual_time
async def test_the_same_report_with_five_ids_changes_nothing_more() -> None:
    shop = Shop("http", times=1)
    order = await shop.accept()
    await shop.run(order)
    copies = [Webhook(f"copy_{n}", webhook.body) for webhook in shop.payment.webhooks for n in range(5)]
    shop.payment.webhooks.extend(Webhook(f"{n}_{copy.id}", copy.body) for n, copy in enumerate(copies))

    await shop.deliver()
    await shop.run(order)

    assert shop.is_ordinary(order)


@in_virtual_time
async def test_a_refund_of_ours_is_entered_once_whether_its_webhook_or_its_response_comes_first(adapter: str) -> None:
    for during in (False, True):
        shop = Shop(adapter, times=5)
        order = await shop.accept()
        await shop.run(order)
        await shop.deliver()
        await shop.services.orders.append_fact(order.id, RefundRequest("r1", 1, amount=300), message=b"")

        await shop.run(order, during=during)
        await shop.deliver()
        await shop.run(order)

        assert [entry.refunded for entry in shop.services.now(order).history if entry.refunded] == [300]


@in_virtual_time
async def test_money_that_came_back_without_a_request_is_entered_in_the_history(adapter: str) -> None:
    shop = Shop(adapter, times=5)
    order = await shop.accept()
    completed = await shop.run(order)
    assert completed.payment is not None
    for name, amount in (("by hand", 300), ("and more", 100)):
        await shop.payment.provider.refund(completed, completed.payment, amount, refund_id=name, key=name)

    await shop.deliver()
    await shop.run(order)

    now = shop.services.now(order)
    assert [entry.refunded for entry in now.history if entry.refunded] == [300, 100]
    assert now.payment is not None
    assert now.payment.refundable == order.total - 400


@in_virtual_time
async def test_an_authorisation_that_is_reported_after_the_cancellation_is_voided() -> None:
    shop = Shop("http", times=1)
    order = await shop.accept()
    order = await shop.services.orders.transition(order, OrderStatus.STOCK_CONFIRMED, at=order.created_at)
    cancelled, _ = await shop.services.orders.cancel(order, at=order.created_at, message=b"")
    await shop.run(cancelled)
    shop.payment.stand_in._closed.clear()  # a service without a bar
    shop.payment.stand_in._authorise(order.id, 1, order.total, "tok_ok")

    await shop.deliver()
    await shop.run(order)

    assert shop.services.now(order).status == "cancelled"
    assert [kind for kind, _ in shop.payment.movements(order.id)] == ["authorised", "voided"]


# --- the record of the payment


def fact(became: Any, amount: int | None = None, reference: str | None = "p1") -> PaymentFact:
    return PaymentFact(f"payment:{became}{amount}", 1, became, amount=amount, reference=reference)


async def after(payment: Payment | None, *facts: PaymentFact) -> Payment | None:
    order = msgspec.structs.replace(an_order(), payment=payment)
    for each in facts:
        changed = await PaymentReports().apply(order, each)
        assert changed is not None
        order = changed
    return order.payment


AUTHORISED = Payment(reference="p1", authorised=1005)
CAPTURED = Payment(reference="p1", authorised=1005, captured=1005)


@pytest.mark.parametrize(
    ("payment", "facts", "expected"),
    [
        (None, [fact("authorised", 1005)], AUTHORISED),
        (None, [fact("captured", 1005), fact("authorised", 1005)], CAPTURED),
        (None, [fact("authorised", 1)], None),
        (None, [fact("voided"), fact("declined"), fact("refunded", 5)], None),
        (AUTHORISED, [fact("voided")], msgspec.structs.replace(AUTHORISED, voided=True)),
        (AUTHORISED, [fact("expired")], msgspec.structs.replace(AUTHORISED, voided=True, authorised_until=1)),
        (AUTHORISED, [fact("authorised", 1005, "p2"), fact("captured", 1005, "p2")], AUTHORISED),
        (AUTHORISED, [fact("voided"), fact("authorised", 1005)], msgspec.structs.replace(AUTHORISED, voided=True)),
        (CAPTURED, [fact("voided"), fact("expired"), fact("authorised", 1005), fact("captured", 1005)], CAPTURED),
        (CAPTURED, [fact("captured", 5)], CAPTURED),
        (CAPTURED, [fact("refunded", 7), fact("refunded", 5)], msgspec.structs.replace(CAPTURED, refunded=7)),
        (CAPTURED, [fact("refunded", 9999)], msgspec.structs.replace(CAPTURED, refunded=1005)),
    ],
)
async def test_the_record_only_advances(
    payment: Payment | None, facts: list[PaymentFact], expected: Payment | None
) -> None:
    assert await after(payment, *facts) == expected
