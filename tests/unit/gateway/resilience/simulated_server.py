"""A worker in simulated time: one processor, an open loop of arrivals, a dependency, and the `Shedder` that is tested.

It goes round as an event loop does. A round serves what had come when it began: new requests, which are refused or sent to
the dependency, and answers of the dependency. What comes meanwhile waits for the next round.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gateway.config.policies import CRITICALITIES, Shedding
from gateway.resilience.shedding import STORE, TICK_S, Shedder

# Of 100 requests of a sale: checkouts, added lines, cart reads, products, and what nobody misses.
SALE = {"checkout": 5, "cart-write": 25, "cart-read": 25, "browse": 40, "optional": 5}
REFUSAL_SHARE = 0.15


@dataclass
class Dependency:
    """Serves `places` at a time, each in `takes_s`; who finds no place waits, first come first served."""

    takes_s: float = 0.001
    places: int = 10_000
    _free_at: list[float] = field(default_factory=list)

    def done_at(self, now: float) -> float:
        """When one that is asked now is answered."""
        free = self._free_at
        begins = now if len(free) < self.places else max(now, heapq.heappop(free))
        while len(free) >= self.places:
            begins = max(begins, heapq.heappop(free))
        heapq.heappush(free, begins + self.takes_s)
        return begins + self.takes_s


@dataclass
class Tally:
    """What became of those that came in a time, by criticality; and how long those took that were served, in seconds."""

    seconds: float
    served: list[int] = field(default_factory=lambda: [0] * len(CRITICALITIES))
    refused: list[int] = field(default_factory=lambda: [0] * len(CRITICALITIES))
    took_s: list[float] = field(default_factory=list)
    limits: list[int] = field(default_factory=list)

    @property
    def served_per_s(self) -> float:
        return sum(self.served) / self.seconds

    @property
    def refused_share(self) -> float:
        come = sum(self.served) + sum(self.refused)
        return sum(self.refused) / come if come else 0.0

    def refused_of(self, criticality: str) -> float:
        level = CRITICALITIES.index(criticality)
        return self.refused[level] / max(self.refused[level] + self.served[level], 1)

    def percentile_s(self, share: float) -> float:
        return sorted(self.took_s)[int(len(self.took_s) * share)]


class SimulatedServer:
    """`serve_s` is what one request costs the processor, a refusal `REFUSAL_SHARE` of it."""

    def __init__(
        self,
        table: Shedding | None = None,
        *,
        serve_s: float = 0.0002,
        refusal_share: float = REFUSAL_SHARE,
        dependency: Dependency | None = None,
        mix: Mapping[str, float] = SALE,
        seed: int = 1,
    ) -> None:
        self.now = 0.0
        self.dependency = dependency or Dependency()
        self.serve_s = serve_s
        self._chance = random.Random(seed)
        self.shedder = Shedder(table or Shedding(), clock=lambda: self.now, rng=self._chance.random)
        self.limit = self.shedder.limit_of(STORE)
        self._refusal_s = serve_s * refusal_share
        self._levels = [CRITICALITIES.index(name) for name in mix]
        self._weights = list(mix.values())
        self._answers: list[tuple[float, int, int, float, float]] = []
        self._count = 0
        self._waiting: list[tuple[float, int]] = []
        self._next_tick = TICK_S
        self._round_began: float | None = None
        self._late_s = 0.0
        self._tally = Tally(0.0)

    def run(self, rate: float, seconds: float, *, each_tick: Callable[[], None] = lambda: None) -> Tally:
        """So many come a second, as they like (Poisson), for so long."""
        self._tally = tally = Tally(seconds)
        end = self.now + seconds
        coming = self.now + self._chance.expovariate(rate) if rate else end
        while self.now < end:
            while coming <= self.now:
                self._waiting.append((coming, self._chance.choices(self._levels, self._weights)[0]))
                coming += self._chance.expovariate(rate)
            due = min(coming, self._next_tick, self._answers[0][0] if self._answers else end)
            if not self._waiting and due > self.now and self._round_began is None:
                self.now = min(due, end)
                continue
            self._go_round(each_tick)
        return tally

    def burst(self, count: int) -> Tally:
        """So many come at once; those that come are served before anything else does."""
        self._tally = tally = Tally(0.0)
        levels = self._chance.choices(self._levels, self._weights, k=count)
        self._waiting += [(self.now, level) for level in levels]
        while self._waiting or self._answers:
            self.now = max(self.now, self._answers[0][0]) if not self._waiting else self.now
            self._go_round(lambda: None)
        return tally

    def _go_round(self, each_tick: Callable[[], None]) -> None:
        ended = self._round_began
        if ended is not None:
            self.shedder.observe(self.now, self._late_s, self.now - ended)
            self._round_began = None
            self._next_tick = self.now + TICK_S
            self._tally.limits.append(self.limit.limit)
            each_tick()
        if self.now >= self._next_tick:
            self._round_began, self._late_s = self.now, self.now - self._next_tick
            self._next_tick = float("inf")
        arrived, self._waiting = self._waiting, []
        began_at = self.now
        while self._answers and self._answers[0][0] <= began_at:
            _, _, level, came_at, entered_at = heapq.heappop(self._answers)
            self.now += self.serve_s / 2
            self.limit.left(entered_at, self.now)
            self._tally.served[level] += 1
            self._tally.took_s.append(self.now - came_at)
        for came_at, level in arrived:
            if not self.shedder.admits(level, self.limit):
                self._tally.refused[level] += 1
                self.now += self._refusal_s
                continue
            self.limit.entered()
            entered_at = self.now
            self.now += self.serve_s / 2
            self._count += 1
            answered_at = self.dependency.done_at(self.now)
            heapq.heappush(self._answers, (answered_at, self._count, level, came_at, entered_at))
