"""A worker in simulated time: one processor, an open loop of arrivals, a dependency, and the `Shedder` that is tested.

It iterates as an event loop does. An iteration serves everything that is ready when it begins: new requests, which are shed
or sent to the dependency, and replies of the dependency. Later arrivals wait for the next iteration.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gateway.config.policies import CRITICALITIES, Shedding
from gateway.resilience.shedder import TICK_S, Shedder
from gateway.resilience.shedding import STORE

# Of 100 requests of a sale: checkouts, added lines, cart reads, calls of agents, products, and optional requests.
SALE = {"checkout": 5, "cart-write": 25, "cart-read": 25, "agent": 5, "browse": 35, "optional": 5}
SHED_COST = 0.15


@dataclass
class Dependency:
    """Serves `places` requests at a time, each in `takes_s`; others wait, first come first served."""

    takes_s: float = 0.001
    places: int = 10_000
    _free_at: list[float] = field(default_factory=list)

    def done_at(self, now: float) -> float:
        """When a request that is sent now gets its reply."""
        free = self._free_at
        begins = now if len(free) < self.places else max(now, heapq.heappop(free))
        while len(free) >= self.places:
            begins = max(begins, heapq.heappop(free))
        heapq.heappush(free, begins + self.takes_s)
        return begins + self.takes_s


@dataclass
class Outcome:
    """Requests served and shed in a time, by criticality, and how long the served ones took, in seconds."""

    seconds: float
    served: list[int] = field(default_factory=lambda: [0] * len(CRITICALITIES))
    shed: list[int] = field(default_factory=lambda: [0] * len(CRITICALITIES))
    took_s: list[float] = field(default_factory=list)
    limits: list[int] = field(default_factory=list)

    @property
    def served_per_s(self) -> float:
        return sum(self.served) / self.seconds

    @property
    def shed_share(self) -> float:
        total = sum(self.served) + sum(self.shed)
        return sum(self.shed) / total if total else 0.0

    def shed_of(self, criticality: str) -> float:
        level = CRITICALITIES.index(criticality)
        return self.shed[level] / max(self.shed[level] + self.served[level], 1)

    def percentile_s(self, share: float) -> float:
        return sorted(self.took_s)[int(len(self.took_s) * share)]


class SimulatedServer:
    """Serving a request takes the processor `serve_s`, shedding one takes `SHED_COST` of that."""

    def __init__(
        self,
        table: Shedding | None = None,
        *,
        serve_s: float = 0.0002,
        shed_cost: float = SHED_COST,
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
        self._shed_s = serve_s * shed_cost
        self._levels = [CRITICALITIES.index(name) for name in mix]
        self._weights = list(mix.values())
        self._answers: list[tuple[float, int, int, float, float]] = []
        self._count = 0
        self._waiting: list[tuple[float, int]] = []
        self._next_tick = TICK_S
        self._iteration_began: float | None = None
        self._late_s = 0.0
        self._outcome = Outcome(0.0)

    def run(self, rate: float, seconds: float, *, each_tick: Callable[[], None] = lambda: None) -> Outcome:
        """Poisson arrivals at this rate for so long."""
        self._outcome = outcome = Outcome(seconds)
        end = self.now + seconds
        coming = self.now + self._chance.expovariate(rate) if rate else end
        while self.now < end:
            while coming <= self.now:
                self._waiting.append((coming, self._chance.choices(self._levels, self._weights)[0]))
                coming += self._chance.expovariate(rate)
            due = min(coming, self._next_tick, self._answers[0][0] if self._answers else end)
            if not self._waiting and due > self.now and self._iteration_began is None:
                self.now = min(due, end)
                continue
            self._iterate(each_tick)
        return outcome

    def burst(self, count: int) -> Outcome:
        """So many arrive at once, and are served before any other."""
        self._outcome = outcome = Outcome(0.0)
        levels = self._chance.choices(self._levels, self._weights, k=count)
        self._waiting += [(self.now, level) for level in levels]
        while self._waiting or self._answers:
            self.now = max(self.now, self._answers[0][0]) if not self._waiting else self.now
            self._iterate(lambda: None)
        return outcome

    def _iterate(self, each_tick: Callable[[], None]) -> None:
        ended = self._iteration_began
        if ended is not None:
            self.shedder.observe(self.now, self._late_s, self.now - ended)
            self._iteration_began = None
            self._next_tick = self.now + TICK_S
            self._outcome.limits.append(self.limit.limit)
            each_tick()
        if self.now >= self._next_tick:
            self._iteration_began, self._late_s = self.now, self.now - self._next_tick
            self._next_tick = float("inf")
        arrived, self._waiting = self._waiting, []
        began_at = self.now
        while self._answers and self._answers[0][0] <= began_at:
            _, _, level, came_at, entered_at = heapq.heappop(self._answers)
            self.now += self.serve_s / 2
            self.limit.release(entered_at, self.now)
            self._outcome.served[level] += 1
            self._outcome.took_s.append(self.now - came_at)
        for came_at, level in arrived:
            if not self.shedder.admits(level, self.limit):
                self._outcome.shed[level] += 1
                self.now += self._shed_s
                continue
            self.limit.acquire()
            entered_at = self.now
            self.now += self.serve_s / 2
            self._count += 1
            answered_at = self.dependency.done_at(self.now)
            heapq.heappush(self._answers, (answered_at, self._count, level, came_at, entered_at))
