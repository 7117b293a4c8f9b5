"""The inventory in Redis or Valkey: the stock of the products, and pages of their holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

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
from checkout.redis.held_units import HeldUnits
from checkout.redis.holds import MOST_HOLDS, hold_of, page_of_hash, pages_of_hash
from store import Script, Store

ADJUST_STOCK: Final = Script.from_files(
    ("cart.catalog", "scripts/stock_book.lua"),
    ("checkout.redis", "scripts/remember.lua"),
    ("checkout.redis", "scripts/adjust_stock.lua"),
    flags="allow-oom",
)
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
        seen: Mapping[bytes, bytes] = {}
        async for page in pages_of_hash(self._store, holds_key(sku), PAGE):
            # A hash that grows meanwhile may repeat the fields of a page in the next one.
            for hold in [hold_of(text) for order_id, text in page.items() if order_id not in seen]:
                held += 0 if hold.until_ms is None else hold.quantity
                sold += hold.quantity if hold.until_ms is None else 0
            seen = page
        return StockLevel(sku, available, held, sold)

    async def _available(self, sku: Sku) -> int:
        available = await self._store.execute("HGET", product_key(sku), "stock")
        if available is None:
            raise UnknownSku(sku)
        return int(available)

    async def holds(self, sku: Sku, *, limit: int, cursor: str | None = None) -> HoldsPage:
        """See `Inventory.holds`."""
        if cursor is not None and not (cursor.isascii() and cursor.isdecimal() and len(cursor) <= len(str(2**64))):
            raise ValueError("the cursor is not one of a page before")
        await self._available(sku)
        following, page = await page_of_hash(self._store, holds_key(sku), cursor or "0", limit)
        holds = [
            StockHold(OrderId(order_id.decode()), hold.quantity, hold.until_ms)
            for order_id, hold in ((order_id, hold_of(text)) for order_id, text in page.items())
        ]
        return HoldsPage(holds, None if following == b"0" else following.decode())

    async def set(self, sku: Sku, units: int, *, key: str) -> Correction:
        """See `Inventory.set`."""
        correction = await self._adjust(sku, "set", units, key)
        if correction.is_new:
            await self._balance_very_many(sku)
        return correction

    async def _balance_very_many(self, sku: Sku) -> None:
        """Make the book of a SKU agree, where the script left it to us. Sales move no unit into or out of the difference."""
        if await self._store.execute("HLEN", holds_key(sku)) <= MOST_HOLDS:
            return
        book = await HeldUnits.book_of(self._store, sku)
        if book is not None and book.available != book.expected:
            await self._store.execute("HINCRBY", product_key(sku), "adjusted", book.available - book.expected)

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
