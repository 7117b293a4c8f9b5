from __future__ import annotations

from checkout.order import CancelReason, Order
from checkout.ports.services import Payments
from checkout.steps.step import Step


class CapturePayment(Step):
    """Take the money that was reserved.

    No answer is no failure here: the parcel is booked and the money may have been taken, so the order waits for an answer.
    There is nothing to undo: voiding the authorisation also gives back what was taken.
    """

    fails_as = CancelReason.PAYMENT_DECLINED

    def __init__(self, payments: Payments) -> None:
        self._payments = payments

    async def apply(self, order: Order) -> None:
        """See `Step.apply`."""
        await self._payments.capture(order)
