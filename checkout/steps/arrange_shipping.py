from __future__ import annotations

from checkout.order import Order
from checkout.order_status import CancelReason, OrderStatus
from checkout.ports.services import Shipping
from checkout.steps.step import Step


class ArrangeShipping(Step):
    """Book the shipment before the payment is captured: cancelling a booking is easier than a refund."""

    reaches = OrderStatus.SHIPPING_ARRANGED
    fails_as = CancelReason.SHIPPING_FAILED
    timeout_is_failure = True

    def __init__(self, shipping: Shipping) -> None:
        self._shipping = shipping

    async def apply(self, order: Order) -> None:
        """See `Step.apply`."""
        await self._shipping.arrange(order)

    async def undo(self, order: Order) -> None:
        """See `Step.undo`."""
        await self._shipping.cancel(order)
