"""An origin that does as it is told, and the request that it gets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from multidict import CIMultiDict

from gateway.http.message import Request, Response, ResponseOrAwaitable, header, resolve

CACHEABLE = header("Cache-Control", "max-age=60")


class Clock:
    """Time that the test moves; the wall clock is as far ahead of it as in life."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time

    def wall(self) -> float:
        return 1_700_000_000.0 + self.time


class Origin:
    """A handler. `responses` makes each response; with `gate` closed, responses wait until it is opened."""

    def __init__(self, response: Callable[[Request], Response] | None = None) -> None:
        self.seen: list[Request] = []
        self.respond = response or (lambda _request: Response(200, b"body %d" % len(self.seen), header_block=CACHEABLE))
        self.gate: asyncio.Event | None = None

    @property
    def times(self) -> int:
        """How often it was asked."""
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
    """An response with these header fields."""
    return Response(status, body, header_block=b"".join(header(name, value) for name, value in lines))


def started(outcome: ResponseOrAwaitable) -> asyncio.Task[Response]:
    """The outcome as a task that has begun to wait."""
    coroutine: Coroutine[Any, Any, Response] = resolve(outcome)
    return asyncio.create_task(coroutine)


def cache_status(response: Response, request: Request | None = None) -> str:
    """What `Cache-Status` response_with of us."""
    lines = response.header_block + (request.extra_headers if request is not None else b"")
    found = [line for line in lines.decode().split("\r\n") if line.startswith("Cache-Status: peakgate; ")]
    assert len(found) == 1, found
    return found[0].removeprefix("Cache-Status: peakgate; ")
