"""The progress bar of a replay."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

_REFRESH_S = 0.25
_RATE_OVER_S = 2.0


@dataclass(frozen=True, slots=True)
class Counts:
    """How far a replay is."""

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
    """Show a bar on `stream` as long as the context is open; nothing where `stream` is not a terminal."""
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("baskets  {task.fields[rates]}"), TimeElapsedColumn())
    # Refreshed by a task: rich's own thread would compete with the shoppers for the interpreter.
    with Progress(*columns, console=Console(file=stream), auto_refresh=False, disable=not stream.isatty()) as bar:
        task_id = bar.add_task("replay", total=total_baskets, rates="")
        refreshing = asyncio.create_task(_refresh(count, bar, task_id))
        try:
            yield
        finally:
            refreshing.cancel()
            with suppress(asyncio.CancelledError):
                await refreshing
        bar.update(task_id, completed=count().baskets, refresh=True)


async def _refresh(count: Callable[[], Counts], bar: Progress, task_id: TaskID) -> None:
    before, then = count(), time.monotonic()
    while True:
        await asyncio.sleep(_REFRESH_S)
        counts, now = count(), time.monotonic()
        bar.update(task_id, completed=counts.baskets, rates=counts.rates(before, now - then), refresh=True)
        # The rate covers two seconds at most, so that a gateway that has just died shows at once.
        if now - then >= _RATE_OVER_S:
            before, then = counts, now
