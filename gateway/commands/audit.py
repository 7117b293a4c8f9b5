"""`peakgate audit`: the findings as a table or JSON, and the progress on the way."""

from __future__ import annotations

import time
from collections.abc import Callable

from checkout.audit.audit import Audit, AuditReport
from checkout.audit.finding import Bounds
from checkout.ports.books import Books
from gateway.commands.order_session import EX_FAILED, EX_OK, Say, run_with_books
from gateway.commands.tables import print_json, print_table
from gateway.settings import Settings

# Between two lines of progress.
LINE_EVERY_S = 5.0


def audit_books(settings: Settings, *, rate: float, stuck_after_s: float, as_json: bool, say: Say) -> int:
    """Audit the books of the store; returns the exit code, 1 if something breaks a rule."""

    async def act(books: Books) -> int:
        audit = Audit(books, bounds=Bounds(order_ms=round(stuck_after_s * 1000)), rate=rate)
        report = await audit.run(ProgressLines(say))
        if as_json:
            print_json(report)
        else:
            _print(report, say)
        return EX_FAILED if report.findings else EX_OK

    return run_with_books(settings, act, say=say)


def _print(report: AuditReport, say: Say) -> None:
    if report.findings:
        rows = [(each.rule, each.subject, each.detail, each.remedy) for each in report.findings]
        print_table(("RULE", "SUBJECT", "FINDING", "WHAT TO DO"), rows)
    counts = ", ".join(f"{count:,} {name}" for name, count in sorted(report.counts.items()))
    say(f"{sum(report.counts.values()):,} orders accepted{f' = {counts}' if counts else ''}")
    say(f"{len(report.findings):,} findings" if report.findings else "the books agree")


class ProgressLines:
    """Says how far an audit is, every few seconds."""

    def __init__(self, say: Say, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._say = say
        self._clock = clock
        self._next_at = clock() + LINE_EVERY_S

    def __call__(self, now: AuditReport) -> None:
        """Say it, if it is time to."""
        if self._clock() >= self._next_at:
            self._next_at = self._clock() + LINE_EVERY_S
            self._say(
                f"{now.looked_at:,} orders, {now.partitions} of {now.of_partitions} partitions, {now.suspects} to look at again"
            )
