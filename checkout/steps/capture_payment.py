from __future__ import annotations

from checkout.order import Order
from checkout.order_status import CancelReason
from checkout.ports.services import Payments
from checkout.steps.step import Step


class CapturePayment(Step):
    """Capture the authorised payment.

    A service that does not respond does not fail this step: the shipment is booked and the payment may be captured, so
    the order waits. There is nothing to undo: voiding the authorisation refunds a captured payment.
    """

    fails_as = CancelReason.PAYMENT_DECLINED

    def __init__(self, payments: Payments) -> None:
        self._payments = payments

    async def apply(self, order: Order) -> None:
        """See `Step.apply`."""
        await self._payments.capture(order)
