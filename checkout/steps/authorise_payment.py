from __future__ import annotations

from checkout.order import CancelReason, Order, OrderStatus
from checkout.ports.services import Payments
from checkout.steps.step import Step


class AuthorisePayment(Step):
    """Reserve the order's total before anything is sent, so that no parcel leaves unpaid."""

    reaches = OrderStatus.PAYMENT_AUTHORISED
    fails_as = CancelReason.PAYMENT_DECLINED
    # Stock must not wait for a payment that nobody answers for. What was reserved after all is let go of by `undo`.
    timeout_is_failure = True

    def __init__(self, payments: Payments) -> None:
        self._payments = payments

    async def apply(self, order: Order) -> None:
        """See `Step.apply`."""
        await self._payments.authorise(order)

    async def undo(self, order: Order) -> None:
        """See `Step.undo`."""
        await self._payments.void(order)
