"""An adaptive concurrency limit: how many requests may wait for a dependency (after BBR: Cardwell et al., 2016).

The limit is the highest delivery rate times the time of a request that does not wait (Little's law), times some headroom:
more requests in flight would only wait. Rate and time are the best of a window of some seconds, so that a dependency that
is slow for a moment does not lower the limit, and one that stays slow does.

- With many requests in flight each measured time includes waiting, and a limit made of such times would creep upward. So
  after some seconds without unloaded samples the limit is cut to a quarter for a moment, which shows the time without
  waiting (BBR's ProbeRTT).
- With few requests in flight the delivery rate is the demand, not the capacity (BBR: limited by the application). So the
  limit is `max_limit` until many requests have been in flight.
"""

from __future__ import annotations

from collections import deque
from math import ceil, inf
from typing import Final

from gateway.resilience.delivery_sample import DeliverySample

WINDOW_S: Final = 10.0
SAMPLE_S: Final = 0.25
# Above the need, so that a higher rate can show itself.
HEADROOM: Final = 2.0
# From this share of the limit on, requests in flight may wait for each other.
BUSY_SHARE: Final = 1 / HEADROOM
# A mean time up to this multiple of the unloaded time includes no waiting. It must be less than the smallest share of a
# limit that a criticality may use, times the headroom: requests have waited longer than that when any is rejected.
UNLOADED_RATIO: Final = 1.1
# How often the unloaded time is probed; how many unloaded times a probe lasts, and its bounds in seconds.
PROBE_EVERY_S: Final = 5.0
PROBE_TIMES: Final = 4.0
MIN_PROBE_S: Final = 0.05
MAX_PROBE_S: Final = 1.0
PROBE_SHARE: Final = 0.25
# Fewer responses say nothing: a sample lasts until there are this many, but no longer than the window.
MIN_SAMPLE: Final = 10


class ConcurrencyLimit:
    """At most `limit` requests may be in flight. Call `acquire` and `release` for each, and `update` regularly.

    `min_limit` and `max_limit` bound it. All times are seconds of one monotonic clock; `now` is the time of creation.
    Measured times include the lag of the loop; up to `grace_s` of it does not lower the limit.
    """

    def __init__(self, *, min_limit: int, max_limit: int, grace_s: float, now: float) -> None:
        self._min_limit = min_limit
        self._max_limit = max_limit
        self._grace_s = grace_s
        self.in_flight = 0
        self.limit = max_limit
        # The limit, or a share of it during a probe.
        self._allowed = float(max_limit)
        self._samples: deque[DeliverySample] = deque()
        self._busy_at = -inf
        self._unloaded_at = now
        # Of the sample that is being taken; requests acquired before `_timed_from` are not timed.
        self._began_at = self._ends_at = self._timed_from = self._total_s = 0.0
        self._delivered = self._timed = self._peak = 0
        self._is_probing = False
        self._begin_sample(now, SAMPLE_S)

    def reconfigure(self, *, min_limit: int, max_limit: int, grace_s: float) -> None:
        """Set other bounds; the samples stay."""
        self._min_limit, self._max_limit, self._grace_s = min_limit, max_limit, grace_s
        self.limit = min(max(self.limit, min_limit), max_limit) if self._samples else max_limit
        self._allowed = min(self._allowed, float(self.limit)) if self._is_probing else float(self.limit)

    def has_room(self, share: float) -> bool:
        """Whether one more request may enter that may use this share of the limit. Probes do not affect a share of 1."""
        return self.in_flight < (self.limit if share >= 1.0 else self._allowed) * share

    def acquire(self) -> None:
        """Count one more request in flight."""
        self.in_flight += 1
        if self.in_flight > self._peak:  # noqa: PLR1730 - a call of max costs five times as much, for each request
            self._peak = self.in_flight

    def release(self, began_at: float, now: float, *, delivered: bool = True) -> None:
        """Count one request less. One that was not `delivered` (it failed or was cancelled) is not timed."""
        self.in_flight -= 1
        if delivered:
            self._delivered += 1
            if began_at >= self._timed_from:
                self._timed += 1
                self._total_s += now - began_at

    def update(self, now: float) -> None:
        """Take a sample and adapt the limit, when it is time; call it often, with or without requests in flight."""
        if self._timed_from == inf and self.in_flight <= self._allowed:
            # The requests that waited have drained: the probe begins.
            self._begin_sample(now, min(max(MIN_PROBE_S, PROBE_TIMES * self._unloaded_s()), MAX_PROBE_S))
        elif now >= self._ends_at and (
            # With nothing in flight, waiting longer would only measure a low rate.
            self._timed >= MIN_SAMPLE or not self.in_flight or now - self._began_at >= WINDOW_S
        ):
            self._end_sample(now)

    def _end_sample(self, now: float) -> None:
        is_busy = not self._is_probing and self._peak >= self.limit * BUSY_SHARE
        if is_busy:
            self._busy_at = now
        mean_s = self._total_s / self._timed if self._timed else inf
        is_unloaded = not is_busy or mean_s <= self._unloaded_s() * UNLOADED_RATIO
        if is_unloaded:
            self._unloaded_at = now
        if self._timed >= MIN_SAMPLE:
            rate = self._delivered / (now - self._began_at)
            self._samples.append(DeliverySample(now, rate, mean_s, is_unloaded))
        while self._samples and self._samples[0].ended_at < now - WINDOW_S:
            self._samples.popleft()
        self.limit = self._adapted(now)
        self._is_probing = now - self._unloaded_at >= PROBE_EVERY_S
        self._allowed = max(self.limit * PROBE_SHARE, 1.0) if self._is_probing else float(self.limit)
        self._begin_sample(now, SAMPLE_S)
        if self._is_probing:
            # Nothing is timed before the requests in flight have drained that far.
            self._timed_from = inf

    def _adapted(self, now: float) -> int:
        unloaded_s = self._unloaded_s()
        if now - self._busy_at > WINDOW_S or unloaded_s == inf:
            return self._max_limit
        needed = max(sample.per_s for sample in self._samples) * (unloaded_s + self._grace_s)
        return min(max(ceil(needed * HEADROOM), self._min_limit), self._max_limit)

    def _unloaded_s(self) -> float:
        """The time of a request that does not wait, or the shortest mean where all have waited."""
        unloaded = min((sample.mean_s for sample in self._samples if sample.is_unloaded), default=inf)
        return unloaded if unloaded < inf else min((sample.mean_s for sample in self._samples), default=inf)

    def _begin_sample(self, now: float, for_s: float) -> None:
        self._began_at = now
        self._timed_from = now if self._is_probing else 0.0
        self._ends_at = now + for_s
        self._delivered = self._timed = 0
        self._total_s = 0.0
        self._peak = self.in_flight
