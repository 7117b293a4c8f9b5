"""Counts of the response cache, for its metrics and status."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from gateway.metrics import Metric, Sample

# Each request is counted under one of these. `uncacheable` is a miss as well; the last two are refreshes, not requests.
_RESULTS: Final = (
    "hit",
    "not_modified",
    "stale",
    "stale_if_error",
    "revalidated",
    "miss",
    "collapsed",
    "uncacheable",
    "bypass",
    "refreshed_in_background",
    "refresh_failed",
)
# Of these, responses without a call of the upstream, and with one.
HITS: Final = ("hit", "not_modified", "stale", "stale_if_error", "collapsed")
FETCHES: Final = ("miss", "revalidated")
_SHARED_RESULTS: Final = ("hits", "misses", "writes", "errors", "dropped")


class CacheStats:
    """Counts since the worker started. Plain attributes: hits are counted on the hot path."""

    __slots__ = (
        "bypass",
        "collapsed",
        "hit",
        "host_hits",
        "miss",
        "not_modified",
        "purged",
        "refresh_failed",
        "refreshed_in_background",
        "revalidated",
        "shared_dropped",
        "shared_errors",
        "shared_hits",
        "shared_misses",
        "shared_writes",
        "stale",
        "stale_if_error",
        "uncacheable",
    )

    def __init__(self) -> None:
        self.hit = 0
        self.not_modified = 0
        self.stale = 0
        self.stale_if_error = 0
        self.revalidated = 0
        self.miss = 0
        self.collapsed = 0
        self.uncacheable = 0
        self.bypass = 0
        self.refreshed_in_background = 0
        self.refresh_failed = 0
        self.purged = 0
        # Copies made of responses that the host has.
        self.host_hits = 0
        self.shared_dropped = 0
        self.shared_errors = 0
        self.shared_hits = 0
        self.shared_misses = 0
        self.shared_writes = 0

    def counts(self) -> dict[str, int]:
        """All counts by name."""
        shared = [f"shared_{name}" for name in _SHARED_RESULTS]
        return {name: getattr(self, name) for name in (*_RESULTS, "purged", "host_hits", *shared)}

    def metrics(self) -> Iterable[Metric]:
        """The metrics of these counts."""
        counts = self.counts()
        return [
            Metric(
                "peakgate_cache_results_total",
                "Requests to the response cache, by result, and its refreshes.",
                "counter",
                [Sample({"result": name}, counts[name]) for name in _RESULTS],
            ),
            Metric("peakgate_cache_purged_total", "Responses purged.", "counter", [Sample({}, self.purged)]),
            Metric(
                "peakgate_cache_host_hits_total",
                "Responses copied from the memory that the workers of a host share.",
                "counter",
                [Sample({}, self.host_hits)],
            ),
            Metric(
                "peakgate_cache_shared_total",
                "Requests to the second tier of the response cache, by result.",
                "counter",
                [Sample({"result": name}, counts[f"shared_{name}"]) for name in _SHARED_RESULTS],
            ),
        ]
