"""How many requests to have in hand at a time, learned from what is delivered (after BBR: Cardwell et al., 2016).

The limit is the most that was delivered a second, times the least time that one took, with some headroom: Little's law at the
point where more in hand would only wait. Both are the best of a window, so that a dependency that is slow for a moment does
not bring the limit down. While the limit is used up, waiting is part of every time that is measured; so every few seconds
it is cut to a quarter for a moment, which shows the true time. So it cannot creep upward either.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from math import ceil, inf
from typing import Final, NamedTuple

# What was best in this time counts.
WINDOW_S: Final = 10.0
BUCKET_S: Final = 0.25
# More than is needed, so that a higher rate can show itself.
HEADROOM: Final = 2.0
# How often the true time is looked at while the limit is used up; for how many times that one takes, and how long at the least.
LOOK_EVERY_S: Final = 5.0
LOOK_TIMES: Final = 4.0
LOOK_LEAST_S: Final = 0.05
# Fewer answers than this say nothing of how many there could be.
MEANINGFUL: Final = 10


class _Bucket(NamedTuple):
    ended_at: float
    per_s: float
    least_s: float


class ConcurrencyLimit:
    """`limit` requests at most are to be in hand. `entered` and `left` tell it of each; it decides nothing itself.

    `least` and `most` bound it. The clock tells seconds.
    """

    def __init__(self, *, least: int, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._least = least
        self._most = most
        self._clock = clock
        self.in_hand = 0
        self.limit = most
        self._buckets: deque[_Bucket] = deque()
        self._looking_until = 0.0
        self._looked_at = self._began_at = self._ends_at = clock()
        # Of the bucket that is being filled.
        self._delivered = 0
        self._least_s = inf
        self._highest = 0
        self._begin(self._began_at)

    def bound(self, *, least: int, most: int) -> None:
        """Other bounds; what was learned is kept."""
        self._least, self._most = least, most
        self.limit = min(max(self.limit, least), most)

    def entered(self) -> None:
        """One more is in hand."""
        self.in_hand += 1
        if self.in_hand > self._highest:  # noqa: PLR1730 - a call of max costs five times as much, at every request
            self._highest = self.in_hand

    def left(self, took_s: float, *, delivered: bool = True) -> None:
        """One less is in hand. One that was not `delivered` (it failed, or was cut off) says nothing of how long one takes."""
        self.in_hand -= 1
        if delivered:
            self._delivered += 1
            if took_s < self._least_s:  # noqa: PLR1730
                self._least_s = took_s
        now = self._clock()
        if now >= self._ends_at:
            self._learn(now)

    def _begin(self, now: float) -> None:
        self._began_at = now
        self._ends_at = max(now + BUCKET_S, self._looking_until)
        self._delivered = 0
        self._least_s = inf
        self._highest = self.in_hand

    def _learn(self, now: float) -> None:
        was_look, was_full = self._looking_until > self._began_at, self._highest >= self.limit
        if self._delivered >= MEANINGFUL:
            self._buckets.append(_Bucket(now, self._delivered / (now - self._began_at), self._least_s))
        while self._buckets and self._buckets[0].ended_at < now - WINDOW_S:
            self._buckets.popleft()
        if was_look:
            self._looked_at = now
        self.limit = self._learned()
        if was_full and not was_look and now - self._looked_at >= LOOK_EVERY_S:
            self._look(now)
        self._begin(now)

    def _learned(self) -> int:
        if not self._buckets:
            return self._most
        needed = max(bucket.per_s for bucket in self._buckets) * min(bucket.least_s for bucket in self._buckets)
        return min(max(ceil(needed * HEADROOM), self._least), self._most)

    def _look(self, now: float) -> None:
        took_s = min((bucket.least_s for bucket in self._buckets), default=0.0)
        self._looking_until = now + min(max(LOOK_LEAST_S, LOOK_TIMES * took_s), BUCKET_S * 4)
        self.limit = max(self.limit // 4, 1)
