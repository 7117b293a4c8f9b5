"""`/healthz`: the process lives. `/readyz`: it should get traffic, with the state of its dependencies."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import orjson

from gateway.api.binding import Call, Route
from gateway.build import MODE, VERSION
from gateway.http.endpoint import Endpoint
from gateway.http.message import Request, Response, header
from gateway.http.router import Router

# Raises when the dependency is not there.
Check = Callable[[], Awaitable[object]]

# A check that takes longer has failed.
CHECK_S: Final = 0.5
# However many probes come, the dependencies are asked no more often.
FRESH_S: Final = 1.0


class Server(Protocol):
    """The server, as far as its health is concerned."""

    router: Router
    is_draining: bool


@dataclass(slots=True)
class Vitals:
    """The inputs of health. `edge` is set when the server is made, because its routes include these calls.

    `to_start` names the checks that must have succeeded once before there is any traffic, all unless given; `always`
    those without which there is none at any time. Any other dependency that is away is told and leaves the worker ready:
    an outage that all gateways share must not empty the balancer (docs/adr/0010). `breakers` tells the state of each, in a word.
    """

    checks: Mapping[str, Check]
    edge: Server | None = None
    to_start: Collection[str] | None = None
    always: Collection[str] = ()
    breakers: Callable[[], Mapping[str, str]] = dict
    # The last error of each background task that died and waits for its restart.
    background: Callable[[], Mapping[str, str]] = dict


def health_routes(vitals: Vitals, *, clock: Callable[[], float] = time.monotonic) -> Sequence[Route]:
    """Both calls. A worker that drains is not ready."""
    readiness = _Readiness(vitals, clock)

    async def healthz(_request: Request, _body: None) -> Response:
        return _answer(200, {"status": "ok"})

    async def readyz(_request: Request, _body: None) -> Response:
        assert vitals.edge is not None
        found = await readiness.found()
        breakers, background = vitals.breakers(), vitals.background()
        status = "draining" if vitals.edge.is_draining else readiness.judged(found, breakers, background)
        worker = {"process": os.getpid(), "responses": _by_status(vitals.edge.router.endpoints)}
        body = {
            "status": status,
            "build": {"version": VERSION, "mode": MODE},
            "checks": found,
            "breakers": breakers,
            "background": background,
            "worker": worker,
        }
        return _answer(200 if status in _READY else 503, body)

    return (
        _row("/healthz", healthz, "Whether the process lives"),
        # It waits with timeouts, for which it needs a task.
        _row("/readyz", readyz, "Whether it should get traffic", hot=False),
    )


class _Readiness:
    """The last results of the checks, and whether all succeeded once."""

    def __init__(self, vitals: Vitals, clock: Callable[[], float]) -> None:
        self._vitals = vitals
        self._clock = clock
        self._has_started = False
        self._found: Mapping[str, str] = {}
        self._found_at = -FRESH_S
        self._looking: asyncio.Task[Mapping[str, str]] | None = None

    async def found(self) -> Mapping[str, str]:
        """`ok` or the fault, by dependency; at most `FRESH_S` old, and asked for once for all who wait."""
        if self._clock() - self._found_at < FRESH_S:
            return self._found
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())
        return await asyncio.shield(self._looking)

    def judged(self, found: Mapping[str, str], breakers: Mapping[str, str], background: Mapping[str, str]) -> str:
        """The status of a worker that does not drain."""
        away = {name for name, outcome in found.items() if outcome != _OK}
        to_start = self._vitals.checks if self._vitals.to_start is None else self._vitals.to_start
        self._has_started = self._has_started or away.isdisjoint(to_start)
        if not self._has_started or not away.isdisjoint(self._vitals.always):
            return "unavailable"
        return "degraded" if away or background or set(breakers.values()) - {"closed"} else "ready"

    async def _look(self) -> Mapping[str, str]:
        try:
            checks = self._vitals.checks
            outcomes = await asyncio.gather(*map(_outcome, checks.values()))
            self._found, self._found_at = dict(zip(checks, outcomes, strict=True)), self._clock()
            return self._found
        finally:
            self._looking = None


_OK: Final = "ok"
_READY: Final = ("ready", "degraded")


def _row(path: str, call: Call, summary: str, *, hot: bool = True) -> Route:
    return Route(method="GET", path=path, call=call, summary=summary, tag="health", answers="Health", hot=hot)


async def _outcome(check: Check) -> str:
    limit = asyncio.timeout(CHECK_S)
    try:
        async with limit:
            await check()
    except Exception as error:  # noqa: BLE001 - the response has the fault
        if limit.expired():
            return f"no answer within {CHECK_S} s"
        return str(error) or type(error).__name__
    return _OK


def _by_status(endpoints: Iterable[Endpoint]) -> dict[str, int]:
    totals: Counter[str] = Counter()
    for endpoint in endpoints:
        totals.update({str(status): count for status, count in endpoint.stats.by_status.items()})
    return dict(sorted(totals.items()))


def _answer(status: int, body: Mapping[str, object]) -> Response:
    return Response(status, orjson.dumps(body), header_block=header("Cache-Control", "no-store"))
