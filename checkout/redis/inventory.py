"""The inventory in Redis or Valkey: the stock of the products, and pages of their holds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from cart.catalog.numbers import STOCK_MAX
from cart.model import OrderId, Sku
from cart.sku_keys import holds_key, product_key, restocked_key
from checkout.ports.inventory import (
    Correction,
    HoldsPage,
    StockHold,
    StockLevel,
    UnitsOutOfRange,
    UnknownSku,
)
from checkout.ports.stock import RESTOCKED_MS
from store import Script, Store

ADJUST_STOCK: Final = Script.from_package("checkout.redis", "scripts/adjust_stock.lua")
# Of one call of the store.
PAGE: Final = 500
_OUT_OF_RANGE: Final = -1
_UNKNOWN: Final = -2


class RedisInventory:
    """`Inventory` on a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def level(self, sku: Sku) -> StockLevel:
        """See `Inventory.level`."""
        available = await self._available(sku)
        held = sold = 0
        async for holds in self._all_holds(sku):
            for hold in holds:
                held += 0 if hold.until_ms is None else hold.quantity
                sold += hold.quantity if hold.until_ms is None else 0
        return StockLevel(sku, available, held, sold)

    async def _available(self, sku: Sku) -> int:
        available = await self._store.execute("HGET", product_key(sku), "stock")
        if available is None:
            raise UnknownSku(sku)
        return int(available)

    async def _all_holds(self, sku: Sku) -> AsyncIterator[Sequence[StockHold]]:
        """Pages of all holds, each once."""
        seen: Mapping[OrderId, StockHold] = {}
        cursor = "0"
        while True:
            cursor, page = await self._scan(sku, cursor, PAGE)
            # A hash that grows meanwhile may repeat the fields of a page in the next one.
            yield [hold for order_id, hold in page.items() if order_id not in seen]
            if cursor == "0":
                return
            seen = page

    async def holds(self, sku: Sku, *, limit: int, cursor: str | None = None) -> HoldsPage:
        """See `Inventory.holds`."""
        if cursor is not None and not (cursor.isascii() and cursor.isdecimal() and len(cursor) <= len(str(2**64))):
            raise ValueError("the cursor is not one of a page before")
        await self._available(sku)
        following, page = await self._scan(sku, cursor or "0", limit)
        return HoldsPage(list(page.values()), None if following == "0" else following)

    async def _scan(self, sku: Sku, cursor: str, count: int) -> tuple[str, Mapping[OrderId, StockHold]]:
        following, flat = await self._store.execute("HSCAN", holds_key(sku), cursor, "COUNT", count)
        names = (OrderId(name.decode()) for name in flat[::2])
        return following.decode(), {name: _hold(name, text) for name, text in zip(names, flat[1::2], strict=True)}

    async def set(self, sku: Sku, units: int, *, key: str) -> Correction:
        """See `Inventory.set`."""
        return await self._adjust(sku, "set", units, key)

    async def add(self, sku: Sku, units: int, *, key: str) -> Correction:
        """See `Inventory.add`."""
        return await self._adjust(sku, "add", units, key)

    async def _adjust(self, sku: Sku, how: str, units: int, key: str) -> Correction:
        outcome, *counts = await self._store.run(
            ADJUST_STOCK,
            [product_key(sku), restocked_key(sku), holds_key(sku)],
            [how, units, STOCK_MAX, RESTOCKED_MS, key],
        )
        if outcome == _UNKNOWN:
            raise UnknownSku(sku)
        if outcome == _OUT_OF_RANGE:
            raise UnitsOutOfRange(sku, counts[0])
        return Correction(counts[0], counts[1], bool(outcome))


def _hold(order_id: OrderId, text: Any) -> StockHold:
    quantity, until_ms, _ = text.split()
    return StockHold(order_id, int(quantity), int(until_ms) or None)
