"""Whether a worker lives, and whether it should get traffic."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.api.binding import bind
from gateway.api.health import Check, Vitals, health_routes
from gateway.http.endpoint import Endpoint
from gateway.http.message import Request, Response, resolve
from gateway.http.router import Router
from tests.virtual_time import in_virtual_time, loop_time


@dataclass
class Server:
    router: Router
    is_draining: bool = False


async def well() -> None:
    pass


async def ill() -> None:
    raise ConnectionError("nobody there")


async def ill_without_a_word() -> None:
    raise TimeoutError


async def handler(_request: Request) -> Response:
    return Response(200)


def asked(path: str, checks: dict[str, Check], *, draining: bool = False, endpoint: Endpoint | None = None) -> Any:
    """Status and body of `/healthz` or `/readyz`."""
    router = Router([endpoint] if endpoint else [])
    worker = Worker(Vitals(checks=checks, edge=Server(router, draining)))
    return asyncio.run(worker.ask(path))


class Worker:
    """A worker that is asked more than once, with a clock that the test moves."""

    def __init__(self, vitals: Vitals) -> None:
        self.time = 100.0
        vitals.edge = vitals.edge or Server(Router([]))
        rows = health_routes(vitals, clock=lambda: self.time)
        self.handlers = {row.path: bind(row) for row in rows}

    async def ask(self, path: str = "/readyz") -> Any:
        response = await resolve(self.handlers[path](Request("GET", path, "", {}, b"", "id", ())))
        assert response.header_block == b"Cache-Control: no-store\r\n"
        return response.status, orjson.loads(response.body)

    async def status(self) -> tuple[int, str]:
        self.time += 1.0
        status, body = await self.ask()
        return status, body["status"]


class Dependency:
    """Well or away, as the test says; counts how often it was asked."""

    def __init__(self) -> None:
        self.is_away = False
        self.asked = 0
        self.takes_s = 0.0

    async def check(self) -> None:
        self.asked += 1
        await asyncio.sleep(self.takes_s)
        if self.is_away:
            raise ConnectionError("away")


def test_a_process_that_answers_lives_whatever_it_depends_on() -> None:
    assert asked("/healthz", {"store": ill}, draining=True) == (200, {"status": "ok"})


def test_a_worker_whose_checks_are_well_is_ready() -> None:
    status, body = asked("/readyz", {"store": well})
    assert (status, body["status"], body["checks"]) == (200, "ready", {"store": "ok"})
    assert body["worker"]["process"] == os.getpid()


def test_a_worker_that_lacks_something_is_not_and_says_what() -> None:
    status, body = asked("/readyz", {"store": well, "queue": ill, "search": ill_without_a_word})
    assert (status, body["status"]) == (503, "unavailable")
    assert body["checks"] == {"store": "ok", "queue": "nobody there", "search": "TimeoutError"}


def test_a_worker_that_drains_is_not_ready_however_well_it_is() -> None:
    status, body = asked("/readyz", {"store": well}, draining=True)
    assert (status, body["status"]) == (503, "draining")


async def test_what_all_gateways_share_leaves_a_worker_ready_once_it_has_started() -> None:
    store = Dependency()
    store.is_away = True
    worker = Worker(Vitals({"store": store.check}))
    assert await worker.status() == (503, "unavailable")
    store.is_away = False
    assert await worker.status() == (200, "ready")
    store.is_away = True
    assert await worker.status() == (200, "degraded")


async def test_a_worker_starts_without_what_is_not_needed_to_start() -> None:
    store, search = Dependency(), Dependency()
    search.is_away = True
    worker = Worker(Vitals({"store": store.check, "search": search.check}, to_start=("store",)))
    assert await worker.status() == (200, "degraded")


async def test_a_worker_is_not_ready_without_what_is_always_needed() -> None:
    store = Dependency()
    worker = Worker(Vitals({"store": store.check}, always=("store",)))
    assert await worker.status() == (200, "ready")
    store.is_away = True
    assert await worker.status() == (503, "unavailable")
    store.is_away = False
    assert await worker.status() == (200, "ready")


async def test_breakers_are_told_and_one_that_does_not_pass_degrades() -> None:
    breakers = {"payment": "closed"}
    worker = Worker(Vitals({}, breakers=lambda: breakers))
    assert await worker.status() == (200, "ready")
    breakers["payment"] = "open"
    status, body = await worker.ask()
    assert (status, body["status"], body["breakers"]) == (200, "degraded", {"payment": "open"})


@in_virtual_time
async def test_checks_are_made_at_once_and_have_their_own_bound_of_time() -> None:
    slow, hanging = Dependency(), Dependency()
    slow.takes_s, hanging.takes_s = 0.4, 1e9
    worker = Worker(Vitals({"slow": slow.check, "hanging": hanging.check}))
    _, body = await worker.ask()
    assert body["checks"] == {"slow": "ok", "hanging": "no answer within 0.5 s"}
    assert loop_time() == 0.5


@in_virtual_time
async def test_however_many_ask_the_dependencies_are_asked_once_a_second() -> None:
    store = Dependency()
    store.takes_s = 0.1
    worker = Worker(Vitals({"store": store.check}))
    await asyncio.gather(*(worker.ask() for _ in range(50)))
    await worker.ask()
    assert store.asked == 1
    worker.time += 1.0
    await worker.ask()
    assert store.asked == 2


@in_virtual_time
async def test_one_who_asks_and_leaves_takes_nothing_away_from_the_others() -> None:
    store = Dependency()
    store.takes_s = 0.1
    worker = Worker(Vitals({"store": store.check}))
    leaves, stays = asyncio.ensure_future(worker.ask()), asyncio.ensure_future(worker.ask())
    await asyncio.sleep(0.05)
    leaves.cancel()
    assert (await stays)[0] == 200


def test_answers_are_counted_by_status_over_all_routes() -> None:
    endpoint = Endpoint("GET", "/x", handler)
    endpoint.stats.add(200, 0.001)
    endpoint.stats.add(503, 0.001)
    _, body = asked("/readyz", {}, endpoint=endpoint)
    assert body["worker"]["responses"] == {"200": 1, "503": 1}


async def test_a_background_task_that_waits_for_its_restart_is_reported_and_degrades_the_worker() -> None:
    vitals = Vitals(checks={}, background=lambda: {"stock sweeper": "ValueError: no such partition"})
    status, body = await Worker(vitals).ask()
    assert status == 200
    assert body["status"] == "degraded"
    assert body["background"] == {"stock sweeper": "ValueError: no such partition"}
