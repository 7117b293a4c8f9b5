from __future__ import annotations

from checkout.order import Order
from checkout.order_status import OrderStatus
from checkout.ports.services import Notifications
from checkout.steps.step import Step


class Notify(Step):
    """Notify the shopper, before the order is completed, so that the next worker repeats it if this one dies.

    A failed notification does not keep the order from being completed.
    """

    reaches = OrderStatus.COMPLETED
    timeout_is_failure = True

    def __init__(self, notifications: Notifications) -> None:
        self._notifications = notifications

    async def apply(self, order: Order) -> None:
        """See `Step.apply`."""
        await self._notifications.order_completed(order)
