"""The arithmetic of a circuit breaker: a rolling window of calls, when it trips, and the ramp after a good probe."""

from __future__ import annotations

from typing import Final

from gateway.resilience.breaker_model import Counts

# A window forgets a tenth of its calls at a time.
SLICES: Final = 10
# The share of calls let through right after a good probe: enough to learn from, too few to hurt.
MIN_RAMP_SHARE: Final = 0.1
# The calls that are enough to trip during the ramp, when fewer calls come than it took to trip.
RAMP_CALLS: Final = 5


class RollingWindow:
    """Counts the calls of the last `window_s` seconds, less at most a tenth of them. Adding and reading are O(1)."""

    __slots__ = ("_calls", "_failures", "_newest", "_slice_s", "_slices", "_slow")

    def __init__(self, window_s: float) -> None:
        self._slice_s = window_s / SLICES
        self.clear()

    def clear(self) -> None:
        """Remove all calls."""
        self._calls = self._failures = self._slow = 0
        self._slices: list[list[int]] = [[0, 0, 0] for _ in range(SLICES)]
        self._newest = 0

    def add(self, now: float, *, calls: int = 1, failures: int = 0, slow: int = 0) -> None:
        """Count calls that ended at `now`, which never runs backwards."""
        self._remove_older(now)
        newest = self._slices[self._newest % SLICES]
        newest[0] += calls
        newest[1] += failures
        newest[2] += slow
        self._calls += calls
        self._failures += failures
        self._slow += slow

    def counts(self, now: float) -> Counts:
        """The calls in the window at `now`."""
        self._remove_older(now)
        return Counts(self._calls, self._failures, self._slow)

    def _remove_older(self, now: float) -> None:
        number = int(now / self._slice_s)
        steps = number - self._newest
        if steps <= 0:
            return
        for passed in range(min(steps, SLICES)):
            oldest = self._slices[(number - passed) % SLICES]
            self._calls -= oldest[0]
            self._failures -= oldest[1]
            self._slow -= oldest[2]
            oldest[0] = oldest[1] = oldest[2] = 0
        self._newest = number


def trip_reason(counts: Counts, *, min_calls: int, failure_rate: float, slow_call_rate: float) -> str | None:
    """Why a breaker with these counts trips; None if it does not, or if there are too few calls."""
    calls, failures, slow = counts
    if calls < min_calls:
        return None
    if failures and failures >= failure_rate * calls:
        return f"{failures} of {calls} calls failed"
    if slow and slow >= slow_call_rate * calls:
        return f"{slow} of {calls} calls were slow"
    return None


def ramp_share(elapsed_s: float, ramp_s: float) -> float:
    """The share of calls let through this long after a good probe: rises evenly to 1."""
    if elapsed_s >= ramp_s:
        return 1.0
    return MIN_RAMP_SHARE + (1.0 - MIN_RAMP_SHARE) * max(elapsed_s, 0.0) / ramp_s
