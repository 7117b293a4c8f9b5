"""The catalogue in memory: for tests."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager

import msgspec

from cart.catalog.model import CatalogRow, ProductFilter, patched_terms, row_of
from cart.catalog.ports import (
    IMPORTED_MS,
    LEAST_WEIGHT,
    MOST_IMPORTED,
    TREND_PRODUCTS,
    CatalogChange,
    ForeignCursor,
    ImportBusy,
    PutCounts,
    SearchHits,
    StockUnknown,
)
from cart.catalog.words import is_match, words_of
from cart.ids import parse_sku
from cart.model import NO_TERMS, Product, Sku
from cart.timestamps import unix_ms


class MemoryCatalog:
    """A `Catalog`, its `StockLevels` and its `PriceBook` in one; the stock is unknown while `stock_is_unknown` is an error."""

    def __init__(self, *, now_ms: Callable[[], int] = unix_ms) -> None:
        self.is_stale = False
        self.stock_is_unknown: Exception | None = None
        self.book: dict[Sku, Product] = {}
        self.stock: dict[Sku, int] = {}
        self.epoch = 0
        self._now_ms = now_ms
        self._imported: dict[str, int] = {}
        self._changes: list[CatalogChange] = []
        self._lease = asyncio.Lock()

    @property
    def current(self) -> Mapping[Sku, Product]:
        """See `PriceBook`."""
        now = self._now_ms()
        book = {sku: product.at(now) for sku, product in self.book.items()}
        if any(product is not self.book[sku] for sku, product in book.items()):
            self.book = book
        return self.book

    async def products(self, skus: Collection[Sku]) -> Mapping[Sku, Product]:  # noqa: ARG002 - it gives the whole book
        """See `PriceBook`."""
        return self.current

    async def level(self, sku: Sku) -> int | None:
        """See `StockLevels`."""
        return (await self.levels((sku,)))[0]

    async def levels(self, skus: Sequence[Sku]) -> Sequence[int | None]:
        """See `StockLevels`."""
        if self.stock_is_unknown is not None:
            raise StockUnknown(self.stock_is_unknown)
        return [self.stock.get(sku) for sku in skus]

    async def put(self, rows: Sequence[CatalogRow]) -> PutCounts:
        """See `Catalog`."""
        new = changed = unknown = 0
        scheduled: list[Sku] = []
        book = dict(self.book)  # another mapping: the values of one mapping never change
        for row in rows:
            was = book.get(row.sku)
            product = _merged(was, row)
            if product is None:
                unknown += 1
                continue
            new += was is None
            changed += was is not None and row_of(was, 0) != row_of(product, 0)
            book[row.sku] = product.at(self._now_ms())
            if product.terms.scheduled_prices:
                scheduled.append(row.sku)
            if row.stock is not None and (was is None or row.is_count):
                self.stock[row.sku] = row.stock
            self.stock.setdefault(row.sku, 0)
        self.book = book
        return PutCounts(new, changed, len(rows) - new - changed - unknown, unknown, tuple(scheduled))

    async def missing(self, skus: Sequence[Sku]) -> list[Sku]:
        """See `Catalog`."""
        return [sku for sku in skus if sku not in self.book]

    async def remove(self, skus: Sequence[Sku]) -> int:
        """See `Catalog`."""
        book = dict(self.book)
        removed = [sku for sku in skus if book.pop(sku, None) is not None]
        self.book = book
        return len(removed)

    async def announce(self, skus: Sequence[Sku], *, by: str) -> None:
        """See `Catalog`. A position is the number of changes up to there."""
        if skus:
            self._changes.append(CatalogChange(str(len(self._changes) + 1), skus, by))

    async def changes_after(self, position: str, limit: int) -> Sequence[CatalogChange]:
        """See `Catalog`."""
        return self._changes[int(position or 0) :][:limit]

    async def rows(self, skus: Sequence[Sku]) -> Sequence[CatalogRow | None]:
        """See `Catalog`."""
        products = [self.book.get(sku) for sku in skus]
        return [None if product is None else row_of(product, self._now_ms()) for product in products]

    async def raise_epoch(self) -> None:
        """See `Catalog`."""
        self.epoch += 1

    async def has_imported(self, digest: str) -> bool:
        """See `Catalog`."""
        return digest in self._imported

    async def mark_imported(self, digest: str) -> None:
        """See `Catalog`."""
        now_ms = self._now_ms()
        # The newest is the last.
        self._imported.pop(digest, None)
        self._imported[digest] = now_ms
        newest = list(self._imported.items())[-MOST_IMPORTED:]
        self._imported = {each: at for each, at in newest if at > now_ms - IMPORTED_MS}

    @asynccontextmanager
    async def lease(self, *, wait_s: float) -> AsyncIterator[None]:
        """See `Catalog`."""
        try:
            await asyncio.wait_for(self._lease.acquire(), wait_s)
        except TimeoutError:
            raise ImportBusy("another import is running") from None
        try:
            yield
        finally:
            self._lease.release()


class MemoryTrends:
    """A `Trends` with a clock of its own, in seconds."""

    def __init__(
        self, *, half_life_s: float, max_products: int = TREND_PRODUCTS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._half_life_s = half_life_s
        self._max_products = max_products
        self._clock = clock
        self._weights: dict[Sku, float] = {}
        self._as_of = clock()

    async def add(self, orders: Mapping[Sku, int]) -> None:
        """See `Trends`."""
        self._decay()
        for sku, count in orders.items():
            self._weights[sku] = self._weights.get(sku, 0.0) + count
        self._weights = {sku: self._weights[sku] for sku in self._heaviest()[: self._max_products]}

    async def top(self, limit: int) -> list[Sku]:
        """See `Trends`."""
        self._decay()
        return [sku for sku in self._heaviest() if self._weights[sku] >= LEAST_WEIGHT][:limit]

    def _heaviest(self) -> list[Sku]:
        return sorted(self._weights, key=lambda sku: (self._weights[sku], sku), reverse=True)

    def _decay(self) -> None:
        now = self._clock()
        share = 0.5 ** ((now - self._as_of) / self._half_life_s)
        self._weights = {sku: weight * share for sku, weight in self._weights.items()}
        self._as_of = now


# The rank of a match and the number of its product, which order the matches.
_Place = tuple[int, int]
_SKU_ITSELF, _ALL_WORDS, _INSIDE = range(3)


class MemorySearch:
    """A `ProductSearch` that looks at every product."""

    def __init__(self) -> None:
        self._rows: dict[Sku, CatalogRow] = {}
        self._words: dict[Sku, set[str]] = {}
        self._numbers: dict[Sku, int] = {}
        self._next_number = itertools.count()
        self._imported: set[str] = set()
        self._position = ""

    async def page(
        self, *, limit: int, cursor: str | None = None, q: str | None = None, only: ProductFilter | None = None
    ) -> SearchHits:
        """See `ProductSearch`. The cursor is the place of the last match and the query, in plain text."""
        query = f"{q}" if only is None else f"{q}:{only}"
        after = None if cursor is None else _place(cursor, query)
        places = sorted((place, sku) for sku in self._rows if (place := self._place_of(sku, q)) is not None)
        found = [
            (place, sku)
            for place, sku in places
            if (after is None or place > after) and (only is None or _admits(only, self._rows[sku]))
        ]
        page = found[:limit]
        next_cursor = "{}-{}:{}".format(*page[-1][0], query) if len(found) > limit else None
        return SearchHits([sku for _, sku in page], next_cursor)

    def _place_of(self, sku: Sku, q: str | None) -> _Place | None:
        number = self._numbers[sku]
        if q is None:
            return _ALL_WORDS, number
        if sku == parse_sku(q):
            return _SKU_ITSELF, number
        wanted, words = set(words_of(q)), self._words[sku]
        if not wanted or not all(is_match(word, words) for word in wanted):
            return None
        return (_ALL_WORDS if wanted <= words else _INSIDE), number

    async def upsert(self, rows: Sequence[CatalogRow]) -> None:
        """See `ProductSearch`."""
        for row in rows:
            indexed = _indexed(self._rows.get(row.sku), row)
            if indexed.name is not None:
                if row.sku not in self._rows:
                    self._numbers[row.sku] = next(self._next_number)
                self._rows[row.sku] = indexed
                self._words[row.sku] = set(words_of(indexed.name))

    async def remove(self, skus: Sequence[Sku]) -> None:
        """See `ProductSearch`."""
        for sku in skus:
            self._rows.pop(sku, None)
            self._words.pop(sku, None)

    async def name(self) -> str:
        """See `ProductSearch`."""
        return f"memory-{id(self)}"

    async def position(self) -> str:
        """See `ProductSearch`."""
        return self._position

    async def mark_position(self, position: str) -> None:
        """See `ProductSearch`."""
        self._position = position

    async def has_imported(self, digest: str) -> bool:
        """See `ProductSearch`."""
        return digest in self._imported

    async def mark_imported(self, digest: str) -> None:
        """See `ProductSearch`."""
        self._imported.add(digest)


def _merged(was: Product | None, row: CatalogRow) -> Product | None:
    """The product after this row; None if the row says too little about a new one."""
    name = row.name if row.name is not None or was is None else was.name
    price = row.price if row.price is not None or was is None else was.ordinary_price
    currency = row.currency if row.currency is not None or was is None else was.currency
    if name is None or price is None or currency is None:
        return None
    category = row.category if row.category is not None or was is None else was.category
    terms = NO_TERMS if was is None else was.terms
    if was is not None and was.currency != currency:
        # They were in the other currency.
        terms = msgspec.structs.replace(terms, scheduled_prices=())
    terms = patched_terms(terms, row.terms)
    return Product(row.sku, name, price, currency, category or "", terms)


def _indexed(was: CatalogRow | None, row: CatalogRow) -> CatalogRow:
    """The product of an index after this row."""
    told = {name: value for name, value in msgspec.structs.asdict(row).items() if value is not None}
    if row.has_scheduled_prices:
        told |= {"price": None, "currency": None}
    return msgspec.structs.replace(was or CatalogRow(row.sku), **told)


def _admits(only: ProductFilter, row: CatalogRow) -> bool:
    is_in_category = only.category is None or only.category == row.category
    is_price_unknown = row.price is None or row.currency is None
    return is_in_category and (is_price_unknown or only.admits_price(row.price or 0, row.currency or ""))


def _place(cursor: str, wanted: str) -> _Place:
    place, _, query = cursor.partition(":")
    rank, _, number = place.partition("-")
    if not (rank.isdecimal() and number.isdecimal()) or query != wanted:
        raise ForeignCursor(cursor)
    return int(rank), int(number)
