"""The embedded archive: a SQLite file in the data directory, written by every worker process of one machine.

A record is on the disk when `put` returns (WAL, `synchronous = FULL`), so a kill or a power cut loses none. Records that
wait while a transaction is written share the next one, and its one flush of the disk.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from cart.ids import parse_order_id
from cart.model import OrderId
from cart.timestamps import unix_ms
from checkout.order_status import OrderStatus
from checkout.ports.archive import ArchivedOrder, ArchiveMisconfigured, ArchiveUnavailable, Position, ScanPage
from primitives.futures import ignore_exception

FILE_NAME: Final = "archive.sqlite3"
SCHEMA_VERSION: Final = 1
# How long a writer waits for those of other processes; shorter than the relay waits for its sink.
BUSY_S: Final = 5.0
READERS: Final = 2
# Most records that `expire` deletes in one transaction, so that it does not hold up the other writers.
EXPIRED_AT_A_TIME: Final = 500

_COLUMNS: Final = ArchivedOrder.__struct_fields__
_FROM_ROW: Final = f"SELECT {', '.join(_COLUMNS)} FROM orders"  # noqa: S608 - names of columns
SCHEMA: Final = (
    """CREATE TABLE orders (
        id TEXT NOT NULL PRIMARY KEY, revision INTEGER NOT NULL, status TEXT NOT NULL, number TEXT NOT NULL,
        created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, content BLOB NOT NULL,
        owner_hash TEXT, email_hash TEXT,
        home TEXT NOT NULL, has_ended INTEGER NOT NULL)""",
    "CREATE INDEX by_number ON orders(number)",
    "CREATE INDEX by_time ON orders(created_at, id)",
    "CREATE INDEX by_owner ON orders(owner_hash, created_at, id) WHERE owner_hash IS NOT NULL",
    "CREATE INDEX by_email ON orders(email_hash, created_at, id) WHERE email_hash IS NOT NULL",
)
# The number, the time of acceptance and the hashes never change: an update leaves the indexes as they are.
PUT: Final = f"""INSERT INTO orders ({", ".join(_COLUMNS)}) VALUES ({", ".join("?" * len(_COLUMNS))})
    ON CONFLICT (id) DO UPDATE SET
    revision = excluded.revision, status = excluded.status, updated_at = excluded.updated_at, content = excluded.content,
    has_ended = excluded.has_ended
    WHERE excluded.revision > revision AND excluded.home = home"""  # noqa: S608 - names of columns
ERASE: Final = """UPDATE orders SET content = ?, owner_hash = ?, email_hash = ?
    WHERE id = ? AND revision = ? AND home = ?"""
EXPIRE: Final = """DELETE FROM orders WHERE id IN (
    SELECT id FROM orders WHERE created_at < ?1 AND updated_at < ?1 AND has_ended ORDER BY created_at LIMIT ?2)"""

# Later than any order.
_LAST: Final = (1 << 63) - 1
BY_NUMBER: Final = "SELECT id FROM orders WHERE number = ? ORDER BY id"
BY_OWNER: Final = """SELECT created_at, id FROM orders WHERE owner_hash = ? AND (created_at, id) < (?, ?)
    ORDER BY created_at DESC, id DESC LIMIT ?"""
BY_EMAIL: Final = BY_OWNER.replace("owner_hash", "email_hash")
SCAN: Final = f"""{_FROM_ROW} WHERE (created_at, id) > (?, ?) AND created_at < ? ORDER BY created_at, id LIMIT ?"""

_T = TypeVar("_T")


class _Batch:
    """Records that are written in one transaction."""

    def __init__(self) -> None:
        self.records: list[ArchivedOrder] = []
        self.written: asyncio.Future[None]


class SqliteArchive:
    """`Archive` on the file at `path`, in threads of its own: one that writes and two that read.

    `open` makes the file where there is none. An order is kept for `keep_ms` after its last change, for ever if it is None.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        keep_ms: int | None = None,
        busy_s: float = BUSY_S,
        clock_ms: Callable[[], int] = unix_ms,
    ) -> None:
        # Of `put`, for tests and measurements.
        self.transactions = 0
        self._path = Path(path)
        self._keep_ms = keep_ms
        self._busy_s = busy_s
        self._clock_ms = clock_ms
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="archive-writer")
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="archive-reader")
        self._of_thread = threading.local()
        self._connections: list[sqlite3.Connection] = []
        # The transaction that takes the records of the next `put`.
        self._next: _Batch | None = None
        self._one_at_a_time = asyncio.Lock()

    async def open(self) -> None:
        """Make the archive where there is none. Raises `ArchiveMisconfigured` where that cannot be done."""
        try:
            await self._in(self._writer, self._create)
        except ArchiveUnavailable as error:
            raise ArchiveMisconfigured(str(error)) from error

    async def close(self) -> None:
        """Write what waits, end the threads and close their connections."""
        if self._next is not None:
            await asyncio.wait([self._next.written])
        for executor in (self._writer, self._readers):
            await asyncio.to_thread(executor.shutdown)
        for connection in self._connections:
            connection.close()
        self._connections.clear()

    async def put(self, records: Sequence[ArchivedOrder]) -> None:
        """See `Archive.put`."""
        if self._next is None:
            self._next = _Batch()
            self._next.written = asyncio.create_task(self._write(self._next))
            self._next.written.add_done_callback(ignore_exception)
        self._next.records.extend(records)
        # A caller that is cancelled takes the records of no other with it.
        await asyncio.shield(self._next.written)

    async def _write(self, batch: _Batch) -> None:
        async with self._one_at_a_time:
            # What comes while this is written waits for the next transaction.
            self._next = None
            self.transactions += 1
            await self._in(self._writer, self._put, batch.records)

    async def read(self, order_id: OrderId) -> ArchivedOrder | None:
        """See `Archive.read`."""
        found = await self._select(f"{_FROM_ROW} WHERE id = ?", order_id)
        return _record(found[0]) if found else None

    async def by_number(self, number: str) -> Sequence[OrderId]:
        """See `Archive.by_number`."""
        return [OrderId(row[0]) for row in await self._select(BY_NUMBER, number)]

    async def of_owner(self, owner_hash: str, *, limit: int, after: Position | None = None) -> Sequence[Position]:
        """See `Archive.of_owner`."""
        return await self._places(BY_OWNER, owner_hash, limit, after)

    async def of_email(self, email_hash: str, *, limit: int, after: Position | None = None) -> Sequence[Position]:
        """See `Archive.of_email`."""
        return await self._places(BY_EMAIL, email_hash, limit, after)

    async def _places(self, query: str, value: str, limit: int, after: Position | None) -> Sequence[Position]:
        place = (_LAST, "") if after is None else (after.created_at, after.order_id)
        return [Position(at, OrderId(id_)) for at, id_ in await self._select(query, value, *place, limit)]

    async def scan(
        self, *, accepted_from: int = 0, accepted_before: int | None = None, limit: int = 100, cursor: str | None = None
    ) -> ScanPage:
        """See `Archive.scan`: by the time of acceptance."""
        begin = (accepted_from, "") if cursor is None else _place(cursor)
        end = _LAST if accepted_before is None else accepted_before
        records = [_record(row) for row in await self._select(SCAN, *begin, end, limit)]
        if len(records) < limit:
            return ScanPage(records, None)
        return ScanPage(records, f"{records[-1].created_at} {records[-1].id}")

    async def erase(self, record: ArchivedOrder) -> bool:
        """See `Archive.erase`. What was deleted is overwritten in the file (`secure_delete`) and leaves its log."""
        return await self._in(self._writer, self._erase, record)

    async def expire(self) -> int:
        """See `Archive.expire`."""
        if self._keep_ms is None:
            return 0
        before = self._clock_ms() - self._keep_ms
        deleted = EXPIRED_AT_A_TIME
        total = 0
        while deleted == EXPIRED_AT_A_TIME:
            deleted = await self._in(self._writer, self._expire, before)
            total += deleted
        return total

    async def check(self) -> None:
        """See `Archive.check`."""
        try:
            await self._select("SELECT 1 FROM orders LIMIT 1")
        except ArchiveUnavailable as error:
            raise ArchiveMisconfigured(str(error)) from error

    async def _select(self, query: str, *values: object) -> list[Any]:
        return await self._in(self._readers, lambda: self._connection().execute(query, values).fetchall())

    async def _in(self, executor: ThreadPoolExecutor, call: Callable[..., _T], *args: object) -> _T:
        try:
            return await asyncio.get_running_loop().run_in_executor(executor, call, *args)
        except (sqlite3.Error, OSError) as error:
            raise ArchiveUnavailable(f"the archive {self._path}: {error}") from error

    # The rest runs in the threads.

    def _put(self, records: Sequence[ArchivedOrder]) -> None:
        with self._transaction() as connection:
            connection.executemany(PUT, map(msgspec.structs.astuple, records))

    def _erase(self, record: ArchivedOrder) -> bool:
        values = (record.content, record.owner_hash, record.email_hash, record.id, record.revision, record.home)
        with self._transaction() as connection:
            is_erased = connection.execute(ERASE, values).rowcount > 0
        # The log still has the pages as they were.
        self._connection().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return is_erased

    def _expire(self, before: int) -> int:
        with self._transaction() as connection:
            return connection.execute(EXPIRE, (before, EXPIRED_AT_A_TIME)).rowcount

    def _create(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # SQLite makes the files beside it with the same mode.
        self._path.touch(mode=0o600)
        connection = self._connection()
        if _version(connection) == SCHEMA_VERSION:
            return
        connection.execute("PRAGMA journal_mode = WAL")
        with self._transaction():
            # Another process may have been faster.
            version = _version(connection)
            if version == SCHEMA_VERSION:
                return
            if version:
                raise ArchiveMisconfigured(f"the archive {self._path} was made by another version of Peakgate")
            for statement in SCHEMA:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._connection()
        # Waits for the writers of other processes now, and not in the middle.
        connection.execute("BEGIN IMMEDIATE")
        with connection:
            yield connection

    def _connection(self) -> sqlite3.Connection:
        """The connection of this thread."""
        connection: sqlite3.Connection | None = getattr(self._of_thread, "connection", None)
        if connection is None:
            # Any thread may close it at the end; none uses it while another one does.
            connection = sqlite3.connect(
                self._path, timeout=self._busy_s, isolation_level=None, check_same_thread=False
            )
            self._connections.append(connection)
            for pragma in ("synchronous = FULL", "secure_delete = ON"):
                connection.execute(f"PRAGMA {pragma}")
            self._of_thread.connection = connection
        return connection


def _record(row: Sequence[Any]) -> ArchivedOrder:
    record = dict(zip(_COLUMNS, row, strict=True))
    record["status"] = OrderStatus(record["status"])
    record["has_ended"] = bool(record["has_ended"])
    return ArchivedOrder(**record)


def _version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def _place(cursor: str) -> tuple[int, str]:
    """The place that a cursor of `scan` stands for. Raises `ValueError`."""
    at, _, order_id = cursor.partition(" ")
    if not (at.isascii() and at.isdigit() and parse_order_id(order_id)):
        raise ValueError(f"not a cursor of this archive: {cursor!r}")
    return int(at), order_id
