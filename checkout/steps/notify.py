from __future__ import annotations

from checkout.order import Order
from checkout.steps.step import Services, Step


class Notify(Step):
    """Notify the shopper, before the order is completed, so that the next worker repeats it if this one dies.

    A failed notification does not keep the order from being completed.
    """

    def __init__(self, services: Services) -> None:
        self._notifications = services.notifications

    async def apply(self, order: Order) -> None:
        """See `Step.apply`."""
        await self._notifications.order_completed(order)
