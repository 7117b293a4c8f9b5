"""Failures of work beside a response, such as its metrics and its access line: counted, logged, and never raised.

The handler has placed the order or changed the cart by then. Whatever is added to its response or recorded about it
fails alone.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

from gateway.metrics import Metric, Sample

_log = logging.getLogger("peakgate")


class ContainedFailures:
    """Counts failures by part, and logs the first of each kind with its traceback."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.logged_kinds: set[tuple[str, str]] = set()

    def add(self, part: str, error: BaseException) -> None:
        """Count a failure. `part` is a name of ours that says what failed."""
        self.counts[part] += 1
        kind = (part, type(error).__name__)
        if kind in self.logged_kinds:
            return
        self.logged_kinds.add(kind)
        _log.error(
            "%s failed, and requests are served without it; more failures of this kind are only counted",
            part,
            exc_info=error,
        )

    def snapshot(self) -> Mapping[str, Any]:
        """See `gateway.metrics.Observed`."""
        return dict(self.counts)

    def metrics(self) -> Iterable[Metric]:
        """See `gateway.metrics.Observed`."""
        yield Metric(
            "peakgate_contained_failures_total",
            "Failures of work beside a response, such as its access line; the request was served.",
            "counter",
            [Sample({"part": part}, float(count)) for part, count in self.counts.items()],
        )


# One for the process: layers are plain functions that hold no state, and any of them may fail.
FAILURES: Final = ContainedFailures()
