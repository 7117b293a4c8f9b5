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
# What takes no longer than this, times what one takes that does not wait, has not waited either. It must be less than the
# smallest share of a limit that anybody is held to, times the headroom: who is refused then has waited more than that.
BARE: Final = 1.1
# How long times without waiting are believed before they are looked for; for how many of them a look lasts, and how long at
# least and at most.
LOOK_EVERY_S: Final = 5.0
LOOK_TIMES: Final = 4.0
LOOK_LEAST_S: Final = 0.05
LOOK_MOST_S: Final = 1.0
LOOK_SHARE: Final = 0.25
# Fewer answers than this say nothing: a bucket lasts until there are so many, but no longer than the window.
MEANINGFUL: Final = 10


class _Bucket(NamedTuple):
    ended_at: float
    per_s: float
    mean_s: float
    is_bare: bool


class ConcurrencyLimit:
    """`limit` requests at most are to be in hand. `entered` and `left` tell it of each, `learn` of the time.

    `least` and `most` bound it. All times are seconds of one monotonic clock; `now` is when it is made. What is measured holds
    what the loop adds to it; up to `grace_s` of that is nothing to limit the dependency for.
    """

    def __init__(self, *, least: int, most: int, grace_s: float, now: float) -> None:
        self._least = least
        self._most = most
        self._grace_s = grace_s
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
        self._is_look = False
        self._begin(now, BUCKET_S)

    def bound(self, *, least: int, most: int, grace_s: float) -> None:
        """Other bounds; what was learned is kept."""
        self._least, self._most, self._grace_s = least, most, grace_s
        self.limit = min(max(self.limit, least), most) if self._buckets else most
        self._allowed = min(self._allowed, self.limit) if self._is_look else self.limit

    def has_room(self, share: float) -> bool:
        """Whether one more may enter of those who may use that share of the limit. Looks do not concern who may use all of it."""
        return self.in_hand < (self.limit if share >= 1.0 else self._allowed) * share

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
        if self._counts_from == inf and self.in_hand <= self._allowed:
            # Those that waited are gone: the look begins.
            self._begin(now, min(max(LOOK_LEAST_S, LOOK_TIMES * self._bare_s()), LOOK_MOST_S))
        elif now >= self._ends_at and (
            # Where nothing is in hand, to wait for more would only tell of a low rate.
            self._timed >= MEANINGFUL or not self.in_hand or now - self._began_at >= WINDOW_S
        ):
            self._keep_bucket(now)

    def _keep_bucket(self, now: float) -> None:
        is_much = not self._is_look and self._highest >= self.limit * MUCH
        if is_much:
            self._much_at = now
        mean_s = self._total_s / self._timed if self._timed else inf
        is_bare = not is_much or mean_s <= self._bare_s() * BARE
        if is_bare:
            self._seen_bare_at = now
        if self._timed >= MEANINGFUL:
            self._buckets.append(_Bucket(now, self._delivered / (now - self._began_at), mean_s, is_bare))
        while self._buckets and self._buckets[0].ended_at < now - WINDOW_S:
            self._buckets.popleft()
        self.limit = self._learned(now)
        self._is_look = now - self._seen_bare_at >= LOOK_EVERY_S
        self._allowed = max(self.limit * LOOK_SHARE, 1.0) if self._is_look else self.limit
        self._begin(now, BUCKET_S)
        if self._is_look:
            # Nothing is timed until it is drained so far.
            self._counts_from = inf

    def _learned(self, now: float) -> int:
        bare_s = self._bare_s()
        if now - self._much_at > WINDOW_S or bare_s == inf:
            return self._most
        needed = max(bucket.per_s for bucket in self._buckets) * (bare_s + self._grace_s)
        return min(max(ceil(needed * HEADROOM), self._least), self._most)

    def _bare_s(self) -> float:
        """What one takes when it does not wait, or the least that was seen where each has waited."""
        bare = min((bucket.mean_s for bucket in self._buckets if bucket.is_bare), default=inf)
        return bare if bare < inf else min((bucket.mean_s for bucket in self._buckets), default=inf)

    def _begin(self, now: float, for_s: float) -> None:
        self._began_at = now
        self._counts_from = now if self._is_look else 0.0
        self._ends_at = now + for_s
        self._delivered = self._timed = 0
        self._total_s = 0.0
        self._highest = self.in_hand
