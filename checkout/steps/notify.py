from __future__ import annotations

from checkout.order import Order, OrderStatus
from checkout.ports.services import Notifications
from checkout.steps.step import Step


class Notify(Step):
    """Tell the shopper. It comes before the order is completed, so that a worker killed in between tells them later.

    An order that is paid for and on its way is completed even if nobody could be told.
    """

    reaches = OrderStatus.COMPLETED
    timeout_is_failure = True

    def __init__(self, notifications: Notifications) -> None:
        self._notifications = notifications

    async def apply(self, order: Order) -> None:
        """See `Step.apply`."""
        await self._notifications.order_completed(order)
