"""Health checks: `/healthz`, whether the process runs; `/readyz`, whether it should get traffic, and its dependencies."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal, Protocol

import msgspec
from msgspec import Meta, Struct

from gateway.api.binding import Call, Route
from gateway.build import MODE, VERSION
from gateway.http.endpoint import Endpoint
from gateway.http.message import Request, Response, header
from gateway.http.router import Router

# Raises when the dependency is unavailable.
Check = Callable[[], Awaitable[object]]


class Impaired(Exception):
    """The dependency serves a part of the work: the worker is degraded, also where it requires the dependency."""


# A check that takes longer has failed.
CHECK_TIMEOUT_S: Final = 0.5
# The results are cached, so that the dependencies are not checked more often.
RESULTS_TTL_S: Final = 1.0


# --- the responses

ReadinessStatus = Literal["ready", "degraded", "draining", "unavailable"]


class Health(Struct, frozen=True, forbid_unknown_fields=True):
    """The process runs."""

    status: Annotated[Literal["ok"], Meta(description="Always the same.")]


class Build(Struct, frozen=True, forbid_unknown_fields=True):
    """The version of Peakgate, and whether its hot modules are compiled."""

    version: Annotated[str, Meta(description="The version of the package.")]
    mode: Annotated[str, Meta(description="`compiled` or `interpreted`.")]


class WorkerHealth(Struct, frozen=True, forbid_unknown_fields=True):
    """The worker process that sent this response."""

    process: Annotated[int, Meta(description="The process id.")]
    responses: Annotated[dict[str, int], Meta(description="The number of responses so far, by status.")]


class Readiness(Struct, frozen=True, forbid_unknown_fields=True):
    """Whether the worker should get traffic: `ready` and `degraded` are sent with 200, the others with 503."""

    status: Annotated[ReadinessStatus, Meta(description="Whether the worker gets traffic.")]
    build: Build
    checks: Annotated[dict[str, str], Meta(description="`ok` or the error of each dependency.")]
    breakers: Annotated[dict[str, str], Meta(description="The state of each circuit breaker.")]
    background: Annotated[
        dict[str, str],
        Meta(description="The error of each background task that awaits its restart or died in the last minute."),
    ]
    worker: WorkerHealth


# --- the routes


class Server(Protocol):
    """The server, as far as its health is concerned."""

    router: Router
    is_draining: bool


@dataclass(slots=True)
class HealthSources:
    """The inputs of the health checks. `server` is set when the server is created, because its routes include these calls.

    `required_at_start` names the checks that must have succeeded once before the worker is ready, all by default;
    `always_required` those that must succeed at any time. Another dependency that is unavailable is reported and leaves
    the worker ready: an outage that all gateways share must not empty the balancer (docs/adr/0010).
    """

    checks: Mapping[str, Check]
    server: Server | None = None
    required_at_start: Collection[str] | None = None
    always_required: Collection[str] = ()
    # The state of each circuit breaker.
    breakers: Callable[[], Mapping[str, str]] = dict
    # Whether a drain is near, so that balancers send new requests elsewhere.
    is_leaving: Callable[[], bool] = lambda: False
    # The number of calls that failed so far: a good result from before the last of them is outdated.
    failures: Callable[[], int] = lambda: 0
    # The last error of each background task that awaits its restart or died in the last minute.
    background: Callable[[], Mapping[str, str]] = dict


def health_routes(sources: HealthSources, *, clock: Callable[[], float] = time.monotonic) -> Sequence[Route]:
    """Both routes. A worker that drains, or soon will, is not ready."""
    checks = _Checks(sources, clock)

    async def healthz(_request: Request, _body: None) -> Response:
        return _response(200, Health("ok"))

    async def readyz(_request: Request, _body: None) -> Response:
        server = sources.server
        assert server is not None
        results = await checks.results()
        breakers, background = sources.breakers(), sources.background()
        status = (
            "draining" if server.is_draining or sources.is_leaving() else checks.status(results, breakers, background)
        )
        readiness = Readiness(
            status=status,
            build=Build(VERSION, MODE),
            checks=dict(results),
            breakers=dict(breakers),
            background=dict(background),
            worker=WorkerHealth(os.getpid(), _responses_by_status(server.router.endpoints)),
        )
        return _response(200 if status in _READY else 503, readiness)

    return (
        _route("/healthz", healthz, "Whether the process runs", Health),
        # It awaits with timeouts, which need a task.
        _route("/readyz", readyz, "Whether the worker should get traffic", Readiness, hot=False),
    )


class _Checks:
    """The last results of the checks, and whether those required at the start have succeeded once."""

    def __init__(self, sources: HealthSources, clock: Callable[[], float]) -> None:
        self._sources = sources
        self._clock = clock
        self._has_started = False
        self._results: Mapping[str, str] = {}
        # The dependencies that do not serve at all.
        self._away: frozenset[str] = frozenset()
        self._checked_at = -RESULTS_TTL_S
        self._failures = 0
        self._running: asyncio.Task[Mapping[str, str]] | None = None

    async def results(self) -> Mapping[str, str]:
        """`ok` or the error of each dependency, at most `RESULTS_TTL_S` old. Concurrent requests share one run."""
        is_outdated = self._is_well(self._results) and self._failures != self._sources.failures()
        if self._clock() - self._checked_at < RESULTS_TTL_S and not is_outdated:
            return self._results
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        return await asyncio.shield(self._running)

    def status(
        self, results: Mapping[str, str], breakers: Mapping[str, str], background: Mapping[str, str]
    ) -> ReadinessStatus:
        """The status of a worker that does not drain."""
        required = self._sources.required_at_start
        required_at_start = self._sources.checks if required is None else required
        self._has_started = self._has_started or self._away.isdisjoint(required_at_start)
        if not self._has_started or not self._away.isdisjoint(self._sources.always_required):
            return "unavailable"
        is_well = self._is_well(results) and not background and set(breakers.values()) <= {"closed"}
        return "ready" if is_well else "degraded"

    @staticmethod
    def _is_well(results: Mapping[str, str]) -> bool:
        return set(results.values()) <= {_OK}

    async def _run(self) -> Mapping[str, str]:
        try:
            checks = self._sources.checks
            self._failures = self._sources.failures()
            faults = dict(zip(checks, await asyncio.gather(*map(_fault, checks.values())), strict=True))
            self._results = {name: _OK if fault is None else _text(fault) for name, fault in faults.items()}
            self._away = frozenset(
                name for name, fault in faults.items() if fault is not None and not isinstance(fault, Impaired)
            )
            self._checked_at = self._clock()
            return self._results
        finally:
            self._running = None


_OK: Final = "ok"
_READY: Final = ("ready", "degraded")


def _route(path: str, call: Call, summary: str, response: type[Struct], *, hot: bool = True) -> Route:
    return Route(method="GET", path=path, call=call, summary=summary, tag="health", response=response, hot=hot)


async def _fault(check: Check) -> Exception | None:
    timeout = asyncio.timeout(CHECK_TIMEOUT_S)
    try:
        async with timeout:
            await check()
    except Exception as error:  # noqa: BLE001 - the response contains the error
        return TimeoutError(f"no response within {CHECK_TIMEOUT_S} s") if timeout.expired() else error
    return None


def _text(fault: Exception) -> str:
    return str(fault) or type(fault).__name__


def _responses_by_status(endpoints: Iterable[Endpoint]) -> dict[str, int]:
    totals: Counter[str] = Counter()
    for endpoint in endpoints:
        totals.update({str(status): count for status, count in endpoint.stats.by_status.items()})
    return dict(sorted(totals.items()))


def _response(status: int, body: Struct) -> Response:
    return Response(status, msgspec.json.encode(body), header_block=header("Cache-Control", "no-store"))
