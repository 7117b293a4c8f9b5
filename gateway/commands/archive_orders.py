"""`peakgate orders archive`: the orders of the store that the archive lacks are archived."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from checkout.archive.backfill import BackfillReport
from checkout.errors import ChangeNotDurable
from gateway.commands.order_session import EX_FAILED, EX_OK, EX_UNAVAILABLE, Refused, Say, run_with_tools
from gateway.compose.order_tools import OrderTools
from gateway.settings import Settings

# Between two lines of progress, where no bar can be drawn.
LINE_EVERY_S: Final = 5.0


def archive_orders(settings: Settings, *, rate: float, cursor: str | None, say: Say) -> int:
    """Archive them, and show the progress; returns the exit code, 1 if some could not be archived."""
    report = BackfillReport(cursor=cursor)

    async def act(tools: OrderTools) -> int:
        nonlocal report
        if tools.backfill is None:
            raise Refused("there is no archive: --archive is none")
        with _progress(say) as show:

            def progress(now: BackfillReport) -> None:
                nonlocal report
                report = now
                show(now)

            try:
                report = await tools.backfill.run(rate=rate, cursor=cursor, progress=progress)
            except ValueError as error:
                raise Refused(f"--after {cursor}: {error}") from error
            except ChangeNotDurable as error:
                raise Refused(f"an order is not durable in the store yet; {_where(report)}") from error
        sys.stdout.write(f"{_text(report)}\n")
        return EX_FAILED if report.failed else EX_OK

    try:
        code = run_with_tools(settings, act, say=say)
    except KeyboardInterrupt:
        say(f"interrupted: {_text(report)}; {_where(report)}")
        raise
    if code == EX_UNAVAILABLE and report.looked_at:
        say(f"{_text(report)}; {_where(report)}")
    return code


def _text(report: BackfillReport) -> str:
    parts = [f"{report.archived:,} orders archived", f"{report.present:,} were in the archive"]
    if report.failed:
        parts.append(f"{report.failed:,} could not be archived")
    return ", ".join(parts)


def _where(report: BackfillReport) -> str:
    return "run the command again" if report.cursor is None else f"go on with --after '{report.cursor}'"


@contextmanager
def _progress(say: Say) -> Iterator[Callable[[BackfillReport], None]]:
    """A bar on a terminal; a line now and then elsewhere. The store does not know how many orders it has."""
    if not sys.stderr.isatty():
        yield ProgressLines(say)
        return
    columns = (BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("archiving orders", total=None)
        yield lambda now: bar.update(task, description=_text(now))


class ProgressLines:
    """Says how far a run is, every few seconds."""

    def __init__(self, say: Say, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._say = say
        self._clock = clock
        self._next_at = clock() + LINE_EVERY_S

    def __call__(self, now: BackfillReport) -> None:
        """Say it, if it is time to."""
        if self._clock() >= self._next_at:
            self._next_at = self._clock() + LINE_EVERY_S
            self._say(f"{_text(now)}; behind {now.cursor or 'the start'}")
