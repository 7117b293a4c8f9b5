"""An origin whose responses a test makes, and requests to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from multidict import CIMultiDict

from gateway.http.message import Handler, Request, Response, ResponseOrAwaitable, header, resolve

CACHEABLE = header("Cache-Control", "max-age=60")


class Clock:
    """Time that the test moves; the wall clock is ahead of it by a constant."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time

    def wall(self) -> float:
        return 1_700_000_000.0 + self.time


class Origin:
    """A handler. `respond` makes each response; while `gate` is closed, responses wait."""

    def __init__(self, response: Callable[[Request], Response] | None = None) -> None:
        self.seen: list[Request] = []
        self.respond = response or (lambda _request: Response(200, b"body %d" % len(self.seen), header_block=CACHEABLE))
        self.gate: asyncio.Event | None = None

    @property
    def times(self) -> int:
        """The number of requests."""
        return len(self.seen)

    def __call__(self, request: Request) -> ResponseOrAwaitable:
        self.seen.append(request)
        return self.respond(request) if self.gate is None else self._later(request)

    async def _later(self, request: Request) -> Response:
        assert self.gate is not None
        await self.gate.wait()
        return self.respond(request)


def get(target: str = "/shoes", *, method: str = "GET", **headers: str) -> Request:
    """A request; field names with underscores for hyphens."""
    path, _, query = target.partition("?")
    fields = CIMultiDict({"Host": "shop.example", **{name.replace("_", "-"): value for name, value in headers.items()}})
    return Request(method, path, query, fields, b"", "id", ())


def response_with(*lines: tuple[str, str | int], status: int = 200, body: bytes = b"body") -> Response:
    """A response with these header fields."""
    return Response(status, body, header_block=b"".join(header(name, value) for name, value in lines))


def started(outcome: ResponseOrAwaitable) -> asyncio.Task[Response]:
    """A task that has begun to wait for the response."""
    coroutine: Coroutine[Any, Any, Response] = resolve(outcome)
    return asyncio.create_task(coroutine)


def cache_status(response: Response, request: Request | None = None) -> str:
    """The gateway's own member of `Cache-Status`."""
    lines = response.header_block + (request.extra_headers if request is not None else b"")
    found = [line for line in lines.decode().split("\r\n") if line.startswith("Cache-Status: peakgate; ")]
    assert len(found) == 1, found
    return found[0].removeprefix("Cache-Status: peakgate; ")


async def send(cached: Handler, request: Request | None = None) -> Response:
    """The response of a cached handler."""
    return await resolve(cached(request if request is not None else get()))


async def settle() -> None:
    """Let background tasks run until they wait."""
    for _ in range(10):
        await asyncio.sleep(0)


class Marks:
    """Records the requests that were served stale in place of an error."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def __call__(self, _request: Request, what: str) -> None:
        self.made.append(what)
