"""How many requests a dependency is to have in hand at a time, learned from what it delivers (after BBR: Cardwell et al., 2016).

The limit is the most that was delivered a second, times the time that one takes when none waits, times some headroom: Little's
law at the point where more in hand would only wait. Both come from a window of some seconds, the best of it, so that a
dependency that is slow for a moment does not bring the limit down, and one that stays slow is followed.

- While much is in hand, waiting is part of every time that is measured, and a limit made of such times would creep upward. So
  when nothing else was seen for a while, the limit is cut to a quarter for a moment, which shows the time without waiting
  (BBR's ProbeRTT).
- While little is in hand, what is delivered says how much was asked for and not how much there could be (BBR: limited by the
  application). So nothing is limited but by `most` until there has been much in hand.
"""

from __future__ import annotations

from collections import deque
from math import ceil, inf
from typing import Final, NamedTuple

# What was best in this time counts.
WINDOW_S: Final = 10.0
BUCKET_S: Final = 0.25
# More than is needed, so that a higher rate can show itself.
HEADROOM: Final = 2.0
# With so much of the limit in hand some of it may wait: as much again as is needed, where the limit is what was learned.
MUCH: Final = 1 / HEADROOM
# How long times without waiting are believed before they are looked for; for how many of them a look lasts, and how long at least and at most.
LOOK_EVERY_S: Final = 5.0
LOOK_TIMES: Final = 4.0
LOOK_LEAST_S: Final = 0.05
LOOK_MOST_S: Final = 1.0
LOOK_SHARE: Final = 0.25
# Fewer answers than this say nothing.
MEANINGFUL: Final = 10


class _Bucket(NamedTuple):
    ended_at: float
    per_s: float
    mean_s: float


class ConcurrencyLimit:
    """`limit` requests at most are to be in hand. `entered` and `left` tell it of each, `learn` of the time.

    `least` and `most` bound it. All times are seconds of one monotonic clock; `now` is when it is made.
    """

    def __init__(self, *, least: int, most: int, now: float) -> None:
        self._least = least
        self._most = most
        self.in_hand = 0
        self.limit = most
        # The same but while it is looked how long one takes: then it is a part of it.
        self._allowed: float = most
        self._buckets: deque[_Bucket] = deque()
        self._much_at = -inf
        self._seen_bare_at = now
        # Of the bucket that is being filled; what entered before `_counts_from` is not timed.
        self._began_at = self._ends_at = self._counts_from = self._total_s = 0.0
        self._delivered = self._timed = self._highest = 0
        self._begin(now, BUCKET_S)

    def bound(self, *, least: int, most: int) -> None:
        """Other bounds; what was learned is kept."""
        self._least, self._most = least, most
        self.limit = min(max(self.limit, least), most) if self._buckets else most
        self._allowed = min(self._allowed, self.limit) if self._is_look else self.limit

    def has_room(self, share: float) -> bool:
        """Whether one more may enter of those who may use that share of the limit. Looks do not concern who may use all."""
        return self.in_hand < (self.limit if share >= 1.0 else self._allowed * share)

    def entered(self) -> None:
        """One more is in hand."""
        self.in_hand += 1
        if self.in_hand > self._highest:  # noqa: PLR1730 - a call of max costs five times as much, at every request
            self._highest = self.in_hand

    def left(self, began_at: float, now: float, *, delivered: bool = True) -> None:
        """One less is in hand. One that was not `delivered` (it failed, or was cut off) says nothing of how long one takes."""
        self.in_hand -= 1
        if delivered:
            self._delivered += 1
            if began_at >= self._counts_from:
                self._timed += 1
                self._total_s += now - began_at

    def learn(self, now: float) -> None:
        """Look at what was delivered, when it is time to; call it often, and whether or not anything is in hand."""
        if now < self._ends_at:
            return
        was_look, is_much = self._is_look, self._highest >= self.limit * MUCH
        if self._delivered >= MEANINGFUL:
            mean_s = self._total_s / self._timed if self._timed >= MEANINGFUL else inf
            self._buckets.append(_Bucket(now, self._delivered / (now - self._began_at), mean_s))
        while self._buckets and self._buckets[0].ended_at < now - WINDOW_S:
            self._buckets.popleft()
        if is_much:
            self._much_at = now
        if was_look or not is_much:
            self._seen_bare_at = now
        self.limit = self._learned(now)
        if is_much and now - self._seen_bare_at >= LOOK_EVERY_S:
            self._look(now)
        else:
            self._allowed = self.limit
            self._begin(now, BUCKET_S)

    @property
    def _is_look(self) -> bool:
        return self._counts_from > 0.0

    def _learned(self, now: float) -> int:
        if now - self._much_at > WINDOW_S or not self._buckets:
            return self._most
        bare_s = self._bare_s()
        if bare_s == inf:
            return self.limit
        needed = max(bucket.per_s for bucket in self._buckets) * bare_s
        return min(max(ceil(needed * HEADROOM), self._least), self._most)

    def _bare_s(self) -> float:
        """What one takes when it does not wait."""
        return min((bucket.mean_s for bucket in self._buckets), default=inf)

    def _look(self, now: float) -> None:
        self._allowed = max(self.limit * LOOK_SHARE, 1.0)
        self._begin(now, min(max(LOOK_LEAST_S, LOOK_TIMES * self._bare_s()), LOOK_MOST_S))
        # Those that entered before have waited.
        self._counts_from = now

    def _begin(self, now: float, for_s: float) -> None:
        self._began_at = now
        self._ends_at = now + for_s
        self._counts_from = 0.0
        self._delivered = self._timed = 0
        self._total_s = 0.0
        self._highest = self.in_hand
