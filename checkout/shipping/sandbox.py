"""Sandbox shipping, without effect in the world: for trying the shop out and for tests.

Its state is in this process's memory. After a restart, and in another worker process, the order's status decides which
calls have been made.
"""

from __future__ import annotations

from cart.model import OrderId
from checkout.errors import Declined
from checkout.order import Order
from checkout.shipping.shipment import Shipment
from primitives.bounded_map import BoundedMap


class SandboxShipping:
    """A `Shipping` that books every shipment; `booked` and `cancelled` hold the order ids."""

    def __init__(self, *, max_orders: int = 100_000) -> None:
        self.booked: BoundedMap[OrderId, bool] = BoundedMap(max_orders)
        self.cancelled: BoundedMap[OrderId, bool] = BoundedMap(max_orders)

    async def arrange(self, order: Order) -> Shipment:
        """See `Shipping.arrange`."""
        if order.id in self.cancelled:
            raise Declined("the shipment was cancelled")
        self.booked.put(order.id, True)
        return Shipment(reference=f"sandbox-{order.number}", carrier="Sandbox", tracking_number=order.number)

    async def cancel(self, order: Order) -> None:
        """See `Shipping.cancel`."""
        self.booked.discard(order.id)
        self.cancelled.put(order.id, True)
