"""`/healthz`: the process lives. `/readyz`: it should get traffic."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import orjson

from gateway.api.binding import Call, Route
from gateway.api.router import Endpoint, Router
from gateway.http import Request, Response, header

# Raises when the dependency is not there.
Check = Callable[[], Awaitable[object]]


class Server(Protocol):
    """What is to be known of the server whose health is asked for."""

    router: Router
    is_draining: bool


@dataclass(slots=True)
class Vitals:
    """What health is judged by. `edge` is set when the server is made, of routes that these calls are among."""

    checks: Mapping[str, Check]
    edge: Server | None = None


def health_routes(vitals: Vitals) -> Sequence[Route]:
    """Both calls. A worker that drains is not ready, whatever its checks say."""

    async def healthz(_request: Request, _body: None) -> Response:
        return _answer(200, {"status": "ok"})

    async def readyz(_request: Request, _body: None) -> Response:
        assert vitals.edge is not None
        found = {name: await _outcome(check) for name, check in vitals.checks.items()}
        is_ready = set(found.values()) <= {"ok"}
        status = "draining" if vitals.edge.is_draining else "ready" if is_ready else "unavailable"
        worker = {"process": os.getpid(), "answers": _by_status(vitals.edge.router.endpoints)}
        return _answer(200 if status == "ready" else 503, {"status": status, "checks": found, "worker": worker})

    return (
        _row("/healthz", healthz, "Whether the process lives"),
        _row("/readyz", readyz, "Whether it should get traffic"),
    )


def _row(path: str, call: Call, summary: str) -> Route:
    return Route(method="GET", path=path, call=call, summary=summary, tag="health", answers="Health")


async def _outcome(check: Check) -> str:
    try:
        await check()
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, the answer says so
        return str(error) or type(error).__name__
    return "ok"


def _by_status(endpoints: Iterable[Endpoint]) -> dict[str, int]:
    totals: Counter[str] = Counter()
    for endpoint in endpoints:
        totals.update({str(status): count for status, count in endpoint.tally.by_status.items()})
    return dict(sorted(totals.items()))


def _answer(status: int, body: Mapping[str, object]) -> Response:
    return Response(status, orjson.dumps(body), headers=header("Cache-Control", "no-store"))
