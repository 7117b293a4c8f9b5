"""The product search on the search module of Valkey or Redis: one index for all hosts, in the server's memory.

Keys: `search:p:<sku>` a hash for each product, which the index `peakgate:search` covers; `search:numbers` the number that was given
last; `search:imports` the files imported into this index; `search:feed` its position in the changes of the catalogue.

A product has a number, in the order of first imports, and terms: its words, their parts, and its category. They are tags, so no
analyser of the server changes them, and a query needs nothing but tags and numbers, which all versions of both modules have. As in
the embedded search, a query goes through windows of numbers within a time budget: the server does nothing else while it runs one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec

from cart.catalog.imported_files import ImportedFiles
from cart.catalog.model import CatalogRow, ProductFilter
from cart.catalog.ports import SearchHits, SearchUnavailable
from cart.catalog.search_terms import (
    MEMBERS,
    NO_PRICE,
    Document,
    Found,
    Query,
    changes_of,
)
from cart.catalog.shared_index import page_of
from cart.model import Sku
from store import ReplyError, Store, StoreError

INDEX: Final = "peakgate:search"
PRODUCT: Final = "search:p:"
NUMBERS_KEY: Final = "search:numbers"
IMPORTS_KEY: Final = "search:imports"
FEED_KEY: Final = "search:feed"
NAME: Final = "module"

BUDGET_S: Final = 0.02
# Numbers of one query: few enough for the server to be busy for less than 1 ms with any query.
FIRST_WINDOW: Final = 2048
MAX_WINDOW: Final = 16_384
# Products of one reply whose words are compared here.
CHUNK: Final = 256
# Commands sent together.
BATCH: Final = 250
_T = TypeVar("_T")


class SearchModuleMissing(SearchUnavailable):
    """The server has no search module."""


class ModuleSearch:
    """A `ProductSearch`. `open` makes the index where there is none. After `budget_s`, a page ends with the results so far.

    A batch that fails may be indexed in part: it is repeated. One import runs at a time, see `Catalog.lease`.
    """

    def __init__(
        self, store: Store, *, budget_s: float = BUDGET_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._imported = ImportedFiles(store, IMPORTS_KEY)
        self._budget_s = budget_s
        self._clock = clock

    async def open(self) -> None:
        """Make the index where there is none. Raises `SearchModuleMissing` and `SearchUnavailable`."""
        try:
            await self._store.execute("FT._LIST")
        except ReplyError as error:
            raise SearchModuleMissing(
                f"the server of the product search has no search module, or its user may not use it: {error}"
            ) from error
        except StoreError as error:
            raise _unavailable(error) from error
        try:
            await self._store.execute(
                *("FT.CREATE", INDEX, "ON", "HASH", "PREFIX", "1", PRODUCT, "SCHEMA"),
                *("terms", "TAG", "SEPARATOR", " ", "currency", "TAG", "price", "NUMERIC"),
                *("number", "NUMERIC", "SORTABLE"),
            )
        except ReplyError as error:
            if "already exists" not in str(error):
                raise _unavailable(error) from error
        except StoreError as error:
            raise _unavailable(error) from error

    async def page(
        self, *, limit: int, cursor: str | None = None, q: str | None = None, only: ProductFilter | None = None
    ) -> SearchHits:
        """See `ProductSearch`. A page that the time budget cut short may hold fewer SKUs and have a next cursor."""
        page = page_of(self, limit=limit, cursor=cursor, q=q, only=only, budget_s=self._budget_s, clock=self._clock)
        return await _or_unavailable(page)

    async def chunks(
        self, queries: Sequence[Query], after: int, size: int
    ) -> AsyncIterator[tuple[list[tuple[int, Sku]], int | None]]:
        """See `SharedIndex.chunks`."""
        last = int(await self._store.execute("GET", NUMBERS_KEY) or 0)
        for query in queries:
            is_match = query.is_match
            if is_match is not None:
                size = max(size, CHUNK)
            number, window = max(after - query.positions_from, 0), FIRST_WINDOW
            while number < last:
                upto = min(number + window, last)
                rows = await self._find(_condition(query), number, upto, size)
                is_whole = len(rows) < size
                number = upto if is_whole else rows[-1].number
                window = min(2 * window, MAX_WINDOW)
                matches = [
                    (query.positions_from + row.number, row.sku) for row in rows if is_match is None or is_match(row)
                ]
                is_end = number >= last and query is queries[-1]
                yield matches, None if is_end else query.positions_from + number

    async def _find(self, condition: str, after: int, upto: int, size: int) -> list[Found]:
        reply = await self._store.execute(
            *("FT.SEARCH", INDEX, f"@number:[({after} {upto}] {condition}", "RETURN", "2", "number", "words"),
            *("SORTBY", "number", "ASC", "LIMIT", "0", size, "DIALECT", "2"),
        )
        return [
            Found(
                int(fields[b"number"]),
                Sku(key.decode().removeprefix(PRODUCT)),
                frozenset(fields.get(b"words", b"").decode().split()),
            )
            for key, fields in _documents(reply)
        ]

    async def upsert(self, rows: Sequence[CatalogRow]) -> None:
        """See `ProductSearch`. Raises `SearchUnavailable`."""
        await _or_unavailable(self._upsert(rows))

    async def _upsert(self, rows: Sequence[CatalogRow]) -> None:
        for start in range(0, len(rows), BATCH):
            await self._upsert_batch(rows[start : start + BATCH])

    async def _upsert_batch(self, rows: Sequence[CatalogRow]) -> None:
        known = await self.read(list(dict.fromkeys(row.sku for row in rows)))
        changed = changes_of(rows, known)
        new = [document for document in changed.values() if not document.number]
        # Sent together and replied to in this order, so the numbers rise in it.
        numbers = await asyncio.gather(*(self._store.execute("INCR", NUMBERS_KEY) for _ in new))
        for document, number in zip(new, numbers, strict=True):
            changed[document.sku] = msgspec.structs.replace(document, number=int(number))
        await asyncio.gather(*(self._write(document) for document in changed.values()))

    async def read(self, skus: Sequence[Sku]) -> dict[Sku, Document | None]:
        """See `SharedIndex.read`."""
        replies = await asyncio.gather(
            *(self._store.execute("HMGET", PRODUCT + sku, "number", *MEMBERS) for sku in skus)
        )
        return {
            sku: None if values[0] is None else Document.read(sku, values)
            for sku, values in zip(skus, replies, strict=True)
        }

    async def _write(self, document: Document) -> None:
        key = PRODUCT + document.sku
        fields = (each for field in document.fields() for each in field)
        await self._store.execute("HSET", key, "number", document.number, "terms", " ".join(document.terms()), *fields)
        absent = [name for name in MEMBERS if getattr(document, name) is None]
        if absent:
            await self._store.execute("HDEL", key, *absent)

    async def remove(self, skus: Sequence[Sku]) -> None:
        """See `ProductSearch`. Raises `SearchUnavailable`."""
        for start in range(0, len(skus), BATCH):
            await _or_unavailable(
                self._store.execute("UNLINK", *(PRODUCT + sku for sku in skus[start : start + BATCH]))
            )

    async def name(self) -> str:
        """See `ProductSearch`: the same on all hosts, which share the index."""
        return NAME

    async def position(self) -> str:
        """See `ProductSearch`. Raises `SearchUnavailable`."""
        position = await _or_unavailable(self._store.execute("GET", FEED_KEY))
        return "" if position is None else str(position.decode())

    async def mark_position(self, position: str) -> None:
        """See `ProductSearch`. Raises `SearchUnavailable`."""
        await _or_unavailable(self._store.execute("SET", FEED_KEY, position))

    async def has_imported(self, digest: str) -> bool:
        """See `ProductSearch`. Raises `SearchUnavailable`."""
        return await _or_unavailable(self._imported.has(digest))

    async def mark_imported(self, digest: str) -> None:
        """See `ProductSearch`. Raises `SearchUnavailable`."""
        await _or_unavailable(self._imported.mark(digest))


def _condition(query: Query) -> str:
    """The condition of a query in the language of the module."""
    return _all_of(query.terms) + _prices(query.only)


def _all_of(terms: Sequence[str]) -> str:
    return "".join(f"@terms:{{{term}}} " for term in terms)


def _prices(only: ProductFilter | None) -> str:
    if only is None or not only.has_prices:
        return ""
    high = "+inf" if only.max_price is None else only.max_price
    in_range = f"@currency:{{{only.currency}}} @price:[{only.min_price or 0} {high}]"
    return f"(@terms:{{{NO_PRICE}}} | ({in_range}))"


def _documents(reply: Any) -> list[tuple[bytes, Mapping[bytes, bytes]]]:
    """Keys and fields of a reply: a map in RESP3 of Redis' module, else the count, and key and fields in turn."""
    if isinstance(reply, dict):
        return [(each[b"id"], each[b"extra_attributes"]) for each in reply[b"results"]]
    return [
        (key, fields if isinstance(fields, dict) else dict(zip(fields[::2], fields[1::2], strict=True)))
        for key, fields in zip(reply[1::2], reply[2::2], strict=True)
    ]


async def _or_unavailable(work: Awaitable[_T]) -> _T:
    try:
        return await work
    except StoreError as error:
        raise _unavailable(error) from error


def _unavailable(error: StoreError) -> SearchUnavailable:
    return SearchUnavailable(f"the product search of the search module: {error}")
