"""The inventory in memory, for tests: over the stock in memory."""

from __future__ import annotations

from collections.abc import Callable

from cart.catalog.numbers import STOCK_MAX
from cart.model import OrderId, Sku
from checkout.memory.stock import MemoryStock
from checkout.ports.inventory import (
    Correction,
    HoldsPage,
    StockHold,
    StockLevel,
    UnitsOutOfRange,
    UnknownSku,
)


class MemoryInventory:
    """`Inventory` over a `MemoryStock`; keys are remembered for ever."""

    def __init__(self, stock: MemoryStock) -> None:
        self._stock = stock
        self._made: set[tuple[Sku, str]] = set()

    async def level(self, sku: Sku) -> StockLevel:
        """See `Inventory.level`."""
        available = self._available(sku)
        holds = self._stock.holds(sku).values()
        held = sum(hold.quantity for hold in holds if hold.until_ms is not None)
        sold = sum(hold.quantity for hold in holds if hold.until_ms is None)
        return StockLevel(sku, available, held, sold)

    async def holds(self, sku: Sku, *, limit: int, cursor: str | None = None) -> HoldsPage:
        """See `Inventory.holds`. The cursor is a position."""
        self._available(sku)
        if cursor is not None and not cursor.isdecimal():
            raise ValueError("the cursor is not one of a page before")
        start, holds = int(cursor or 0), list(self._stock.holds(sku).items())
        page = [StockHold(OrderId(name), hold.quantity, hold.until_ms) for name, hold in holds[start : start + limit]]
        return HoldsPage(page, str(start + limit) if start + limit < len(holds) else None)

    async def set(self, sku: Sku, units: int, *, key: str) -> Correction:
        """See `Inventory.set`."""
        return self._change(self._stock.count, sku, units, self._available(sku), key)

    async def add(self, sku: Sku, units: int, *, key: str) -> Correction:
        """See `Inventory.add`."""
        before = self._available(sku)
        return self._change(self._stock.adjust, sku, before + units, before, key)

    def _change(self, change: Callable[[Sku, int], None], sku: Sku, after: int, before: int, key: str) -> Correction:
        if (sku, key) in self._made:
            return Correction(before, before, is_new=False)
        if after < min(before, 0) or after > STOCK_MAX:
            raise UnitsOutOfRange(sku, before)
        self._made.add((sku, key))
        change(sku, after)
        return Correction(before, after, is_new=True)

    def _available(self, sku: Sku) -> int:
        if sku not in self._stock.available:
            raise UnknownSku(sku)
        return self._stock.available[sku]
