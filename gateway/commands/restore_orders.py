"""`peakgate orders restore`: the orders of the store are rebuilt from the archive."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Final

from checkout.archive.restoration import Restoration, RestoreReport
from gateway.commands.order_session import EX_FAILED, EX_OK, Refused, Say, run_with_tools
from gateway.compose.order_tools import OrderTools
from gateway.settings import Settings

# Between two lines of progress.
LINE_EVERY_S: Final = 2.0


def restore_orders(
    settings: Settings, *, accepted_from: int = 0, accepted_before: int | None = None, cursor: str | None, say: Say
) -> int:
    """Restore the orders accepted in that time (Unix ms); returns the exit code, 1 if some could not be restored."""
    report = RestoreReport(cursor=cursor)

    async def act(tools: OrderTools) -> int:
        nonlocal report
        show = _Progress(say)

        def progress(now: RestoreReport) -> None:
            nonlocal report
            report = now
            show(now)

        try:
            report = await _restoration(tools).run(
                accepted_from=accepted_from, accepted_before=accepted_before, cursor=cursor, progress=progress
            )
        except ValueError as error:
            raise Refused(f"--after {cursor}: {error}") from error
        return _finish(report)

    try:
        return run_with_tools(settings, act, say=say)
    except KeyboardInterrupt:
        _say_where(report, say)
        raise


def restore_order(settings: Settings, number_or_id: str, *, say: Say) -> int:
    """Restore one order, however old."""

    async def act(tools: OrderTools) -> int:
        found = await tools.search.find(number_or_id)
        report = await _restoration(tools).one([order.id for order in found])
        if not report.looked_at:
            raise Refused(f"the archive has no order {number_or_id!r}")
        if report.elsewhere:
            raise Refused(f"order {number_or_id} has its home in another Region; restore it there")
        return _finish(report)

    return run_with_tools(settings, act, say=say)


def _restoration(tools: OrderTools) -> Restoration:
    if tools.restoration is None:
        raise Refused("there is no archive: --archive is none")
    return tools.restoration


def _finish(report: RestoreReport) -> int:
    sys.stdout.write(f"{_text(report)}\n")
    return EX_FAILED if report.failed else EX_OK


def _text(report: RestoreReport) -> str:
    parts = [f"{report.restored:,} orders restored", f"{report.stored:,} were in the store"]
    if report.old:
        parts.append(f"{report.old:,} ended too long ago")
    if report.elsewhere:
        parts.append(f"{report.elsewhere:,} have their home in another Region")
    if report.failed:
        parts.append(f"{report.failed:,} could not be restored")
    return ", ".join(parts)


def _say_where(report: RestoreReport, say: Say) -> None:
    again = "run the command again" if report.cursor is None else f"go on with --after '{report.cursor}'"
    say(f"interrupted: {_text(report)}; {again}")


class _Progress:
    """Says how far a run is, now and then. An archive does not know how many records it has."""

    def __init__(self, say: Say, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._say = say
        self._clock = clock
        self._next_at = clock() + LINE_EVERY_S

    def __call__(self, now: RestoreReport) -> None:
        """Say it, if it is time to."""
        if self._clock() >= self._next_at:
            self._next_at = self._clock() + LINE_EVERY_S
            self._say(f"{_text(now)}; behind {now.cursor}")
