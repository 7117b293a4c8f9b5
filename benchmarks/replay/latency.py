"""Latencies of all calls of a run, by kind, and their percentiles."""

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LatencyRow:
    """The latencies of one kind of call, in milliseconds."""

    kind: str
    calls: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float


def percentile(ordered: Sequence[float], share: float) -> float:
    """The nearest-rank percentile of an ascending, non-empty sequence: the least value that `share` of them do not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


class Latencies:
    """Stores each latency (eight bytes a call), so that percentiles are exact."""

    def __init__(self) -> None:
        self._seconds: dict[str, array[float]] = {}

    def add(self, kind: str, seconds: float) -> None:
        """Add one call."""
        seen = self._seconds.get(kind)
        if seen is None:
            seen = self._seconds[kind] = array("d")
        seen.append(seconds)

    def rows(self) -> list[LatencyRow]:
        """One row for each kind, in the order of their first call."""
        return [_row(kind, sorted(seconds)) for kind, seconds in self._seconds.items()]


def _row(kind: str, ordered: Sequence[float]) -> LatencyRow:
    p50, p90, p99 = (percentile(ordered, share) * 1000 for share in (0.5, 0.9, 0.99))
    return LatencyRow(kind, len(ordered), p50, p90, p99, ordered[-1] * 1000)
