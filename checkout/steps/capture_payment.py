from __future__ import annotations

import msgspec

from checkout.order import Order
from checkout.steps.step import Services, Step


class CapturePayment(Step):
    """Capture the authorised payment.

    A service that does not respond does not fail this step: the shipment is booked and the payment may be captured, so
    the order waits. There is nothing to undo: voiding the authorisation refunds a captured payment.
    """

    def __init__(self, services: Services) -> None:
        self._payments = services.payments

    async def apply(self, order: Order) -> Order:
        """See `Step.apply`."""
        return msgspec.structs.replace(order, payment=await self._payments.capture(order))
