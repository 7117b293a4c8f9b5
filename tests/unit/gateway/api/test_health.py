"""The health checks: whether a worker runs, and whether it should get traffic."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.api.binding import bind
from gateway.api.health import Check, HealthSources, Impaired, health_routes
from gateway.http.endpoint import Endpoint
from gateway.http.message import Request, Response, resolve
from gateway.http.router import Router
from tests.virtual_time import in_virtual_time, loop_time


@dataclass
class Server:
    router: Router
    is_draining: bool = False


async def succeeds() -> None:
    pass


async def fails() -> None:
    raise ConnectionError("connection refused")


async def fails_without_a_message() -> None:
    raise TimeoutError


async def handler(_request: Request) -> Response:
    return Response(200)


def get(path: str, checks: dict[str, Check], *, draining: bool = False, endpoint: Endpoint | None = None) -> Any:
    """Status and body of `/healthz` or `/readyz`."""
    router = Router([endpoint] if endpoint else [])
    worker = Worker(HealthSources(checks=checks, server=Server(router, draining)))
    return asyncio.run(worker.get(path))


class Worker:
    """A worker with a clock that the test sets."""

    def __init__(self, sources: HealthSources) -> None:
        self.time = 100.0
        sources.server = sources.server or Server(Router([]))
        rows = health_routes(sources, clock=lambda: self.time)
        self.handlers = {row.path: bind(row) for row in rows}

    async def get(self, path: str = "/readyz") -> Any:
        response = await resolve(self.handlers[path](Request("GET", path, "", {}, b"", "id", ())))
        assert response.header_block == b"Cache-Control: no-store\r\n"
        return response.status, orjson.loads(response.body)

    async def status(self) -> tuple[int, str]:
        self.time += 1.0
        status, body = await self.get()
        return status, body["status"]


class Dependency:
    """A dependency that the test makes unavailable; counts its checks."""

    def __init__(self) -> None:
        self.is_unavailable = False
        self.checks = 0
        self.delay_s = 0.0

    async def check(self) -> None:
        self.checks += 1
        await asyncio.sleep(self.delay_s)
        if self.is_unavailable:
            raise ConnectionError("unavailable")


def test_healthz_ignores_dependencies_and_draining() -> None:
    assert get("/healthz", {"store": fails}, draining=True) == (200, {"status": "ok"})


def test_a_worker_whose_checks_succeed_is_ready() -> None:
    status, body = get("/readyz", {"store": succeeds})
    assert (status, body["status"], body["checks"]) == (200, "ready", {"store": "ok"})
    assert body["worker"]["process"] == os.getpid()


def test_a_worker_with_failed_checks_is_unavailable_and_reports_the_errors() -> None:
    status, body = get("/readyz", {"store": succeeds, "queue": fails, "search": fails_without_a_message})
    assert (status, body["status"]) == (503, "unavailable")
    assert body["checks"] == {"store": "ok", "queue": "connection refused", "search": "TimeoutError"}


async def test_a_worker_that_soon_drains_is_not_ready() -> None:
    leaving = [False]
    worker = Worker(HealthSources(checks={"store": succeeds}, is_leaving=lambda: leaving[0]))
    assert (await worker.get())[0] == 200
    leaving[0] = True
    status, body = await worker.get()
    assert (status, body["status"]) == (503, "draining")


def test_a_worker_that_drains_is_not_ready() -> None:
    status, body = get("/readyz", {"store": succeeds}, draining=True)
    assert (status, body["status"]) == (503, "draining")


async def test_an_outage_of_a_shared_dependency_after_the_start_degrades_the_worker() -> None:
    store = Dependency()
    store.is_unavailable = True
    worker = Worker(HealthSources({"store": store.check}))
    assert await worker.status() == (503, "unavailable")
    store.is_unavailable = False
    assert await worker.status() == (200, "ready")
    store.is_unavailable = True
    assert await worker.status() == (200, "degraded")


async def test_a_worker_is_ready_without_dependencies_not_required_at_start() -> None:
    store, search = Dependency(), Dependency()
    search.is_unavailable = True
    worker = Worker(HealthSources({"store": store.check, "search": search.check}, required_at_start=("store",)))
    assert await worker.status() == (200, "degraded")


async def test_a_worker_is_unavailable_without_a_dependency_that_is_always_required() -> None:
    store = Dependency()
    worker = Worker(HealthSources({"store": store.check}, always_required=("store",)))
    assert await worker.status() == (200, "ready")
    store.is_unavailable = True
    assert await worker.status() == (503, "unavailable")
    store.is_unavailable = False
    assert await worker.status() == (200, "ready")


async def test_an_open_breaker_is_reported_and_degrades_the_worker() -> None:
    breakers = {"payment": "closed"}
    worker = Worker(HealthSources({}, breakers=lambda: breakers))
    assert await worker.status() == (200, "ready")
    breakers["payment"] = "open"
    status, body = await worker.get()
    assert (status, body["status"], body["breakers"]) == (200, "degraded", {"payment": "open"})


@in_virtual_time
async def test_checks_run_concurrently_with_a_timeout_each() -> None:
    slow, hanging = Dependency(), Dependency()
    slow.delay_s, hanging.delay_s = 0.4, 1e9
    worker = Worker(HealthSources({"slow": slow.check, "hanging": hanging.check}))
    _, body = await worker.get()
    assert body["checks"] == {"slow": "ok", "hanging": "no response within 0.5 s"}
    assert loop_time() == 0.5


@in_virtual_time
async def test_dependencies_are_checked_once_a_second_at_most() -> None:
    store = Dependency()
    store.delay_s = 0.1
    worker = Worker(HealthSources({"store": store.check}))
    await asyncio.gather(*(worker.get() for _ in range(50)))
    await worker.get()
    assert store.checks == 1
    worker.time += 1.0
    await worker.get()
    assert store.checks == 2


@in_virtual_time
async def test_a_cancelled_request_does_not_cancel_the_checks_of_others() -> None:
    store = Dependency()
    store.delay_s = 0.1
    worker = Worker(HealthSources({"store": store.check}))
    cancelled, other = asyncio.ensure_future(worker.get()), asyncio.ensure_future(worker.get())
    await asyncio.sleep(0.05)
    cancelled.cancel()
    assert (await other)[0] == 200


def test_responses_are_counted_by_status_over_all_routes() -> None:
    endpoint = Endpoint("GET", "/x", handler)
    endpoint.stats.add(200, 0.001)
    endpoint.stats.add(503, 0.001)
    _, body = get("/readyz", {}, endpoint=endpoint)
    assert body["worker"]["responses"] == {"200": 1, "503": 1}


async def test_a_background_task_that_awaits_its_restart_is_reported_and_degrades_the_worker() -> None:
    sources = HealthSources(checks={}, background=lambda: {"stock sweeper": "ValueError: no such partition"})
    status, body = await Worker(sources).get()
    assert status == 200
    assert body["status"] == "degraded"
    assert body["background"] == {"stock sweeper": "ValueError: no such partition"}


async def test_a_good_result_from_before_a_failed_call_is_outdated_and_a_bad_one_is_not() -> None:
    store, failures = Dependency(), 0
    worker = Worker(HealthSources({"store": store.check}, failures=lambda: failures))
    assert await worker.status() == (200, "ready")
    store.is_unavailable, failures = True, 1
    _, body = await worker.get()
    assert body["status"] == "degraded"
    failures = 7
    await worker.get()
    assert store.checks == 2


async def test_a_dependency_that_serves_a_part_degrades_the_worker_that_requires_it() -> None:
    async def reads_only() -> None:
        raise Impaired("it takes no writes")

    sources = HealthSources({"store": reads_only}, always_required=("store",), required_at_start=("store",))
    status, body = await Worker(sources).get()
    assert (status, body["status"], body["checks"]) == (200, "degraded", {"store": "it takes no writes"})
