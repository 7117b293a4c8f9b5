"""The load shedding state of a worker: loop lag, pressure, and a concurrency limit for each dependency.

Two signs show overload: a high loop lag (the processor is the bottleneck), or more requests in flight at a dependency than
it delivers. `gateway.resilience.pressure` and `gateway.resilience.concurrency` decide; this module measures and counts.
"""

from __future__ import annotations

import asyncio
import random
import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from gateway.config.policies import CRITICALITIES, Criticality, Shedding
from gateway.http.message import header
from gateway.metrics import Metric, Sample
from gateway.resilience.concurrency import ConcurrencyLimit
from gateway.resilience.pressure import Pressure
from gateway.resilience.recent_shedding import RecentShedding

# The share of a limit that each criticality may use; the rest is left for those that are more critical. A checkout may go
# beyond the limit, because a burst of all kinds fills it before its last checkout is considered.
_SHARE_OF: Final[Mapping[Criticality, float]] = {
    "checkout": 1.5,
    "cart-write": 0.85,
    "cart-read": 0.75,
    "agent": 0.7,
    "browse": 0.65,
    "optional": 0.6,
}
SHARES: Final = tuple(_SHARE_OF[criticality] for criticality in CRITICALITIES)
TICK_S: Final = 0.005
MAX_RETRY_S: Final = 30

_LEVELS: Final = len(CRITICALITIES)
# Encoded beforehand: shedding formats nothing.
_RETRY_AFTER: Final = [header("Retry-After", seconds) for seconds in range(MAX_RETRY_S * 3 // 2 + 2)]


class Shedder:
    """Decides whether a worker admits a request. `watch` must run in the background.

    `update` applies other policies and keeps the samples.
    """

    def __init__(
        self,
        table: Shedding,
        *,
        clock: Callable[[], float] = time.monotonic,
        rng: Callable[[], float] = random.random,
    ) -> None:
        self.clock = clock
        self.pressure = Pressure(_LEVELS, target_s=table.lag_target_s, rng=rng)
        self.shed = [0] * _LEVELS
        self.admitted = [0] * _LEVELS
        self.lag_s = 0.0
        # Called when a criticality begins to be shed as a whole, and when that ends.
        self.on_shedding_all: Callable[[bool], None] = lambda _is_shedding_all: None
        self._is_shedding_all = False
        self._table = table
        self._limits: dict[str, ConcurrencyLimit] = {}
        self._observed_at = clock()
        self._arrived = [0] * _LEVELS
        self._recent = RecentShedding(_LEVELS, self._observed_at)

    def update(self, table: Shedding) -> None:
        """Apply another table."""
        self._table = table
        for limit in self._limits.values():
            limit.reconfigure(
                min_limit=table.min_concurrency, max_limit=table.max_concurrency, grace_s=table.lag_target_s
            )
        self.pressure.target_s = table.lag_target_s
        if not table.enabled:
            self.pressure.reset()

    def limit_of(self, dependency: str) -> ConcurrencyLimit:
        """The limit of requests that may wait for a dependency. One that hangs takes no room from the others.

        It lasts as long as the worker: dependencies are names of the policies, and few.
        """
        if dependency not in self._limits:
            table = self._table
            self._limits[dependency] = ConcurrencyLimit(
                min_limit=table.min_concurrency,
                max_limit=table.max_concurrency,
                grace_s=table.lag_target_s,
                now=self.clock(),
            )
        return self._limits[dependency]

    def admits(self, criticality: int, limit: ConcurrencyLimit) -> bool:
        """Whether to admit one request of that criticality (0 is the most critical) that waits under that limit."""
        pressure = self.pressure
        if (
            (pressure.value and pressure.sheds(criticality)) or not limit.has_room(SHARES[criticality])
        ) and self._table.enabled:
            self.shed[criticality] += 1
            return False
        self.admitted[criticality] += 1
        return True

    def sheds_all(self, criticality: int) -> bool:
        """Whether every request of that criticality is shed now."""
        return self.pressure.shares[criticality] >= 1.0

    @property
    def is_strained(self) -> bool:
        """Whether any request was shed in the last second or so, or would be now."""
        return self._table.enabled and (
            self.pressure.value > 0.0 or any(self._recent.share(level) for level in range(_LEVELS))
        )

    def admit_after_all(self, criticality: int) -> None:
        """Count a request as admitted that `admits` has counted as shed."""
        self.shed[criticality] -= 1
        self.admitted[criticality] += 1

    def shed_share(self, criticality: Criticality) -> float:
        """The share of requests of a criticality that were shed in the last second or so."""
        return self._recent.share(CRITICALITIES.index(criticality))

    def retry_after(self, client: str) -> bytes:
        """The `Retry-After` field line of a shed request: when the backlog could be served at the current pace.

        Each client has its own moment between half of that time and one and a half, so that retries spread.
        """
        wait_s = min(self._recent.backlog_s, MAX_RETRY_S)
        return _RETRY_AFTER[1 + int(wait_s * (0.5 + zlib.crc32(client.encode("utf-8", "replace")) / 2**32))]

    async def watch(self) -> None:
        """Measure the lag of the loop until cancelled."""
        due = self.clock() + TICK_S
        while True:
            await asyncio.sleep(max(due - self.clock(), 0.0))
            began_at = self.clock()
            # Resumes after everything else that is ready now.
            await asyncio.sleep(0)
            now = self.clock()
            self.observe(now, began_at - due, now - began_at)
            due = now + TICK_S

    def observe(self, now: float, late_s: float, lag_s: float) -> None:
        """Adapt to a lag of the loop, measured that late. Called every `TICK_S` or so."""
        self.lag_s = lag_s
        arrived = [admitted + shed for admitted, shed in zip(self.admitted, self.shed, strict=True)]
        if self._table.enabled:
            new = [total - before for total, before in zip(arrived, self._arrived, strict=True)]
            self.pressure.observe(late_s, lag_s, now - self._observed_at, new)
        is_shedding_all = self.sheds_all(_LEVELS - 1)
        if is_shedding_all is not self._is_shedding_all:
            self._is_shedding_all = is_shedding_all
            self.on_shedding_all(is_shedding_all)
        for limit in self._limits.values():
            limit.update(now)
        self._recent.update(now, self.admitted, self.shed)
        self._observed_at, self._arrived = now, arrived

    def snapshot(self) -> Mapping[str, Any]:
        """Pressure and lag, limits and requests in flight by dependency, and shed requests by criticality."""
        return {
            "enabled": self._table.enabled,
            "pressure": round(self.pressure.value, 2),
            "loop_lag_ms": round(self.lag_s * 1000, 2),
            "limits": {name: limit.limit for name, limit in self._limits.items()},
            "in_flight": {name: limit.in_flight for name, limit in self._limits.items()},
            "shed_share": {name: round(self.shed_share(name), 3) for name in CRITICALITIES},
            "shed": dict(zip(CRITICALITIES, self.shed, strict=True)),
        }

    def metrics(self) -> Iterable[Metric]:
        """The same as metrics."""
        limits = self._limits.items()
        for name, explained, samples in (
            (
                "peakgate_concurrency_limit",
                "Requests that may wait for a dependency.",
                [Sample({"dependency": of}, float(limit.limit)) for of, limit in limits],
            ),
            (
                "peakgate_requests_in_flight",
                "Requests that wait for a dependency.",
                [Sample({"dependency": of}, float(limit.in_flight)) for of, limit in limits],
            ),
            (
                "peakgate_loop_lag_seconds",
                "The time in which the loop served everything that was ready.",
                [Sample({}, self.lag_s)],
            ),
            (
                "peakgate_shedding_pressure",
                "Share of all requests to shed, 0 to 1.",
                [Sample({}, self.pressure.value)],
            ),
        ):
            yield Metric(name, explained, "gauge", samples)
        shed = [
            Sample({"criticality": name}, float(count)) for name, count in zip(CRITICALITIES, self.shed, strict=True)
        ]
        yield Metric("peakgate_shed_requests_total", "Requests shed because of overload.", "counter", shed)
