"""The embedded product search: SQLite FTS5 in one file of the data directory, read by every process of the gateway.

The order of the catalogue is the order of row ids, which a product gets once. Names are cut into words by `words_of`
before SQLite sees them, in the index and in queries alike, so a query holds nothing but quoted words. The index has the
words, and their parts (`grams_of`) for searches of words inside others; a part that is found is compared with the words.

Measured with 1,000,000 products: FTS5 answers in well under a millisecond wherever some product matches soon, but words
that are each in half of all names and never together cost it 17 to 30 ms, as it goes through both lists to their ends,
with any upper bound of the query. So the index has lists of its own for each window of rows (a word's term begins with
the number of the window), a query walks from window to window and, past a time budget, returns its results with a cursor
to go on from.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

from cart.catalog.model import CatalogRow, ProductFilter
from cart.catalog.ports import SearchHits, SearchUnavailable
from cart.catalog.search_cursors import ANY_POSITION, cursor_of, position_of, query_bytes
from cart.catalog.sqlite_index import SCHEMA, SCHEMA_VERSION, remove, upgrade, upsert, version_of
from cart.catalog.sqlite_queries import MAX_ROW_ID, Chunk, Only, Row, listed, queries_of, ranked
from cart.catalog.words import words_of
from cart.model import Sku

FILE_NAME = "search.sqlite3"
ALL = "SELECT id, sku FROM products WHERE id > ? ORDER BY id LIMIT ?"
BUSY_S = 10.0
BUDGET_S = 0.008
_T = TypeVar("_T")


class _Request(NamedTuple):
    """A page of a search: up to `limit` products behind the position `after`; its cursors are tied to `query`."""

    limit: int
    after: int
    is_first: bool
    q: str
    only: Only
    query: bytes


class SqliteSearch:
    """A `ProductSearch` on the file at `path`; its queries run in `threads` threads, so the event loop never waits.

    `open` makes the file where there is none; several processes may open, read and write it at once (WAL). `close` it at
    the end. After `budget_s`, a page ends with the results so far.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        threads: int = 2,
        budget_s: float = BUDGET_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = Path(path)
        self._budget_s = budget_s
        self._clock = clock
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="search")
        self._readers = threading.local()
        self._writer: sqlite3.Connection | None = None
        # Held in the threads: a caller that is cancelled leaves its write running.
        self._writing = threading.Lock()
        self._connections: list[sqlite3.Connection] = []

    async def open(self) -> None:
        """Make the index where there is none. Raises `SearchUnavailable` when that cannot be done."""
        await self._in_thread(self._create)

    async def close(self) -> None:
        """End the threads and close their connections."""
        await asyncio.to_thread(self._executor.shutdown)
        for connection in self._connections:
            connection.close()
        self._connections.clear()

    async def page(
        self, *, limit: int, cursor: str | None = None, q: str | None = None, only: ProductFilter | None = None
    ) -> SearchHits:
        """See `ProductSearch`. A page that the time budget cut short may hold fewer SKUs and have a next cursor."""
        query = query_bytes(q, only)
        after = 0 if cursor is None else position_of(cursor, query, MAX_ROW_ID if q is None else ANY_POSITION)
        if q is not None:
            return await self._in_thread(self._matching, _Request(limit, after, cursor is None, q, Only(only), query))
        if only is not None:
            return await self._in_thread(self._some, limit, after, Only(only), query)
        return await self._in_thread(self._all, limit, after)

    async def upsert(self, rows: Sequence[CatalogRow]) -> None:
        """See `ProductSearch`: one transaction. Raises `SearchUnavailable`."""
        await self._in_thread(self._upsert, rows)

    async def remove(self, skus: Sequence[Sku]) -> None:
        """See `ProductSearch`: one transaction. Raises `SearchUnavailable`."""
        await self._in_thread(self._remove, skus)

    async def name(self) -> str:
        """See `ProductSearch`: that of the file. Raises `SearchUnavailable`."""
        return (await self._in_thread(self._feed))[0]

    async def position(self) -> str:
        """See `ProductSearch`. Raises `SearchUnavailable`."""
        return (await self._in_thread(self._feed))[1]

    async def mark_position(self, position: str) -> None:
        """See `ProductSearch`. Raises `SearchUnavailable`."""
        await self._in_thread(self._mark_position, position)

    async def has_imported(self, digest: str) -> bool:
        """See `ProductSearch`. Raises `SearchUnavailable`."""
        return await self._in_thread(self._has_imported, digest)

    async def mark_imported(self, digest: str) -> None:
        """See `ProductSearch`. Raises `SearchUnavailable`."""
        await self._in_thread(self._mark_imported, digest)

    async def _in_thread(self, call: Callable[..., _T], *args: object) -> _T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, call, *args)
        except sqlite3.Error as error:
            raise SearchUnavailable(f"the product search {self._path}: {error}") from error

    # The rest runs in the threads.

    def _all(self, limit: int, after: int) -> SearchHits:
        rows = self._reader().execute(ALL, (after, limit + 1)).fetchall()
        return _hits(rows, limit, after, None, b"")

    def _some(self, limit: int, after: int, only: Only, query: bytes) -> SearchHits:
        size = only.chunk_rows(limit + 1)
        rows, reached = self._within_budget(listed(self._reader(), only, after, size), limit + 1)
        return _hits(rows, limit, after, reached, query)

    def _matching(self, request: _Request) -> SearchHits:
        """The exact SKU on the first page, then the names with all words, then those with words inside others; in row order."""
        reader, only = self._reader(), request.only
        exact_id, head = only.exact(reader, request.q)
        if not request.is_first:
            head = []
        wanted = request.limit - len(head)
        queries = queries_of(words_of(request.q), only)
        chunks = ranked(reader, queries, request.after, exact_id, only.chunk_rows(wanted + 1))
        rows, reached = self._within_budget(chunks, wanted + 1)
        hits = _hits(rows, wanted, request.after, reached, request.query)
        return SearchHits(head + hits.skus, hits.next_cursor)

    def _within_budget(self, chunks: Iterable[Chunk], wanted: int) -> tuple[list[Row], int | None]:
        """Up to `wanted` rows; and the last position that was searched, where the time budget ended first."""
        rows: list[Row] = []
        deadline = self._clock() + self._budget_s
        for found, reached, is_end in chunks:
            rows += found
            if len(rows) >= wanted:
                return rows[:wanted], None
            if not is_end and self._clock() >= deadline:
                return rows, reached
        return rows, None

    def _upsert(self, rows: Sequence[CatalogRow]) -> None:
        with self._writing, self._write_connection() as writer:
            writer.execute("BEGIN IMMEDIATE")
            for row in rows:
                upsert(writer, row)

    def _remove(self, skus: Sequence[Sku]) -> None:
        with self._writing, self._write_connection() as writer:
            writer.execute("BEGIN IMMEDIATE")
            for sku in skus:
                remove(writer, sku)

    def _feed(self) -> tuple[str, str]:
        name, position = self._reader().execute("SELECT name, position FROM feed").fetchone()
        return name, position

    def _mark_position(self, position: str) -> None:
        with self._writing:
            self._write_connection().execute("UPDATE feed SET position = ?", (position,))

    def _has_imported(self, digest: str) -> bool:
        return self._reader().execute("SELECT 1 FROM imports WHERE digest = ?", (digest,)).fetchone() is not None

    def _mark_imported(self, digest: str) -> None:
        with self._writing:
            self._write_connection().execute("INSERT OR IGNORE INTO imports VALUES (?)", (digest,))

    def _create(self) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # SQLite makes the files beside it with the same mode.
            self._path.touch(mode=0o600)
        except OSError as error:
            raise SearchUnavailable(f"the product search {self._path}: {error}") from error
        writer = self._write_connection()
        if version_of(writer) == SCHEMA_VERSION:
            return
        writer.execute("PRAGMA journal_mode = WAL")
        with writer:
            writer.execute("BEGIN IMMEDIATE")
            # Another process may have been faster.
            version = version_of(writer)
            if version == 0:
                for statement in SCHEMA:
                    writer.execute(statement)
            elif version < SCHEMA_VERSION:
                upgrade(writer, version)
            elif version > SCHEMA_VERSION:
                raise SearchUnavailable(
                    f"the product search {self._path} was made by another version of Peakgate:"
                    " remove it and import the catalogue again"
                )
            writer.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _reader(self) -> sqlite3.Connection:
        """This thread's connection for queries."""
        reader: sqlite3.Connection | None = getattr(self._readers, "connection", None)
        if reader is None:
            reader = self._readers.connection = self._connect("PRAGMA query_only = 1")
        return reader

    def _write_connection(self) -> sqlite3.Connection:
        # NORMAL: a power cut may undo the last batches, never damage the file; the import that wrote them is repeated.
        if self._writer is None:
            self._writer = self._connect("PRAGMA synchronous = NORMAL", "PRAGMA cache_size = -32768")
        return self._writer

    def _connect(self, *pragmas: str) -> sqlite3.Connection:
        # Any thread may close it at the end; none uses it while another one does.
        connection = sqlite3.connect(self._path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        self._connections.append(connection)
        for pragma in pragmas:
            connection.execute(pragma)
        return connection


def _hits(rows: Sequence[Row], wanted: int, after: int, reached: int | None, query: bytes) -> SearchHits:
    """The first `wanted` rows of those found after the row `after`, with a cursor where there may be more."""
    page = rows[:wanted]
    if len(rows) > wanted:
        reached = page[-1][0] if page else after
    return SearchHits([Sku(sku) for _, sku in page], None if reached is None else cursor_of(reached, query))
