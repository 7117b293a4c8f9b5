"""Whether a worker lives, and whether it should get traffic."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.api.binding import bind
from gateway.api.health import Check, Vitals, health_routes
from gateway.api.router import Endpoint, Router
from gateway.http import Request, Response


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
    vitals = Vitals(checks=checks, edge=Server(router, draining))
    (route,) = (route for route in health_routes(vitals) if route.path == path)
    response = asyncio.run(bind(route)(Request("GET", path, "", {}, b"", "id", ())))
    assert response.headers == b"Cache-Control: no-store\r\n"
    return response.status, orjson.loads(response.body)


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


def test_answers_are_counted_by_status_over_all_routes() -> None:
    endpoint = Endpoint("GET", "/x", handler)
    endpoint.tally.add(200, 0.001)
    endpoint.tally.add(503, 0.001)
    _, body = asked("/readyz", {}, endpoint=endpoint)
    assert body["worker"]["answers"] == {"200": 1, "503": 1}
