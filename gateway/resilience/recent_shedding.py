"""How many requests were admitted and shed in the last second, and how long it would take to serve those shed."""

from __future__ import annotations

from collections.abc import Sequence


class RecentShedding:
    """Shares and backlog of the last second or two, from counters that only rise."""

    def __init__(self, levels: int, now: float) -> None:
        self.backlog_s = 0.0
        self._backlog = 0.0
        self._updated_at = now
        self._admitted_before = self._shed_before = [0] * levels
        self._admitted = self._shed = [0] * levels

    def update(self, now: float, admitted: Sequence[int], shed: Sequence[int]) -> None:
        """Read the counters. Call it often: it does nothing more than once a second."""
        elapsed_s = now - self._updated_at
        if elapsed_s < 1.0:
            return
        self._admitted = [new - old for new, old in zip(admitted, self._admitted_before, strict=True)]
        self._shed = [new - old for new, old in zip(shed, self._shed_before, strict=True)]
        # Shed clients retry: half of them within this time, half of the rest in the next, and so on.
        self._backlog = self._backlog / 2 + sum(self._shed)
        # The time to serve the backlog at the current pace.
        self.backlog_s = self._backlog * elapsed_s / max(sum(self._admitted), 1)
        self._updated_at, self._admitted_before, self._shed_before = now, [*admitted], [*shed]

    def share(self, level: int) -> float:
        """The share of requests of one criticality that were shed."""
        total = self._admitted[level] + self._shed[level]
        return self._shed[level] / total if total else 0.0
