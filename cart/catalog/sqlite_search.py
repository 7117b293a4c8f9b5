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
import base64
import hashlib
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar

from cart.catalog.ports import ForeignCursor, SearchHits, SearchUnavailable
from cart.catalog.words import grams_of, is_found_inside, wanted_grams, words_of
from cart.ids import parse_sku
from cart.model import Sku

FILE_NAME = "search.sqlite3"
SCHEMA_VERSION = 2
NAMES = "CREATE VIRTUAL TABLE names USING fts5(words, content='', detail=none, columnsize=0, tokenize='ascii')"
# Only the words are stored, not the names: the index needs no more to remove a renamed product.
SCHEMA = (
    "CREATE TABLE products (id INTEGER PRIMARY KEY, sku TEXT NOT NULL UNIQUE, words TEXT NOT NULL)",
    NAMES,
    "CREATE TABLE imports (digest TEXT PRIMARY KEY) WITHOUT ROWID",
)
ALL = "SELECT id, sku FROM products WHERE id > ? ORDER BY id LIMIT ?"
EXACT = "SELECT id, sku FROM products WHERE sku = ?"
LAST = "SELECT coalesce(max(id), 0) FROM products"
INDEX = "INSERT INTO names(rowid, words) VALUES (?, ?)"
# The index holds no text: deletions must name the words.
UNINDEX = "INSERT INTO names(names, rowid, words) VALUES ('delete', ?, ?)"
MATCHING = """
SELECT products.id, products.sku FROM names JOIN products ON products.id = names.rowid
WHERE names MATCH ? AND names.rowid > ? AND names.rowid <> ? {} ORDER BY names.rowid LIMIT ?
"""
# The parts of a word may be in a name and the word not.
INSIDE = "AND instr(products.words, ?)"
# A query's parts beyond these would cost more than they exclude.
MAX_GRAMS = 64
BUSY_S = 10.0
# Part of the file's format: another size is another SCHEMA_VERSION. A window of the worst words takes 2 ms.
WINDOW_ROWS = 1 << 16
BUDGET_S = 0.008
MAX_ROW_ID = (1 << 63) - 1
# In a cursor, the rows that have the words inside others come behind all rows that have the words.
_INSIDE_FROM = MAX_ROW_ID + 1

_POSITION_BYTES = 8
_CHECK_BYTES = 7
_T = TypeVar("_T")
_Row = tuple[int, str]


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

    async def page(self, *, limit: int, cursor: str | None = None, q: str | None = None) -> SearchHits:
        """See `ProductSearch`. A page that the time budget cut short may hold fewer SKUs and have a next cursor."""
        after = 0 if cursor is None else _position(cursor, q)
        if q is None:
            return await self._in_thread(self._all, limit, after)
        return await self._in_thread(self._matching, limit, after, cursor is None, q)

    async def upsert(self, products: Sequence[tuple[Sku, str]]) -> None:
        """See `ProductSearch`: one transaction. Raises `SearchUnavailable`."""
        await self._in_thread(self._upsert, products)

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
        return _hits(rows, limit, after, None, None)

    def _matching(self, limit: int, after: int, is_first: bool, q: str) -> SearchHits:
        """The exact SKU on the first page, then the names with all words, then those with words inside others; in row order."""
        reader = self._reader()
        exact = reader.execute(EXACT, (parse_sku(q),)).fetchone()
        exact_id, head = (exact[0], [Sku(exact[1])] if is_first else []) if exact else (0, [])
        wanted = limit - len(head)
        rows, reached = self._ranked(reader, words_of(q), after, exact_id, wanted + 1)
        hits = _hits(rows, wanted, after, reached, q)
        return SearchHits(head + hits.skus, hits.next_cursor)

    def _ranked(
        self, reader: sqlite3.Connection, words: Sequence[str], after: int, exact_id: int, wanted: int
    ) -> tuple[list[_Row], int | None]:
        """Up to `wanted` rows after the position `after`; and the last one searched, where the time budget ended first."""
        rows: list[_Row] = []
        deadline = self._clock() + self._budget_s
        last_window: int = reader.execute(LAST).fetchone()[0] // WINDOW_ROWS
        for query in _queries(words):
            row_id = max(after - query.positions_from, 0)
            for window in range((row_id + 1) // WINDOW_ROWS, last_window + 1):
                found = query.rows(reader, window, row_id, exact_id, wanted - len(rows))
                rows += [(query.positions_from + found_id, sku) for found_id, sku in found]
                if len(rows) == wanted:
                    return rows, None
                if window < last_window and self._clock() >= deadline:
                    return rows, query.positions_from + (window + 1) * WINDOW_ROWS - 1
        return rows, None

    def _upsert(self, products: Sequence[tuple[Sku, str]]) -> None:
        with self._writing, self._write_connection() as writer:
            writer.execute("BEGIN IMMEDIATE")
            for sku, name in products:
                _upsert(writer, sku, " ".join(dict.fromkeys(words_of(name))))

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
        if _version(writer) == SCHEMA_VERSION:
            return
        writer.execute("PRAGMA journal_mode = WAL")
        with writer:
            writer.execute("BEGIN IMMEDIATE")
            # Another process may have been faster.
            version = _version(writer)
            if version == 0:
                for statement in SCHEMA:
                    writer.execute(statement)
            elif version == 1:
                _index_again(writer)
            elif version != SCHEMA_VERSION:
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


def _upsert(writer: sqlite3.Connection, sku: Sku, words: str) -> None:
    existing = writer.execute("SELECT id, words FROM products WHERE sku = ?", (sku,)).fetchone()
    if existing is None:
        row_id = writer.execute("INSERT INTO products(sku, words) VALUES (?, ?)", (sku, words)).lastrowid
        assert row_id is not None
        writer.execute(INDEX, (row_id, _indexed(words, row_id)))
    elif existing[1] != words:
        row_id = existing[0]
        writer.execute(UNINDEX, (row_id, _indexed(existing[1], row_id)))
        writer.execute("UPDATE products SET words = ? WHERE id = ?", (words, row_id))
        writer.execute(INDEX, (row_id, _indexed(words, row_id)))


class _Query:
    """One kind of match: names with all words, or with some of them inside other words."""

    def __init__(self, words: Sequence[str], *, is_inside: bool) -> None:
        self.positions_from = _INSIDE_FROM if is_inside else 0
        self._inside = [word for word in words if is_inside and is_found_inside(word)]
        self._sql = MATCHING.format(" ".join([INSIDE] * len(self._inside)))
        self._words = words
        self._is_inside = is_inside

    def rows(
        self, reader: sqlite3.Connection, window: int, after: int, exact_id: int, limit: int
    ) -> Iterable[tuple[int, str]]:
        """The rows of that window after a row id, without the one of the exact SKU."""
        return reader.execute(self._sql, (self._match(window), after, exact_id, *self._inside, limit))

    def _match(self, window: int) -> str:
        """The expression for the rows of that window."""
        words = " ".join(f'"{window:04x}w{word}"' for word in self._words)
        if not self._is_inside:
            return words
        whole = (f'"{window:04x}w{word}"' for word in self._words if word not in self._inside)
        grams = dict.fromkeys(gram for word in self._inside for gram in wanted_grams(word))
        parts = (f'"{window:04x}g{gram}"' for gram in islice(grams, MAX_GRAMS))
        return f"({' '.join((*whole, *parts))}) NOT ({words})"


def _queries(words: Sequence[str]) -> Sequence[_Query]:
    words = list(dict.fromkeys(words))
    if not words:
        return ()
    whole = _Query(words, is_inside=False)
    return (whole, _Query(words, is_inside=True)) if any(map(is_found_inside, words)) else (whole,)


def _indexed(words: str, row_id: int) -> str:
    """The terms of a row: its words and their parts, each with the window of the row."""
    window = f"{row_id // WINDOW_ROWS:04x}"
    each = words.split()
    grams = {gram: None for word in each for gram in grams_of(word)}
    terms = [f"{window}w{word}" for word in each]
    terms += [f"{window}g{gram}" for gram in grams]
    return " ".join(terms)


def _index_again(writer: sqlite3.Connection) -> None:
    """Make the present index of one that has no parts of words.

    Marks that are vowels were no parts of words there, so files count as not imported: the next import has them right.
    """
    writer.execute("DROP TABLE names")
    writer.execute(NAMES)
    writer.execute("DELETE FROM imports")
    after = 0
    while rows := writer.execute(
        "SELECT id, words FROM products WHERE id > ? ORDER BY id LIMIT 1000", (after,)
    ).fetchall():
        for row_id, words in rows:
            writer.execute(INDEX, (row_id, _indexed(words, row_id)))
        after = rows[-1][0]


def _version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def _hits(rows: Sequence[_Row], wanted: int, after: int, reached: int | None, q: str | None) -> SearchHits:
    """The first `wanted` rows of those found after the row `after`, with a cursor where there may be more."""
    page = rows[:wanted]
    if len(rows) > wanted:
        reached = page[-1][0] if page else after
    return SearchHits([Sku(sku) for _, sku in page], None if reached is None else _cursor(reached, q))


def _cursor(position: int, q: str | None) -> str:
    packed = position.to_bytes(_POSITION_BYTES, "big")
    return base64.urlsafe_b64encode(packed + _check(packed, q)).decode()


def _position(cursor: str, q: str | None) -> int:
    """The position that the cursor stands for. Raises `ForeignCursor`."""
    try:
        raw = base64.b64decode(cursor, altchars=b"-_", validate=True)
    except ValueError:
        raise ForeignCursor(cursor) from None
    packed, check = raw[:_POSITION_BYTES], raw[_POSITION_BYTES:]
    position = int.from_bytes(packed, "big")
    # Clients can make cursors; a row id that is none would not even be a number to SQLite.
    if check != _check(packed, q) or (q is None and position > MAX_ROW_ID):
        raise ForeignCursor(cursor)
    return position


def _check(packed: bytes, q: str | None) -> bytes:
    """Ties a cursor to its query. It is not secret: a forged cursor only reads the catalogue from another position."""
    query = b"" if q is None else q.encode()
    return hashlib.blake2b(packed + query, digest_size=_CHECK_BYTES, person=b"products").digest()
