"""Importing a catalogue file: first every record is checked, then the sound ones go to the store and to the search.

The checked rows wait in a temporary SQLite file, so memory stays bounded for any size of the catalogue, and a SKU
that is in two records is found, however far apart they are.
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from itertools import islice
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from cart.catalog.files import CatalogFile, CatalogFileError, FileForm, NumberedRow, Rejection
from cart.catalog.model import CatalogRow
from cart.catalog.ports import Catalog, ProductSearch, PutCounts
from cart.catalog.rows import SkuCheck, any_sku
from cart.catalog.staging import Staging

# Bounds the memory, and the time for which a batch occupies the event loop.
BATCH_ROWS = 2000
# Half of the time a changed price may take; the other half is the price books' polling and a batch.
EPOCH_EVERY_S = 0.5
MAX_REJECTIONS = 1000
# Longer than the lease of an import that was killed lasts.
LEASE_WAIT_S = 15.0
# Long enough for another process to import a large catalogue; then the content is already imported.
ONCE_WAIT_S = 600.0


class ImportProgress(msgspec.Struct, frozen=True):
    """How far an import is: `done` of `total` bytes while `checking`, of rows while `importing`; `rows` sound ones so far."""

    stage: Literal["checking", "importing"]
    rows: int
    done: int
    total: int


class ImportReport(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of an import.

    `sound` and `rejected` count the file's records; `rejections` are the first 1,000 of the latter. `imported` is 0 when
    records were rejected and not to be skipped: then the catalogue is as it was. Of those imported, `new` were not in the
    catalogue before, and of `changed` the name, price or currency differed. The columns that the file lacks are
    `untouched`: their values stayed. `kept_stock` products have a stock in the file beside other members, which is not theirs
    because they were in the catalogue.
    """

    sound: int
    rejected: int
    rejections: list[Rejection]
    untouched: tuple[str, ...] = ()
    imported: int = 0
    new: int = 0
    changed: int = 0
    kept_stock: int = 0

    @property
    def is_rejected(self) -> bool:
        """Whether nothing was imported because of rejected records."""
        return self.rejected > 0 and self.imported == 0


_UNKNOWN = "is not in the catalogue; a new product needs the columns name, price and currency"
Progress = Callable[[ImportProgress], None]
_T = TypeVar("_T")


def _ignore(_: object) -> None:
    pass


async def import_catalog(
    path: str | Path,
    *,
    catalog: Catalog,
    search: ProductSearch,
    form: FileForm | None = None,
    sku_check: SkuCheck = any_sku,
    skip_bad: bool = False,
    progress: Progress = _ignore,
    rejected: Callable[[Rejection], None] = _ignore,
    spool_dir: str | Path | None = None,
) -> ImportReport:
    """Put every product of a CSV or JSON Lines file into the catalogue and the search.

    Nothing is imported if any record is bad, unless `skip_bad`. `rejected` is called for every bad record as it is found,
    `progress` after every batch. The rows wait in a file in `spool_dir` (default: the system's temporary directory). Doing
    it again changes nothing; products that the file lacks stay, and so do the values of columns that it lacks. The stock
    of products that are in the catalogue is set by a file of counts only, whose columns are `sku` and `stock`.

    Raises `CatalogFileError`, `ImportBusy`, `StoreError`, `SearchUnavailable`; after the last two, do it again.
    """
    async with _open_import(CatalogFile(path, form, sku_check=sku_check), spool_dir) as work:
        report = await work.check_known(await work.check(progress, rejected), catalog, rejected)
        if report.rejected and not skip_bad:
            return report
        async with catalog.lease(wait_s=LEASE_WAIT_S):
            return await work.publish(report, catalog, search, progress)


async def import_once(
    path: str | Path,
    *,
    catalog: Catalog,
    search: ProductSearch,
    sku_check: SkuCheck = any_sku,
    spool_dir: str | Path | None = None,
) -> ImportReport | None:
    """Import the file unless this very content was imported before; None when there was nothing to do.

    The stock of a store that has the content is unchanged, also when the search of this host is filled again.
    Nothing is imported if any record is bad: see the report. Raises as `import_catalog` does.
    """
    digest = await asyncio.to_thread(_digest, Path(path))
    if await catalog.has_imported(digest) and await search.has_imported(digest):
        # A file that is in use is not forgotten.
        await catalog.mark_imported(digest)
        await search.mark_imported(digest)
        return None
    async with _open_import(CatalogFile(path, sku_check=sku_check), spool_dir) as work:
        report = await work.check_known(await work.check(), catalog)
        if report.rejected:
            return report
        async with catalog.lease(wait_s=ONCE_WAIT_S):
            # Only now: another process may just have imported it, and begun to sell from it.
            to_catalog = None if await catalog.has_imported(digest) else catalog
            to_search = None if await search.has_imported(digest) else search
            return await work.publish(report, to_catalog, to_search)


class _Import:
    """One run over one file; blocking work runs in its one thread."""

    def __init__(self, file: CatalogFile, staging: Staging, thread: ThreadPoolExecutor) -> None:
        self._file = file
        self._staging = staging
        self._thread = thread

    async def _in_thread(self, call: Callable[..., _T], *args: object) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *args)

    async def check(
        self, progress: Progress = _ignore, rejected: Callable[[Rejection], None] = _ignore
    ) -> ImportReport:
        """Read the whole file into the staging."""
        records = self._file.records()
        sound = bad = 0
        first: list[Rejection] = []
        while batch := await self._in_thread(_next_batch, records):
            stored, rejections = await self._in_thread(self._staging.add, batch)
            sound += stored
            bad += len(rejections)
            first += rejections[: MAX_REJECTIONS - len(first)]
            for rejection in rejections:
                rejected(rejection)
            progress(ImportProgress("checking", sound, self._file.done, self._file.size))
        return ImportReport(sound=sound, rejected=bad, rejections=first, untouched=self._file.missing_columns)

    async def check_known(
        self, checked: ImportReport, catalog: Catalog, rejected: Callable[[Rejection], None] = _ignore
    ) -> ImportReport:
        """Reject the staged rows that say too little about a product that is not in the catalogue."""
        if not {"name", "price"}.intersection(checked.untouched):
            return checked
        unknown, first = 0, checked.rejections
        async for rows in self._batches():
            missing = await catalog.missing([row.sku for row in rows])
            rejections = await self._in_thread(self._staging.reject, missing, _UNKNOWN)
            unknown += len(rejections)
            first = sorted([*first, *rejections])[:MAX_REJECTIONS]
            for rejection in rejections:
                rejected(rejection)
        return msgspec.structs.replace(
            checked, sound=checked.sound - unknown, rejected=checked.rejected + unknown, rejections=first
        )

    async def publish(
        self, checked: ImportReport, catalog: Catalog | None, search: ProductSearch | None, progress: Progress = _ignore
    ) -> ImportReport:
        """Write the staged rows to their target; then the content counts as imported there."""
        done, kept_stock, counts = 0, 0, PutCounts(0, 0, 0)
        name = "" if search is None else await search.name()
        async with _announced(catalog) as announce:
            async for rows in self._batches():
                if catalog is not None:
                    batch_counts = await catalog.put(rows)
                    counts = counts.plus(batch_counts._replace(scheduled=()))
                    kept_stock += _kept_stock(rows, batch_counts)
                    await announce(batch_counts)
                # After the store: every product that the search finds can be shown.
                if search is not None:
                    await search.upsert(rows)
                if search is not None and catalog is not None and batch_counts.scheduled:
                    # Rows may not name the scheduled prices of their products.
                    await search.upsert([row for row in await catalog.rows(batch_counts.scheduled) if row is not None])
                if catalog is not None:
                    # Also of products that are as before: an import that was cut off announced less than it wrote.
                    await catalog.announce([row.sku for row in rows if _is_searched(row)], by=name)
                done += len(rows)
                progress(ImportProgress("importing", done, done, checked.sound))
        for target in (catalog, search):
            if target is not None:
                await target.mark_imported(self._file.digest)
        return msgspec.structs.replace(
            checked, imported=done, new=counts.new, changed=counts.changed, kept_stock=kept_stock
        )

    async def _batches(self) -> AsyncIterator[list[CatalogRow]]:
        line, rows = await self._in_thread(self._staging.after, 0, BATCH_ROWS)
        while rows:
            yield rows
            line, rows = await self._in_thread(self._staging.after, line, BATCH_ROWS)


@asynccontextmanager
async def _open_import(file: CatalogFile, spool_dir: str | Path | None) -> AsyncIterator[_Import]:
    with (
        tempfile.TemporaryDirectory(prefix="peakgate-import-", dir=spool_dir) as spool,
        closing(Staging(Path(spool) / "staged.sqlite3")) as staging,
        # Innermost: a cancelled import waits for the batch in the thread before the staging under it goes.
        ThreadPoolExecutor(1, thread_name_prefix="import") as thread,
    ):
        yield _Import(file, staging, thread)


@asynccontextmanager
async def _announced(catalog: Catalog | None) -> AsyncIterator[Callable[[PutCounts], Awaitable[None]]]:
    """Raise the epoch every `EPOCH_EVERY_S` while prices change, and at the end, also when the import fails."""
    due_at = time.monotonic() + EPOCH_EVERY_S
    is_stale = False

    async def announce(counts: PutCounts) -> None:
        nonlocal due_at, is_stale
        is_stale = is_stale or counts.changed > 0
        if is_stale and catalog is not None and time.monotonic() >= due_at:
            await catalog.raise_epoch()
            due_at, is_stale = time.monotonic() + EPOCH_EVERY_S, False

    try:
        yield announce
    except BaseException:
        # A cancelled batch may have changed prices.
        is_stale = True
        raise
    finally:
        if is_stale and catalog is not None:
            await catalog.raise_epoch()


def _is_searched(row: CatalogRow) -> bool:
    """Whether the row has a member that a search knows."""
    return row.name is not None or row.price is not None or row.category is not None


def _kept_stock(rows: Sequence[CatalogRow], counts: PutCounts) -> int:
    """The known products of a batch whose stock was passed over. All rows have the same members."""
    return counts.changed + counts.same if rows[0].stock is not None and not rows[0].is_count else 0


def _next_batch(records: Iterator[NumberedRow | Rejection]) -> list[NumberedRow | Rejection]:
    return list(islice(records, BATCH_ROWS))


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CatalogFileError(f"{path}: {error.strerror}") from error
