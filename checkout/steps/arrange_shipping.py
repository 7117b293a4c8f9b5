from __future__ import annotations

import msgspec

from checkout.order import Order
from checkout.steps.step import Services, Step


class ArrangeShipping(Step):
    """Book the shipment before the payment is captured: cancelling a booking is easier than a refund."""

    def __init__(self, services: Services) -> None:
        self._shipping = services.shipping

    async def apply(self, order: Order) -> Order:
        """See `Step.apply`."""
        return msgspec.structs.replace(order, shipment=await self._shipping.arrange(order))

    async def undo(self, order: Order) -> None:
        """See `Step.undo`."""
        await self._shipping.cancel(order)
