"""When a dependency is cut off, for how long, and how it comes back: the arithmetic of a breaker, without its states."""

from __future__ import annotations

from typing import Final, NamedTuple

# A window forgets a tenth of itself at a time.
SLICES: Final = 10
# What is let through as soon as a probe has succeeded: enough to learn from, too little to hurt.
RAMP_FROM: Final = 0.1
# In the ramp so many calls are enough to judge by: it must not wait for as many failures as it took to trip.
RAMP_CALLS: Final = 5


class Counts(NamedTuple):
    """Calls of a window, and how many of them failed, or were slow although they did not."""

    calls: int
    failures: int
    slow: int


class RollingWindow:
    """Counts the calls of the last `window_s` seconds, less at most a tenth of them. Adding and reading are O(1)."""

    __slots__ = ("_calls", "_failures", "_newest", "_slice_s", "_slices", "_slow")

    def __init__(self, window_s: float) -> None:
        self._slice_s = window_s / SLICES
        self.clear()

    def clear(self) -> None:
        """Forget all."""
        self._calls = self._failures = self._slow = 0
        self._slices: list[list[int]] = [[0, 0, 0] for _ in range(SLICES)]
        self._newest = 0

    def add(self, now: float, *, calls: int = 1, failures: int = 0, slow: int = 0) -> None:
        """Count calls that ended at `now`, which never runs backwards."""
        self._forget_older(now)
        newest = self._slices[self._newest % SLICES]
        newest[0] += calls
        newest[1] += failures
        newest[2] += slow
        self._calls += calls
        self._failures += failures
        self._slow += slow

    def counts(self, now: float) -> Counts:
        """What the window holds at `now`."""
        self._forget_older(now)
        return Counts(self._calls, self._failures, self._slow)

    def _forget_older(self, now: float) -> None:
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


def fault_in(counts: Counts, *, minimum_calls: int, failure_rate: float, slow_rate: float) -> str | None:
    """Why a dependency with these counts is to be cut off, in words; None if it is not, or too little is known."""
    calls, failures, slow = counts
    if calls < minimum_calls:
        return None
    if failures and failures >= failure_rate * calls:
        return f"{failures} of {calls} calls failed"
    if slow and slow >= slow_rate * calls:
        return f"{slow} of {calls} calls were slow"
    return None


def open_time_s(trips: int, *, first_s: float, most_s: float, chance: float) -> float:
    """How long the `trips`-th cut in a row lasts: twice as long as the one before, up to `most_s`, less a random half.

    `chance` is from 0 to 1; the half keeps the processes of a gateway from probing all at the same moment.
    """
    longest_s = min(first_s * 2.0 ** min(trips - 1, 62), most_s)
    return longest_s * (0.5 + chance / 2)


def ramp_share(elapsed_s: float, ramp_s: float) -> float:
    """The share of calls let through so long after a good probe: rises evenly to 1."""
    if elapsed_s >= ramp_s:
        return 1.0
    return RAMP_FROM + (1.0 - RAMP_FROM) * max(elapsed_s, 0.0) / ramp_s
