"""Applying the reports of payment services to orders."""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec

from cart.timestamps import unix_ms
from checkout.facts import PaymentFact
from checkout.order import Order
from checkout.payments.payment import Payment

_log = logging.getLogger(__name__)


class PaymentReports:
    """Applies `PaymentFact`s to orders: `checkout.workflow.runner.FactHandler`.

    A report changes the order's record of its payment, never its status: the step that authorises or captures finds there
    that nothing is left to do. Reports may come in any sequence and more than once, so a record only advances: more is
    captured or refunded, and an authorisation that was released stays so. Money that came back without a refund of ours is
    entered in the history.
    """

    def __init__(self, *, clock_ms: Callable[[], int] = unix_ms) -> None:
        self._clock_ms = clock_ms

    async def apply(self, order: Order, fact: PaymentFact) -> Order | None:
        """The order after the report."""
        payment = _payment_after(order, fact)
        reported = msgspec.structs.replace(order, payment=payment)
        came_back = 0 if payment is None else payment.refunded - order.refunded
        if fact.became != "refunded" or came_back <= 0:
            return reported.revised()
        at = min(fact.at, self._clock_ms())  # the clock of the service may be ahead
        return reported.noted(at=at, refunded=came_back, detail="refunded at the payment service")


def _payment_after(order: Order, fact: PaymentFact) -> Payment | None:
    payment, amount = order.payment, fact.amount or 0
    if payment is None:
        if fact.became not in {"authorised", "captured"} or fact.reference is None or amount < order.total:
            return None
        payment = Payment(reference=fact.reference, authorised=amount)
    if fact.reference not in {None, payment.reference}:
        _log.warning("order %s: another payment than its own was %s", order.number, fact.became)
        return payment
    if fact.became == "captured":
        return msgspec.structs.replace(payment, captured=max(payment.captured, amount), voided=False)
    if fact.became == "refunded":
        return msgspec.structs.replace(payment, refunded=min(max(payment.refunded, amount), payment.captured))
    if fact.became in {"voided", "expired"} and not payment.is_captured:
        until = min(payment.authorised_until or fact.at, fact.at) if fact.became == "expired" else None
        return msgspec.structs.replace(payment, voided=True, authorised_until=until or payment.authorised_until)
    return payment
