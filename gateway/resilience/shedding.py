"""Refuse the less critical while there is more to do than can be done, so that the checkout goes on.

Two signs tell of too much: the rounds of the loop take long (the processor is the bottleneck), or a dependency has more
requests in hand than it delivers anything for. `policy/pressure.py` and `policy/concurrency.py` decide; here they are asked.
"""

from __future__ import annotations

import asyncio
import random
import time
import zlib
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Final, TypedDict

from gateway.config.policies import CRITICALITIES, Criticality, Shedding
from gateway.http import problems
from gateway.http.message import Handler, Layer, Request, Response, ResponseOrAwaitable, header, resolve
from gateway.metrics import Metric, Sample
from gateway.resilience.concurrency import ConcurrencyLimit
from gateway.resilience.pressure import Pressure

# Each criticality may use so much of a limit: what is left over is for those that are more critical. The checkout may go
# beyond it, as a round of the loop that brings many of all kinds fills the limit before its last checkout is looked at.
SHARES: Final = (1.5, 0.85, 0.75, 0.65, 0.6)
TICK_S: Final = 0.005
LONGEST_WAIT_S: Final = 30
# What nearly everything waits for.
STORE: Final = "store"
# Whether the answer to a request is stored already, so that repeating it costs next to nothing.
IsReplay = Callable[[Request], Awaitable[bool]]

_LEVELS: Final = len(CRITICALITIES)
_RETRY_AFTER: Final = [header("Retry-After", seconds) for seconds in range(LONGEST_WAIT_S * 3 // 2 + 2)]


class Shedder:
    """The state of one worker. `watch` must run beside; `update` takes other policies and keeps what was learned."""

    def __init__(
        self,
        table: Shedding,
        *,
        clock: Callable[[], float] = time.monotonic,
        rng: Callable[[], float] = random.random,
    ) -> None:
        self.clock = clock
        self.pressure = Pressure(_LEVELS, target_s=table.lag_target_s, rng=rng)
        self.refused = [0] * _LEVELS
        self.passed = [0] * _LEVELS
        self.round_s = 0.0
        # Told whenever there begins or ends to be a kind of request that is refused whole.
        self.on_turning_away: Callable[[bool], None] = lambda _turns_away: None
        self._turns_away = False
        self._table = table
        self._limits: dict[str, ConcurrencyLimit] = {}
        self._looked_at = clock()
        self._arrived = [0] * _LEVELS
        self._recent = _Recent(self._looked_at)

    def update(self, table: Shedding) -> None:
        """Go on by another table."""
        self._table = table
        for limit in self._limits.values():
            limit.bound(**_bounds(table))
        self.pressure.target_s = table.lag_target_s
        if not table.on:
            self.pressure.relax()

    def limit_of(self, dependency: str) -> ConcurrencyLimit:
        """The limit of what may wait for a dependency: each its own, so that one that hangs takes no room from the others.

        It lasts as long as the worker: dependencies are names of the policies, and few.
        """
        if dependency not in self._limits:
            self._limits[dependency] = ConcurrencyLimit(now=self.clock(), **_bounds(self._table))
        return self._limits[dependency]

    def admits(self, criticality: int, limit: ConcurrencyLimit) -> bool:
        """Whether to take on one more request of that criticality (0 is the most critical) that waits under that limit."""
        pressure = self.pressure
        if (
            (pressure.value and pressure.sheds(criticality)) or not limit.has_room(SHARES[criticality])
        ) and self._table.on:
            self.refused[criticality] += 1
            return False
        self.passed[criticality] += 1
        return True

    def refuses_all(self, criticality: int) -> bool:
        """Whether every request of that criticality is refused now."""
        return self._table.on and self.pressure.shares[criticality] >= 1.0

    def passed_after_all(self, criticality: int) -> None:
        """One that was not admitted is served all the same."""
        self.refused[criticality] -= 1
        self.passed[criticality] += 1

    def shed_share(self, criticality: Criticality) -> float:
        """The share of requests of a criticality that were refused in the last second or so."""
        return self._recent.share(CRITICALITIES.index(criticality))

    def retry_after(self, client: str) -> bytes:
        """The header line that says when those who were refused could be served, at the pace of now.

        Each client has its own moment between half of that time and one and a half, so that they do not come all at once.
        """
        wait_s = min(self._recent.backlog_s, LONGEST_WAIT_S)
        return _RETRY_AFTER[1 + int(wait_s * (0.5 + zlib.crc32(client.encode("utf-8", "replace")) / 2**32))]

    async def watch(self) -> None:
        """See how long the rounds of the loop take, for ever."""
        due = self.clock() + TICK_S
        while True:
            await asyncio.sleep(max(due - self.clock(), 0.0))
            began_at = self.clock()
            # Comes back after everything else that is ready now.
            await asyncio.sleep(0)
            now = self.clock()
            self.observe(now, began_at - due, now - began_at)
            due = now + TICK_S

    def observe(self, now: float, late_s: float, round_s: float) -> None:
        """A round of the loop began that late and took so long. Called every `TICK_S` or so."""
        self.round_s = round_s
        come = [passed + refused for passed, refused in zip(self.passed, self.refused, strict=True)]
        if self._table.on:
            arrived = [new - old for new, old in zip(come, self._arrived, strict=True)]
            self.pressure.observe(late_s, round_s, now - self._looked_at, arrived)
        turns_away = self.refuses_all(_LEVELS - 1)
        if turns_away is not self._turns_away:
            self._turns_away = turns_away
            self.on_turning_away(turns_away)
        for limit in self._limits.values():
            limit.learn(now)
        self._recent.note(now, self.passed, self.refused)
        self._looked_at, self._arrived = now, come

    def snapshot(self) -> Mapping[str, Any]:
        """The limit and the requests in hand of each dependency, rounds, pressure, and what was refused by criticality."""
        return {
            "on": self._table.on,
            "pressure": round(self.pressure.value, 2),
            "round_ms": round(self.round_s * 1000, 2),
            "limits": {name: limit.limit for name, limit in self._limits.items()},
            "in_hand": {name: limit.in_hand for name, limit in self._limits.items()},
            "refused_lately": {name: round(self.shed_share(name), 3) for name in CRITICALITIES},
            "refused": dict(zip(CRITICALITIES, self.refused, strict=True)),
        }

    def metrics(self) -> Iterable[Metric]:
        """The same for machines."""
        limits = self._limits.items()
        for name, explained, samples in (
            (
                "peakgate_concurrency_limit",
                "Requests that may wait for a dependency.",
                [Sample({"dependency": of}, float(limit.limit)) for of, limit in limits],
            ),
            (
                "peakgate_requests_in_hand",
                "Requests that wait for a dependency.",
                [Sample({"dependency": of}, float(limit.in_hand)) for of, limit in limits],
            ),
            (
                "peakgate_loop_round_seconds",
                "How long the loop took for all that was ready.",
                [Sample({}, self.round_s)],
            ),
            (
                "peakgate_shedding_pressure",
                "Share of all requests to refuse, 0 to 1.",
                [Sample({}, self.pressure.value)],
            ),
        ):
            yield Metric(name, explained, "gauge", samples)
        refused = [Sample({"criticality": n}, float(c)) for n, c in zip(CRITICALITIES, self.refused, strict=True)]
        yield Metric("peakgate_shed_requests_total", "Requests refused as too much.", "counter", refused)


def shedding(
    shedder: Shedder, criticality: Criticality, *, dependency: str = STORE, is_replay: IsReplay | None = None
) -> Layer:
    """Refuse with `overloaded` (503) what is too much. A request whose answer `is_replay` is let through in any case.

    `dependency` is what the handler waits for most. A request is in hand until its answer begins; the pieces of one that
    is streamed are not counted.
    """
    level, limit, clock = CRITICALITIES.index(criticality), shedder.limit_of(dependency), shedder.clock

    def refuse(request: Request) -> Response:
        return problems.response(problems.OVERLOADED, request.id, header_block=shedder.retry_after(request.client))

    def layer(handler: Handler) -> Handler:
        async def hold(coming: Coroutine[Any, Any, Response]) -> Response:
            limit.entered()
            began_at = clock()
            delivered = False
            try:
                response = await coming
                delivered = response.status < 500
                return response
            finally:
                limit.left(began_at, clock(), delivered=delivered)

        async def unless_replay(request: Request, asked: Awaitable[bool]) -> Response:
            if not await asked:
                return refuse(request)
            shedder.passed_after_all(level)
            return await resolve(handler(request))

        def shed(request: Request) -> ResponseOrAwaitable:
            if not shedder.admits(level, limit):
                return refuse(request) if is_replay is None else unless_replay(request, is_replay(request))
            outcome = handler(request)
            return outcome if isinstance(outcome, Response) else hold(outcome)

        return shed

    return layer


class _Bounds(TypedDict):
    least: int
    most: int
    grace_s: float


def _bounds(table: Shedding) -> _Bounds:
    return {"least": table.concurrency_least, "most": table.concurrency_most, "grace_s": table.lag_target_s}


class _Recent:
    """What passed and what was refused in the last second or two."""

    def __init__(self, now: float) -> None:
        self.backlog_s = 0.0
        self._backlog = 0.0
        self._noted_at = now
        self._passed_before = self._refused_before = [0] * _LEVELS
        self._passed = self._refused = [0] * _LEVELS

    def note(self, now: float, passed: Sequence[int], refused: Sequence[int]) -> None:
        """Look at the counters; often, and it is cheap."""
        over_s = now - self._noted_at
        if over_s < 1.0:
            return
        self._passed = [new - old for new, old in zip(passed, self._passed_before, strict=True)]
        self._refused = [new - old for new, old in zip(refused, self._refused_before, strict=True)]
        # Who was refused comes again: half of them within this time, and so on.
        self._backlog = self._backlog / 2 + sum(self._refused)
        # How long those who were turned away would take at the pace of now.
        self.backlog_s = self._backlog * over_s / max(sum(self._passed), 1)
        self._noted_at, self._passed_before, self._refused_before = now, [*passed], [*refused]

    def share(self, level: int) -> float:
        """Refused of all, of one criticality."""
        total = self._passed[level] + self._refused[level]
        return self._refused[level] / total if total else 0.0
