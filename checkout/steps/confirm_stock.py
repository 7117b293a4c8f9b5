from __future__ import annotations

from checkout.errors import Declined, StockNotHeld
from checkout.order import Order
from checkout.order_status import CancelReason, OrderStatus
from checkout.ports.stock import Stock
from checkout.steps.step import Step


class ConfirmStock(Step):
    """Turn the order's holds into sales before they expire."""

    reaches = OrderStatus.STOCK_CONFIRMED
    fails_as = CancelReason.OUT_OF_STOCK

    def __init__(self, stock: Stock) -> None:
        self._stock = stock

    async def apply(self, order: Order) -> None:
        """See `Step.apply`."""
        try:
            await self._stock.confirm(order.id, order.skus)
        except StockNotHeld as error:
            raise Declined(f"no stock is held of {', '.join(error.skus)}") from error

    async def undo(self, order: Order) -> None:
        """See `Step.undo`."""
        await self._stock.cancel(order.id, order.skus)

    async def complete(self, order: Order) -> None:
        """See `Step.complete`."""
        await self._stock.complete(order.id, order.skus)
