"""The generic cell rate algorithm: a quota per window with bursts, in two numbers per key.

ITU-T Recommendation I.371, annex A (also ATM Forum, Traffic Management 4.1, section 4.5) gives it in two equivalent forms,
virtual scheduling and the continuous-state leaky bucket. This is the latter, counted in units instead of time: each unit
taken raises the level by one, the level falls by one each interval, and a unit conforms if the level stays within the burst.
Units taken at one instant are thus counted in whole numbers, so that a burst is exact for any interval.

In any window no more than quota + burst units are granted. `gateway/ratelimit/scripts/take.lua` does the same in the store.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

# In units: the rounding error of a level. A unit comes at most this part of an interval too early.
SLACK: Final = 1e-6


class Rate(NamedTuple):
    """One unit every `interval_us` microseconds, `burst` at once."""

    interval_us: float
    burst: int


def rate_of(quota: int, window_s: float, burst: int | None = None, *, share: float = 1.0) -> Rate:
    """The rate of `quota` units each `window_s` seconds; `burst` is the quota unless given.

    With a `share` (0 to 1) the part of it that one of several processes may grant on its own: never less than one unit.
    """
    return Rate(window_s * 1e6 / max(quota * share, 1.0), max(int((burst or quota) * share), 1))


class Taken(NamedTuple):
    """The first `granted` of the units asked for were taken, `left` could be taken now, and one more after `wait_us`.

    `wait_us` is 0 when none are missing.
    """

    granted: int
    left: int
    wait_us: int


class Bucket:
    """The units taken by one key. Times are microseconds of any clock that does not run backwards.

    A `shadow` decides and counts like any other, but rejects nothing.
    """

    __slots__ = ("_at_us", "_level", "_rate", "shadow")

    def __init__(self, rate: Rate, *, shadow: bool = False) -> None:
        self._rate = rate
        self.shadow = shadow
        self._level = 0.0
        self._at_us = 0.0

    def left(self, now_us: float) -> int:
        """How many units could be taken now."""
        return max(math.floor(self._rate.burst - self._level_at(now_us) + SLACK), 0)

    def take(self, now_us: float, n: int = 1) -> Taken:
        """Take as many of `n` units as there are; none, to see how things stand."""
        interval_us, burst = self._rate
        level = self._level_at(now_us)
        left = max(math.floor(burst - level + SLACK), 0)
        granted = min(n, left)
        if granted:
            level += granted
            left -= granted
            self._level, self._at_us = level, now_us
        if left >= burst:
            return Taken(granted, left, 0)
        return Taken(granted, left, math.ceil((level - (burst - left - 1) - SLACK / 2) * interval_us))

    def _level_at(self, now_us: float) -> float:
        return max(self._level - max(now_us - self._at_us, 0.0) / self._rate.interval_us, 0.0)


def admit(buckets: Iterable[Bucket], now_us: float) -> Sequence[Bucket]:
    """Take a unit from each bucket, or from none, so that a rejection by one costs nothing of the others.

    Returns those that refuse it; where none does, the shadows that would have.
    """
    full: list[Bucket] = []
    short: list[Bucket] = []
    for bucket in buckets:
        (full if bucket.left(now_us) else short).append(bucket)
    if refusing := [bucket for bucket in short if not bucket.shadow]:
        return refusing
    for bucket in full:
        bucket.take(now_us)
    return short
