from __future__ import annotations

from checkout.order import Order
from checkout.steps.step import Services, Step


class EnterInIndex(Step):
    """Enter the order where it is found by its owner and number, if the process that accepted it died before it could."""

    def __init__(self, services: Services) -> None:
        self._index = services.index

    async def apply(self, order: Order) -> None:
        """See `Step.apply`."""
        await self._index.enter(order)
