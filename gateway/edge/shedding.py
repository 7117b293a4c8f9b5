"""Refuse the less critical while there is more to do than can be done, so that the checkout goes on.

Two signs tell of too much: the loop runs late (the processor is the bottleneck), or more requests are in hand than deliver
anything (a dependency is). `policy/pressure.py` and `policy/concurrency.py` decide; here they are asked.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Final

from gateway import problems
from gateway.config.policies import CRITICALITIES, Criticality, Shedding
from gateway.http import Handler, Layer, Outcome, Request, Response, header, settled
from gateway.metrics import Metric, Sample
from gateway.policy.concurrency import ConcurrencyLimit
from gateway.policy.pressure import Pressure

# Each criticality may use so much of the limit: what is left over is for those that are more critical.
SHARES: Final = (1.0, 0.9, 0.8, 0.7, 0.6)
TICK_S: Final = 0.01
LONGEST_WAIT_S: Final = 30.0
# Whether the answer to a request is stored already, so that repeating it costs next to nothing.
IsReplay = Callable[[Request], Awaitable[bool]]


class Shedder:
    """The state of one worker. `watch` must run beside; `update` takes other policies and keeps what was learned."""

    def __init__(self, table: Shedding, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.concurrency = ConcurrencyLimit(least=table.concurrency_least, most=table.concurrency_most, clock=clock)
        self.pressure = Pressure(len(CRITICALITIES), target_s=table.lag_target_s)
        self.is_on = table.on
        self.late_s = 0.0
        self.refused = [0] * len(CRITICALITIES)
        self.passed = [0] * len(CRITICALITIES)
        # The same as they were a second ago and now, for what happens each second.
        self._recent = _Recent()

    def update(self, table: Shedding) -> None:
        """Go on by another table."""
        self.is_on = table.on
        self.concurrency.bound(least=table.concurrency_least, most=table.concurrency_most)
        self.pressure.target_s = table.lag_target_s
        if not table.on:
            self.pressure.value = 0.0

    def admits(self, criticality: int) -> bool:
        """Whether to take on one more request of that criticality (0 is the most critical)."""
        concurrency = self.concurrency
        if concurrency.in_hand >= concurrency.limit * SHARES[criticality]:
            admitted = False
        else:
            admitted = not (self.pressure.value and self.pressure.sheds(criticality))
        if admitted or not self.is_on:
            self.passed[criticality] += 1
            return True
        self.refused[criticality] += 1
        return False

    def shed_share(self, criticality: Criticality) -> float:
        """The share of requests of a criticality that were refused in the last second or so."""
        return self._recent.share(CRITICALITIES.index(criticality))

    def retry_after_s(self, client: str) -> int:
        """When those who were refused could be served, at the pace of now: each client its own moment of that time."""
        wait_s = min(self._recent.backlog_s(), LONGEST_WAIT_S)
        return 1 + round(wait_s * (0.5 + zlib.crc32(client.encode("utf-8", "replace")) / 2**32))

    async def watch(self) -> None:
        """See how late the loop runs, for ever. What is due at a time and comes later has waited behind everything else."""
        due = before = self._clock() + TICK_S
        while True:
            await asyncio.sleep(max(due - self._clock(), 0.0))
            now = self._clock()
            self.late_s = now - due
            if self.is_on:
                self.pressure.observe(self.late_s, now - before)
            self._recent.note(now, self.passed, self.refused)
            due, before = now + TICK_S, now

    def snapshot(self) -> Mapping[str, Any]:
        """Limit, requests in hand, lateness, pressure, and what was refused by criticality."""
        return {
            "on": self.is_on,
            "limit": self.concurrency.limit,
            "in_hand": self.concurrency.in_hand,
            "late_ms": round(self.late_s * 1000, 2),
            "pressure": round(self.pressure.value, 2),
            "refused": dict(zip(CRITICALITIES, self.refused, strict=True)),
        }

    def metrics(self) -> Iterable[Metric]:
        """The same for machines."""
        for name, explained, value in (
            ("peakgate_concurrency_limit", "Requests that may be in hand.", self.concurrency.limit),
            ("peakgate_requests_in_hand", "Requests that wait for a dependency.", self.concurrency.in_hand),
            ("peakgate_loop_late_seconds", "How late the loop ran when it was last looked at.", self.late_s),
            ("peakgate_shedding_pressure", "0: nobody is refused; 5: everybody.", self.pressure.value),
        ):
            yield Metric(name, explained, "gauge", [Sample({}, float(value))])
        refused = [Sample({"criticality": n}, float(c)) for n, c in zip(CRITICALITIES, self.refused, strict=True)]
        yield Metric("peakgate_shed_requests_total", "Requests refused as too much.", "counter", refused)


def shedding(shedder: Shedder, criticality: Criticality, *, is_replay: IsReplay | None = None) -> Layer:
    """Refuse with `overloaded` (503) what is too much. A request whose answer `is_replay` is let through in any case."""
    level = CRITICALITIES.index(criticality)
    concurrency, clock = shedder.concurrency, time.monotonic

    def refuse(request: Request) -> Response:
        retry_after = header("Retry-After", shedder.retry_after_s(request.client))
        return problems.refuse(problems.OVERLOADED, request.id, headers=retry_after)

    def layer(handler: Handler) -> Handler:
        async def hold(coming: Coroutine[Any, Any, Response]) -> Response:
            concurrency.entered()
            began_at = clock()
            delivered = False
            try:
                response = await coming
                delivered = response.status < 500
                return response
            finally:
                concurrency.left(clock() - began_at, delivered=delivered)

        async def unless_replay(request: Request, asked: Awaitable[bool]) -> Response:
            return await settled(handler(request)) if await asked else refuse(request)

        def shed(request: Request) -> Outcome:
            if not shedder.admits(level):
                return unless_replay(request, is_replay(request)) if is_replay is not None else refuse(request)
            outcome = handler(request)
            return outcome if isinstance(outcome, Response) else hold(outcome)

        return shed

    return layer


class _Recent:
    """What passed and what was refused in the last second or two."""

    def __init__(self) -> None:
        self._marked_at = 0.0
        self._mark: tuple[Sequence[int], Sequence[int]] = ((), ())
        self._passed: Sequence[int] = [0] * len(CRITICALITIES)
        self._refused: Sequence[int] = [0] * len(CRITICALITIES)
        self._backlog = 0.0

    def note(self, now: float, passed: Sequence[int], refused: Sequence[int]) -> None:
        """Look at the counters; often, and it is cheap."""
        if now - self._marked_at < 1.0:
            return
        if self._mark[0]:
            self._passed = [new - old for new, old in zip(passed, self._mark[0], strict=True)]
            self._refused = [new - old for new, old in zip(refused, self._mark[1], strict=True)]
            # Who was refused comes again: half of them within this time, and so on.
            self._backlog = self._backlog / 2 + sum(self._refused)
        self._marked_at = now
        self._mark = ([*passed], [*refused])

    def share(self, level: int) -> float:
        """Refused of all, of one criticality."""
        total = self._passed[level] + self._refused[level]
        return self._refused[level] / total if total else 0.0

    def backlog_s(self) -> float:
        """How long those who were turned away would take at the pace of the last second."""
        return self._backlog / max(sum(self._passed), 1)
