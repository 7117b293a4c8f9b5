from __future__ import annotations

import msgspec

from checkout.order import Order
from checkout.steps.step import Services, Step


class AuthorisePayment(Step):
    """Reserve the order's total before the shipment is booked."""

    def __init__(self, services: Services) -> None:
        self._payments = services.payments

    async def apply(self, order: Order) -> Order:
        """See `Step.apply`."""
        return msgspec.structs.replace(order, payment=await self._payments.authorise(order))

    async def undo(self, order: Order) -> Order | None:
        """See `Step.undo`."""
        payment = await self._payments.void(order)
        if payment == order.payment:
            return None
        voided = msgspec.structs.replace(order, payment=payment)
        returned = 0 if payment is None else payment.refunded - order.refunded
        return voided.noted(at=order.updated_at, refunded=returned) if returned > 0 else voided.revised()
