"""The units of a SKU that are held, added up beside traffic, where its holds are too many for one moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from cart.model import Sku
from cart.sku_keys import hold_changes_key, holds_key, product_key
from checkout.ports.books import StockBook
from checkout.redis.holds import book_of, hold_of, pages_of_hash
from store import Script, Store

FOLLOW_HOLDS: Final = Script.from_package("checkout.redis", "scripts/follow_holds.lua")
# Holds, or changes, of one call.
PAGE: Final = 500
# How long changes are written behind the last page that was read.
LIFE_MS: Final = 30_000


class HeldUnits:
    """Adds up pages of the holds of a SKU, and what changes meanwhile, so that the sum is that of one moment.

    From `begin` on the scripts write each change to a stream. A hold that did not change is in the pages, which name each field that
    stays; of one that did, the last change counts. The last changes are read together with the book.
    """

    def __init__(self, store: Store, sku: Sku) -> None:
        self._store = store
        self._keys = [product_key(sku), holds_key(sku), hold_changes_key(sku)]
        self._position = b""
        self._seen: dict[bytes, int] = {}
        # None for a hold that is gone.
        self._changed: dict[bytes, int | None] = {}
        self._is_lost = False

    @classmethod
    async def book_of(cls, store: Store, sku: Sku) -> StockBook | None:
        """The book of a SKU from all pages of its holds."""
        units = cls(store, sku)
        await units.begin()
        async for page in pages_of_hash(store, holds_key(sku), PAGE):
            await units.add(page)
        return await units.book()

    async def begin(self) -> None:
        """Have changes written from now on: before the first page is read."""
        (self._position,) = await self._follow()

    async def add(self, page: Mapping[bytes, bytes]) -> None:
        """Add a page, and read the changes until now."""
        self._seen.update((order, hold_of(text).quantity) for order, text in page.items())
        await self._read_changes()

    async def book(self) -> StockBook | None:
        """The book after the last page; None if the changes were lost, as with a server that failed."""
        *stored, holds = await self._read_changes()
        held = [units for units in (self._seen | self._changed).values() if units is not None]
        # Another number of holds: a worker of an earlier version, or a server that failed over, wrote no changes.
        if self._is_lost or len(held) != holds:
            return None
        return book_of(stored, sum(held))

    async def _read_changes(self) -> Sequence[Any]:
        """Read all changes; returns what the last reply says of the book."""
        book: Sequence[Any]
        while not self._is_lost:
            entries, *book = await self._follow()
            # The entry of the position is read again: it shows that none was lost behind it.
            self._is_lost = not entries or entries[0][0] != self._position
            for entry_id, (order, units) in entries[1:]:
                self._position = entry_id
                self._changed[order] = int(units) if units else None
            if book:
                return book
        return (0,)

    async def _follow(self) -> Any:
        return await self._store.run(FOLLOW_HOLDS, self._keys, [self._position, PAGE, LIFE_MS])
