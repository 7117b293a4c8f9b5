"""The holds of a SKU as they are stored: a hash of "quantity expires fence" by order id."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from checkout.ports.books import Hold, StockBook
from store import Store

# That are added up at one moment, as in `stock_book.lua`.
MOST_HOLDS: Final = 1000


def hold_of(text: bytes) -> Hold:
    """The hold of a stored value; `expires` is 0 for a sale."""
    quantity, until_ms, _fence = text.split()
    return Hold(int(quantity), int(until_ms) or None)


def book_of(stored: Sequence[bytes], held: int) -> StockBook | None:
    """The book of a product's stored units: for sale, imported, adjusted and sold, each empty where it lacks them.

    None where it has no units for sale, or no import.
    """
    available, imported, adjusted, sold = stored
    if not (available.removeprefix(b"-").isdigit() and imported):
        return None
    return StockBook(int(available), int(imported), int(adjusted or 0), int(sold or 0), held)


async def pages_of_hash(store: Store, key: str, count: int) -> AsyncIterator[Mapping[bytes, bytes]]:
    """Pages of about so many fields of a hash; those that change meanwhile may come twice."""
    cursor: Any = b"0"
    while True:
        cursor, page = await page_of_hash(store, key, cursor, count)
        yield page
        if int(cursor) == 0:
            return


async def page_of_hash(store: Store, key: str, cursor: Any, count: int) -> tuple[bytes, Mapping[bytes, bytes]]:
    """The page at this cursor, and the cursor of the next one, 0 behind the last."""
    following, flat = await store.execute("HSCAN", key, cursor, "COUNT", count)
    return following, dict(zip(flat[::2], flat[1::2], strict=True))
