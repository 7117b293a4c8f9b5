"""`peakgate catalog import`: the progress bar, and the report of rejected records; and `peakgate catalog remove`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, ExitStack
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from cart.catalog.files import CatalogFileError, FileForm, Rejection
from cart.catalog.importer import ImportProgress, ImportReport, import_catalog
from cart.catalog.ports import ImportBusy, SearchUnavailable
from cart.catalog.search_feed import remove_products
from cart.ids import parse_sku
from cart.model import Sku
from gateway import compose, prerequisites
from gateway.commands.opened_store import open_store_address
from gateway.settings import Settings
from store import StoreError
from store.embedded import EmbeddedServerError

# A few faults show the problem of a file; the count covers the rest.
SHOWN_REJECTIONS: Final = 100


def import_file(path: str, settings: Settings, form: FileForm, *, skip_bad: bool, say: Callable[[str], None]) -> int:
    """Import the file into the store of a running gateway, or into the data directory of one that does not run."""
    with ExitStack() as stack:
        try:
            store = open_store_address(settings, stack)
            report = asyncio.run(_import(path, settings, form, store, skip_bad=skip_bad, say=say))
        except (CatalogFileError, ImportBusy, SearchUnavailable, StoreError) as error:
            say(str(error))
            return 1
        except (EmbeddedServerError, prerequisites.CannotStart) as error:
            say(str(error))
            return 1
    if report.rejected > SHOWN_REJECTIONS:
        say(f"... and {report.rejected - SHOWN_REJECTIONS:,} more wrong records")
    if report.is_rejected:
        others = f"; --skip-bad imports the {report.sound:,} others" if report.sound else ""
        say(f"nothing was imported: {report.rejected:,} wrong records{others}")
        return 1
    if report.untouched:
        say(f"the file has no column for {', '.join(report.untouched)}: what is in the catalogue stays as it is")
    if report.kept_stock:
        say(
            f"the stock of {report.kept_stock:,} products that were in the catalogue stays as it is: a file with the columns "
            "sku and stock alone counts it"
        )
    unchanged = report.imported - report.new - report.changed
    sys.stdout.write(
        f"{report.imported:,} products imported: {report.new:,} new, {report.changed:,} changed, {unchanged:,} as before\n"
    )
    return 0


def remove(texts: Sequence[str], settings: Settings, *, say: Callable[[str], None]) -> int:
    """Remove the products of these SKUs from the catalogue of a running gateway, or of one that does not run."""
    skus = {text: parse_sku(text) for text in texts}
    if wrong := [text for text, sku in skus.items() if sku is None]:
        say(f"no SKU: {', '.join(map(ascii, wrong))}")
        return 1
    wanted = list(dict.fromkeys(sku for sku in skus.values() if sku is not None))
    with ExitStack() as stack:
        try:
            store = open_store_address(settings, stack)
            removed = asyncio.run(_remove(wanted, settings, store))
        except (SearchUnavailable, StoreError, EmbeddedServerError, prerequisites.CannotStart) as error:
            say(str(error))
            return 1
    sys.stdout.write(f"{removed:,} products removed, {len(wanted) - removed:,} were not in the catalogue\n")
    return 0


async def _remove(skus: Sequence[Sku], settings: Settings, store: prerequisites.StoreAddress) -> int:
    async with AsyncExitStack() as stack:
        catalog, search = await compose.open_catalog(settings, store, stack)
        return await remove_products(skus, catalog=catalog, search=search)


async def _import(
    path: str,
    settings: Settings,
    form: FileForm,
    store: prerequisites.StoreAddress,
    *,
    skip_bad: bool,
    say: Callable[[str], None],
) -> ImportReport:
    shown = 0

    def rejected(rejection: Rejection) -> None:
        nonlocal shown
        shown += 1
        if shown <= SHOWN_REJECTIONS:
            say(f"{path}:{rejection.line}: {rejection.reason}")

    async with AsyncExitStack() as stack:
        catalog, search = await compose.open_catalog(settings, store, stack)
        bar = stack.enter_context(_progress_bar())
        task = bar.add_task("checking", total=None, rows="")

        def progress(now: ImportProgress) -> None:
            bar.update(task, description=now.stage, total=now.total, completed=now.done, rows=f"{now.rows:,} products")

        return await import_catalog(
            path,
            catalog=catalog,
            search=search,
            form=form,
            sku_check=compose.sku_fault,
            skip_bad=skip_bad,
            progress=progress,
            rejected=rejected,
        )


def _progress_bar() -> Progress:
    return Progress(
        TextColumn("{task.description:<10}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rows]}", table_column=None),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
