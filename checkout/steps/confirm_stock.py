from __future__ import annotations

from cart.coupons import is_coupon, named
from checkout.errors import Declined, StockNotHeld
from checkout.order import Order
from checkout.steps.step import Services, Step


class ConfirmStock(Step):
    """Turn the order's holds into sales before they expire."""

    def __init__(self, services: Services) -> None:
        self._stock = services.stock
        self._low_stock = services.low_stock

    async def apply(self, order: Order) -> None:
        """See `Step.apply`."""
        try:
            units_left = await self._stock.confirm(order.id, order.skus, reads_units_left=self._low_stock is not None)
        except StockNotHeld as error:
            raise Declined(f"no stock is held of {', '.join(map(named, error.skus))}") from error
        if self._low_stock is not None:
            await self._low_stock.check({sku: units for sku, units in units_left.items() if not is_coupon(sku)})

    async def undo(self, order: Order) -> None:
        """See `Step.undo`."""
        await self._stock.cancel(order.id, order.skus)

    async def complete(self, order: Order) -> None:
        """See `Step.complete`."""
        await self._stock.complete(order.id, order.skus)
