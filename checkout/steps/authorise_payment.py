from __future__ import annotations

from checkout.order import Order
from checkout.order_status import CancelReason, OrderStatus
from checkout.ports.services import Payments
from checkout.steps.step import Step


class AuthorisePayment(Step):
    """Reserve the order's total before the shipment is booked."""

    reaches = OrderStatus.PAYMENT_AUTHORISED
    fails_as = CancelReason.PAYMENT_DECLINED
    # Stock must not wait for a payment service that does not respond. `undo` voids an authorisation that took effect.
    timeout_is_failure = True

    def __init__(self, payments: Payments) -> None:
        self._payments = payments

    async def apply(self, order: Order) -> None:
        """See `Step.apply`."""
        await self._payments.authorise(order)

    async def undo(self, order: Order) -> None:
        """See `Step.undo`."""
        await self._payments.void(order)
