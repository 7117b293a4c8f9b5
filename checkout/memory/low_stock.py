"""The list of low SKUs in memory, for tests."""

from __future__ import annotations

from collections.abc import Mapping

from cart.model import Sku
from checkout.ports.low_stock import MAX_LOW_SKUS


class MemoryLowStockList:
    """`LowStockList` over the units `available` for sale."""

    def __init__(self, available: Mapping[Sku, int], *, max_skus: int = MAX_LOW_SKUS) -> None:
        self._available = available
        self._max_skus = max_skus
        self._listed: list[Sku] = []

    async def add(self, sku: Sku) -> bool:
        """See `LowStockList.add`."""
        if sku in self._listed:
            return False
        self._listed.append(sku)
        return True

    async def refresh(self, mark: int) -> Mapping[Sku, int]:
        """See `LowStockList.refresh`."""
        self._listed = [sku for sku in self._listed if self._available.get(sku, mark + 1) <= mark][-self._max_skus :]
        return {sku: self._available[sku] for sku in reversed(self._listed)}
