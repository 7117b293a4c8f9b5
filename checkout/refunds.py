"""Refunds of completed orders: applying the requests of operators."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from cart.currencies import money_text
from cart.timestamps import unix_ms
from checkout.errors import Declined
from checkout.facts import RefundRequest
from checkout.order import Order
from checkout.order_status import OrderStatus
from checkout.ports.services import Payments


class Refunds:
    """Applies `RefundRequest`s to orders: `checkout.workflow.runner.FactHandler`.

    A request on an order that is not completed yet waits. Any number of refunds may follow, up to the total. A refund is
    an entry of the history with `refunded`; a request that is refused is an entry too, with the reason.
    """

    def __init__(self, payments: Payments, *, clock_ms: Callable[[], int] = unix_ms) -> None:
        self._payments = payments
        self._clock_ms = clock_ms

    async def apply(self, order: Order, request: RefundRequest) -> Order | None:
        """The order after the refund or its refusal; None if it waits.

        Raises `ServiceUnavailable` and `DependencyTripped` if it is not known whether money was refunded: the request is then
        applied later, with the same idempotency key.
        """
        if not order.status.has_ended:
            return None
        # The same at each attempt, because the facts of an order are applied one after the other.
        left = order.total - order.refunded
        amount = left if request.amount is None else request.amount
        if (reason := _reason_against(order, amount, left)) is not None:
            return self._refused(order, amount, reason)
        try:
            payment = await self._payments.refund(order, msgspec.structs.replace(request, amount=amount))
        except Declined as declined:
            return self._refused(order, amount, declined.detail)
        order = msgspec.structs.replace(order, payment=payment)
        return order.noted(at=self._clock_ms(), detail=request.detail, refunded=amount)

    def _refused(self, order: Order, amount: int, reason: str) -> Order:
        asked = f"a refund of {money_text(amount, order.currency)}" if amount > 0 else "a refund"
        return order.noted(at=self._clock_ms(), detail=f"{asked} was refused: {reason}")


def _reason_against(order: Order, amount: int, left: int) -> str | None:
    if order.status is OrderStatus.CANCELLED:
        return "the order is cancelled, and its payment with it"
    if left <= 0:
        return "all is refunded"
    if amount <= 0:
        return "the amount must be above zero"
    return f"{money_text(left, order.currency)} is left" if amount > left else None
