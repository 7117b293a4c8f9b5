"""The products that are ordered most of late, in Redis: one sorted set of the whole shop.

Keys: `{trending}:<half-life in seconds>` sorted set of SKUs; see `trend.lua` for the scores. Another half-life is another set.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Final

from cart.catalog.ports import LEAST_WEIGHT, TREND_PRODUCTS
from cart.model import Sku
from store import Script, Store

TREND: Final = Script.from_package("cart.catalog", "scripts/trend.lua")
TRENDING: Final = Script.from_package("cart.catalog", "scripts/trending.lua")

# Products of one call: the server does nothing else for some 0.2 ms.
BATCH: Final = 100
# Then all weights are far below the least that counts.
LIFE_IN_HALF_LIVES: Final = 10


class RedisTrends:
    """A `Trends` whose clock is that of the store. At most `max_products` are stored, some 100 bytes each."""

    def __init__(self, store: Store, *, half_life_s: float, max_products: int = TREND_PRODUCTS) -> None:
        self._store = store
        self._half_life_s = f"{half_life_s:g}"
        self._max_products = max_products
        self._life_ms = round(half_life_s * LIFE_IN_HALF_LIVES * 1000)
        self._key = f"{{trending}}:{self._half_life_s}"

    async def add(self, orders: Mapping[Sku, int]) -> None:
        """See `Trends`."""
        counts = iter(orders.items())
        while batch := list(islice(counts, BATCH)):
            arguments = (each for count in batch for each in count)
            await self._store.run(
                TREND, (self._key,), (self._half_life_s, self._max_products, self._life_ms, *arguments)
            )

    async def top(self, limit: int) -> list[Sku]:
        """See `Trends`."""
        skus: list[bytes] = await self._store.run(TRENDING, (self._key,), (self._half_life_s, LEAST_WEIGHT, limit))
        return [Sku(sku.decode()) for sku in skus]
