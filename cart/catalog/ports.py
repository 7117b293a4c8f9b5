"""The ports of the product handlers and the importer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol

from cart.catalog.model import CatalogRow, ProductFilter
from cart.model import DAY_MS, Sku

# An order of now weighs 1; a product below this weight has not been ordered of late.
LEAST_WEIGHT = 0.05
# How many products a `Trends` keeps by default.
TREND_PRODUCTS = 1000
# The imported files that a catalogue remembers, and for how long after their last use.
MOST_IMPORTED = 1000
IMPORTED_MS = 400 * DAY_MS


class ForeignCursor(Exception):
    """The cursor was not given out for this query."""


class SearchUnavailable(Exception):
    """The search cannot be read or written; the message is the reason."""


class StockUnknown(Exception):
    """The stock is unknown now; `why` is the reason."""

    def __init__(self, why: Exception) -> None:
        super().__init__(str(why))
        self.why = why


class ImportBusy(Exception):
    """Another import into this store is running, or may be because the lease of this one is lost."""


class PutCounts(NamedTuple):
    """The outcome of a batch: products that were `new`, those whose name, price or currency `changed`, and the others.

    `unknown` rows were not written: they are not in the catalogue, and lack members of a new product. `scheduled` are those of
    the products that have scheduled prices now.
    """

    new: int
    changed: int
    same: int
    unknown: int = 0
    scheduled: tuple[Sku, ...] = ()

    def plus(self, other: PutCounts) -> PutCounts:
        """The outcome of both batches."""
        return PutCounts(
            self.new + other.new,
            self.changed + other.changed,
            self.same + other.same,
            self.unknown + other.unknown,
            self.scheduled + other.scheduled,
        )


class SearchHits(NamedTuple):
    """SKUs in catalogue order; `next_cursor` is None on the last page."""

    skus: list[Sku]
    next_cursor: str | None


class StockLevels(Protocol):
    """Units on sale at this moment. Both raise `StockUnknown`."""

    async def level(self, sku: Sku) -> int | None:
        """The units of this SKU that the shop has for sale; below zero those that were sold ahead. None for a SKU that is not in the catalogue."""
        ...

    async def levels(self, skus: Sequence[Sku]) -> Sequence[int | None]:
        """The same for many SKUs, in their order."""
        ...


class CatalogChange(NamedTuple):
    """Products that were put or removed; `position` orders the changes, `by` is the search that has them already."""

    position: str
    skus: Sequence[Sku]
    by: str


class Catalog(Protocol):
    """The truth about products, as an import writes it."""

    async def put(self, rows: Sequence[CatalogRow]) -> PutCounts:
        """Write products of different SKUs; members that are None stay, also while they are sold. Safe to repeat.

        The stock of a known product is written by a row that is a count only. Another currency ends scheduled prices in the one
        before.
        """
        ...

    async def missing(self, skus: Sequence[Sku]) -> list[Sku]:
        """Those of the SKUs that are not in the catalogue."""
        ...

    async def remove(self, skus: Sequence[Sku]) -> int:
        """Sell these products no more; returns how many were in the catalogue. Their stock stays, for orders that hold some."""
        ...

    async def announce(self, skus: Sequence[Sku], *, by: str) -> None:
        """Announce that these products were put or removed, to the searches of all hosts but `by`, which has it already."""
        ...

    async def changes_after(self, position: str, limit: int) -> Sequence[CatalogChange]:
        """The next announcements after that position, the oldest first; all there are after the position "".

        Some of the last 500,000 announced products are stored.
        """
        ...

    async def rows(self, skus: Sequence[Sku]) -> Sequence[CatalogRow | None]:
        """The products as they are now, without their stock; None for one that is not in the catalogue.

        They do not name scheduled prices that ended more than a minute ago.
        """
        ...

    async def raise_epoch(self) -> None:
        """Announce to every process that prices or names have changed."""
        ...

    async def has_imported(self, digest: str) -> bool:
        """Whether a file of this SHA-256 was imported completely, as far as that is remembered."""
        ...

    async def mark_imported(self, digest: str) -> None:
        """Record that a file of this SHA-256 was imported completely; again at each start that uses it.

        The `MOST_IMPORTED` files that were marked last are remembered, for `IMPORTED_MS`.
        """
        ...

    def lease(self, *, wait_s: float) -> AbstractAsyncContextManager[None]:
        """The exclusive right to import into this store while the block runs.

        Waits for `wait_s` at most, then raises `ImportBusy`; so does a block whose lease expired, after it is cancelled.
        The lease of a process that was killed expires.
        """
        ...


class ProductSearch(Protocol):
    """An index of SKUs by the words of their names, their categories and prices.

    It may lag behind the catalogue: some results may no longer be in it, or have another price or category by now.
    """

    async def page(
        self, *, limit: int, cursor: str | None = None, q: str | None = None, only: ProductFilter | None = None
    ) -> SearchHits:
        """Up to `limit` SKUs in the order of their first import, which later imports do not change.

        With `q`, those whose name has all its words (`words_of`), and behind them those that have some of them inside other
        words only (`is_match`). Before both is the one whose SKU is `q` itself, as `parse_sku` reads it. All of them are
        those that `only` admits; a product whose price the index does not know is admitted by every range.

        A page may hold fewer SKUs and have a next cursor. Raises `ForeignCursor` for a cursor that it did not give out for
        the same `q` and `only`, and `SearchUnavailable`.
        """
        ...

    async def upsert(self, rows: Sequence[CatalogRow]) -> None:
        """Add products or change them. Members that are None stay, and stocks are not indexed.

        A product with scheduled prices has no price in the index: at some instant it may be in any range.

        A batch that fails may be written in part: repeat it.

        A row without a name, of a product that is not in the index, has no effect.
        """
        ...

    async def remove(self, skus: Sequence[Sku]) -> None:
        """Remove products, as `upsert` adds them. Those that are not in the index are ignored; one that is added again is the last."""
        ...

    async def name(self) -> str:
        """The name of this index, which no other has, in changes of the catalogue; "" for an index that follows none."""
        ...

    async def position(self) -> str:
        """The position up to which this index has the changes of the catalogue; "" at first."""
        ...

    async def mark_position(self, position: str) -> None:
        """Record that this index has the changes up to there."""
        ...

    async def has_imported(self, digest: str) -> bool:
        """Whether a file of this SHA-256 was imported completely into this index, as far as that is remembered."""
        ...

    async def mark_imported(self, digest: str) -> None:
        """Record that a file of this SHA-256 was imported completely into this index; again at each start that uses it."""
        ...


class Trends(Protocol):
    """The products that are ordered most of late. The weight of an order halves with each half-life that passes.

    It stores so many products at most: beyond them, those of the least weight are forgotten.
    """

    async def add(self, orders: Mapping[Sku, int]) -> None:
        """Count so many orders of each SKU, one or more, as of now. Raises `StoreError`."""
        ...

    async def top(self, limit: int) -> list[Sku]:
        """Up to `limit` SKUs, the heaviest first, without those below `LEAST_WEIGHT`. Raises `StoreError`."""
        ...
