"""The list of low SKUs in Redis or Valkey.

Keys: `low-stock` sorted set of SKUs by the time (Unix ms) since which they are listed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from cart.model import Sku
from cart.sku_keys import product_key
from cart.timestamps import unix_ms
from checkout.ports.low_stock import MAX_LOW_SKUS
from store import Store

KEY: Final = "low-stock"
# Products that are read at a time.
PAGE: Final = 500


class RedisLowStockList:
    """`LowStockList` on a store."""

    def __init__(self, store: Store, *, max_skus: int = MAX_LOW_SKUS, clock_ms: Callable[[], int] = unix_ms) -> None:
        self._store = store
        self._max_skus = max_skus
        self._clock_ms = clock_ms

    async def add(self, sku: Sku) -> bool:
        """See `LowStockList.add`."""
        return bool(await self._store.execute("ZADD", KEY, "NX", self._clock_ms(), sku))

    async def refresh(self, mark: int) -> Mapping[Sku, int]:
        """See `LowStockList.refresh`."""
        excess = await self._store.execute("ZCARD", KEY) - self._max_skus
        if excess > 0:
            await self._store.execute("ZPOPMIN", KEY, excess)
        names = await self._store.execute("ZREVRANGE", KEY, 0, -1)
        units = await self._units([Sku(name.decode()) for name in names])
        others = [sku for sku, left in units.items() if left is None or left > mark]
        low = {sku: left for sku, left in units.items() if left is not None and left <= mark}
        return low | await self._remove(others, mark)

    async def _remove(self, skus: Sequence[Sku], mark: int) -> dict[Sku, int]:
        """List these no more, but for those that a sale leaves low meanwhile, which are returned."""
        if not skus:
            return {}
        await self._store.execute("ZREM", KEY, *skus)
        # A sale that listed one before it was removed has changed its units before.
        units = await self._units(skus)
        low = {sku: left for sku, left in units.items() if left is not None and left <= mark}
        for sku in low:
            await self.add(sku)
        return low

    async def _units(self, skus: Sequence[Sku]) -> dict[Sku, int | None]:
        units: dict[Sku, int | None] = {}
        for first in range(0, len(skus), PAGE):
            page = skus[first : first + PAGE]
            stocks = await asyncio.gather(*(self._store.execute("HGET", product_key(sku), "stock") for sku in page))
            units |= {sku: None if stock is None else int(stock) for sku, stock in zip(page, stocks, strict=True)}
        return units
