"""How a replay shows that it is getting on: a bar on a terminal, elsewhere a line now and then."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

_BAR_EVERY_S = 0.25
_LINE_EVERY_S = 5.0
_RATE_OVER_S = 2.0


@dataclass(frozen=True, slots=True)
class Counts:
    """Where a replay is."""

    baskets: int
    lines: int
    requests: int

    def rates(self, before: "Counts", seconds: float) -> str:
        """Speed since an earlier moment."""
        lines, requests = (self.lines - before.lines) / seconds, (self.requests - before.requests) / seconds
        baskets = (self.baskets - before.baskets) / seconds
        return f"{baskets:,.0f} baskets/s, {lines:,.0f} lines/s, {requests:,.0f} requests/s"


@asynccontextmanager
async def show_progress(count: Callable[[], Counts], total_baskets: int, stream: TextIO) -> AsyncIterator[None]:
    """Tell on `stream` how far `count` says the replay is, as long as the context is open."""
    if not stream.isatty():
        async with _in_background(_print_lines(count, total_baskets, stream)):
            yield
        return
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("baskets  {task.fields[rates]}"), TimeElapsedColumn())
    # Refreshed from here: rich's own thread would compete with the shoppers for the interpreter.
    with Progress(*columns, console=Console(file=stream), auto_refresh=False) as bar:
        task_id = bar.add_task("replay", total=total_baskets, rates="")
        async with _in_background(_move_bar(count, bar, task_id)):
            yield
        bar.update(task_id, completed=count().baskets)
        bar.refresh()


@asynccontextmanager
async def _in_background(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _print_lines(count: Callable[[], Counts], total: int, stream: TextIO) -> None:
    before, then = count(), time.monotonic()
    while True:
        await asyncio.sleep(_LINE_EVERY_S)
        counts, now = count(), time.monotonic()
        print(f"{counts.baskets:,} of {total:,} baskets, {counts.rates(before, now - then)}", file=stream, flush=True)
        before, then = counts, now


async def _move_bar(count: Callable[[], Counts], bar: Progress, task_id: TaskID) -> None:
    before, then = count(), time.monotonic()
    while True:
        await asyncio.sleep(_BAR_EVERY_S)
        counts, now = count(), time.monotonic()
        bar.update(task_id, completed=counts.baskets, rates=counts.rates(before, now - then))
        bar.refresh()
        # The rate covers two seconds at most, so that a gateway that has just died shows at once.
        if now - then >= _RATE_OVER_S:
            before, then = counts, now
