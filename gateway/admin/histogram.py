"""A histogram of times: counts by upper bound, and their sum."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import accumulate

from gateway.metrics import Sample


class Histogram:
    """Times in seconds, counted by upper bounds; the last count is of those above all bounds."""

    __slots__ = ("_bounds", "_by_bound", "seconds")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._by_bound = [0] * (len(bounds) + 1)
        self.seconds = 0.0

    def add(self, seconds: float) -> None:
        """Count a time."""
        self._by_bound[bisect_left(self._bounds, seconds)] += 1
        self.seconds += seconds

    @property
    def count(self) -> int:
        """How many times were counted."""
        return sum(self._by_bound)

    def samples(self, labels: Mapping[str, str]) -> list[Sample]:
        """The samples of a metric of the kind `histogram`."""
        bounds = [*(f"{bound:g}" for bound in self._bounds), "+Inf"]
        buckets = zip(bounds, accumulate(self._by_bound), strict=True)
        return [
            *(Sample({**labels, "le": le}, float(total)) for le, total in buckets),
            Sample({**labels, "sum": ""}, self.seconds),
        ]
