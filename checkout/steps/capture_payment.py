from __future__ import annotations

from checkout.model import CancelReason, Order
from checkout.ports import Payments
from checkout.steps.step import Step


class CapturePayment(Step):
    """Take the money that was reserved.

    There is nothing to undo: only a capture that was declined leads to a cancelled order, and then no money was taken.
    For the same reason no answer is no failure here: the money may have been taken, so the order waits for an answer.
    """

    fails_as = CancelReason.PAYMENT_DECLINED

    def __init__(self, payments: Payments) -> None:
        self._payments = payments

    async def apply(self, order: Order) -> None:
        """See `Step.apply`."""
        await self._payments.capture(order)
