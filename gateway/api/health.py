"""`/healthz`: the process lives. `/readyz`: it should get traffic."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence

import orjson

from gateway.api.binding import Call, Route
from gateway.edge.counted import Counts
from gateway.http import Request, Response, header

# Raises when the dependency is not there.
Check = Callable[[], Awaitable[object]]


def health_routes(checks: Mapping[str, Check], is_draining: Callable[[], bool], counts: Counts) -> Sequence[Route]:
    """Both calls. A worker that drains is not ready, whatever its checks say."""

    async def healthz(_request: Request, _body: None) -> Response:
        return _answer(200, {"status": "ok"})

    async def readyz(_request: Request, _body: None) -> Response:
        found = {name: await _outcome(check) for name, check in checks.items()}
        status = "draining" if is_draining() else "ready" if set(found.values()) <= {"ok"} else "unavailable"
        worker = {"process": os.getpid(), "answers": _by_status(counts)}
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


def _by_status(counts: Counts) -> dict[str, int]:
    totals: Counter[str] = Counter()
    for (_route, status), count in counts.items():
        totals[str(status)] += count
    return dict(sorted(totals.items()))


def _answer(status: int, body: Mapping[str, object]) -> Response:
    return Response(status, orjson.dumps(body), headers=header("Cache-Control", "no-store"))
