"""`peakgate review`: the day after as one HTML file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from gateway.commands.review_figures import Figures, read_access_logs, read_acts
from gateway.commands.review_page import Price, review_page
from gateway.config.policies import AccessLog

EX_OK: Final = 0
EX_NOINPUT: Final = 66
EX_CANTCREAT: Final = 73


def write_review(
    start: datetime,
    end: datetime,
    *,
    access_logs: Sequence[Path],
    log: AccessLog,
    acts: Path,
    price: Price | None,
    output: Path,
    say: Callable[[str], None],
) -> int:
    """Read the logs, write the page; returns the exit code."""
    figures = Figures(start, end, log)
    try:
        read_access_logs(figures, access_logs)
        found = read_acts(acts, start, end) if acts.exists() else []
    except (OSError, EOFError) as error:
        say(f"a log cannot be read: {error}")
        return EX_NOINPUT
    sources = [
        f"{figures.requests:,.0f} requests, estimated from {figures.lines:,} lines of {len(access_logs)} access logs",
        (
            f"sampled: {log.ok_sample_rate:.0%} of successes, {log.rejected_sample_rate:.0%} of 429 and 503, "
            f"{log.client_error_sample_rate:.0%} of other refusals, {log.server_error_sample_rate:.0%} of failures"
        ),
        f"{figures.outside:,} lines outside this time, {figures.unread:,} that are none of an access log",
        f"{len(found):,} acts of {acts}" if acts.exists() else f"there is no {acts}",
    ]
    for each in sources:
        say(each)
    try:
        output.write_text(review_page(figures, found, price, sources), encoding="utf-8")
    except OSError as error:
        say(f"the page cannot be written: {error}")
        return EX_CANTCREAT
    say(f"written to {output}")
    return EX_OK
