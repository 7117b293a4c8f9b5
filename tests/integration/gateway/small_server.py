"""A server with small endpoints, whose slow ones end when the test says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson

from cart.errors import CartNotFound, QuantityLimit
from gateway.http.endpoint import Endpoint
from gateway.http.message import Request, Response, StreamedResponse, header
from gateway.http.router import Router
from gateway.server.listeners import BACKLOG, open_listeners
from gateway.server.server import EdgeServer
from store import StoreOverloaded, StoreUnavailable
from tests.raw_http import RawClient
from tests.waiting import WITHIN_S

HOST = b"Host: shop\r\n"
SMALL = 16


def get(path: str, *headers: str, method: str = "GET") -> bytes:
    """A request without a body."""
    return "".join(
        [f"{method} {path} HTTP/1.1\r\nHost: shop\r\n", *(f"{line}\r\n" for line in headers), "\r\n"]
    ).encode()


def post(path: str, body: bytes, *headers: str, method: str = "POST") -> bytes:
    """A request with a body and its length."""
    return get(path, f"Content-Length: {len(body)}", *headers, method=method) + body


def chunked(path: str, *chunks: bytes, trailers: bytes = b"", method: str = "POST") -> bytes:
    """A request with a body in chunks."""
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return get(path, "Transfer-Encoding: chunked", method=method) + body + b"0\r\n" + trailers + b"\r\n"


class Small:
    """The server, and the strings a test pulls."""

    def __init__(self, *, more_endpoints: Callable[[Small], list[Endpoint]] = lambda _: [], **options: Any) -> None:
        self.gate = asyncio.Event()
        self.running = 0
        self.finished: list[str] = []
        self.edge = EdgeServer(Router(self._endpoints() + more_endpoints(self)), **{"linger_s": 0.05, **options})
        self.port = 0

    async def client(self) -> RawClient:
        """A new connection."""
        return await RawClient.open(self.port)

    def _endpoints(self) -> list[Endpoint]:
        return [
            Endpoint("GET", "/plain", self._plain),
            Endpoint("GET", "/dressed", self._dressed),
            Endpoint("GET", "/nothing", self._nothing),
            Endpoint("GET", "/same", self._same),
            Endpoint("GET", "/empty", self._empty),
            Endpoint("GET", "/refused", self._refused),
            Endpoint("GET", "/limited", self._limited),
            Endpoint("GET", "/broken", self._broken),
            Endpoint("GET", "/away", self._away),
            Endpoint("GET", "/overloaded", self._overloaded),
            Endpoint("GET", "/cancelled", self._cancelled),
            Endpoint("GET", "/about/{name}", self._about),
            Endpoint("POST", "/echo", self._echo),
            Endpoint("PUT", "/echo", self._echo),
            Endpoint("POST", "/small", self._echo, body_limit=SMALL),
            Endpoint("GET", "/wait", self._wait),
            Endpoint("POST", "/wait", self._wait),
            Endpoint("GET", "/hop", self._hop),
            Endpoint("GET", "/big", self._big),
            Endpoint("GET", "/slow", self._slow, hot=False),
            Endpoint("POST", "/slow-echo", self._echo, hot=False),
            Endpoint("GET", "/slow-broken", self._broken, hot=False),
            Endpoint("GET", "/stream", self._stream, hot=False),
            Endpoint("GET", "/torn-stream", self._torn_stream, hot=False),
            Endpoint("GET", "/endless-stream", self._endless_stream, hot=False),
        ]

    async def _plain(self, request: Request) -> Response:
        self.finished.append(request.query)
        return Response(200, b'{"plain":true}')

    async def _dressed(self, _request: Request) -> Response:
        lines = header("ETag", '"1.00c0ffee"') + header("Cache-Control", "no-store") + header("Location", "/v1/x%2Fy")
        return Response(201, b"<p>", header_block=lines, content_type=b"text/html; charset=utf-8")

    async def _nothing(self, _request: Request) -> Response:
        return Response(204)

    async def _same(self, _request: Request) -> Response:
        return Response(304, header_block=header("ETag", '"1.2"'))

    async def _empty(self, _request: Request) -> Response:
        return Response(200)

    async def _refused(self, _request: Request) -> Response:
        raise CartNotFound

    async def _limited(self, _request: Request) -> Response:
        raise QuantityLimit(10_000)

    async def _broken(self, _request: Request) -> Response:
        raise RuntimeError("broken on purpose")

    async def _away(self, _request: Request) -> Response:
        raise StoreUnavailable("away")

    async def _overloaded(self, _request: Request) -> Response:
        raise StoreOverloaded("full")

    async def _cancelled(self, _request: Request) -> Response:
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(waiting.cancel)
        await waiting
        return Response(200)

    async def _about(self, request: Request) -> Response:
        about = {"params": request.params, "query": request.query, "path": request.path}
        return Response(200, orjson.dumps(about))

    async def _echo(self, request: Request) -> Response:
        return Response(200, request.body, content_type=b"application/octet-stream")

    async def _wait(self, request: Request) -> Response:
        """A hot one that waits for a future."""
        self.running += 1
        try:
            await self.gate.wait()
        finally:
            self.running -= 1
        self.finished.append(request.query)
        return Response(200, b"waited")

    async def _hop(self, _request: Request) -> Response:
        """A hot one that waits a few times."""
        for _ in range(3):
            waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_soon(waiting.set_result, None)
            await waiting
        return Response(200, b"hopped")

    async def _big(self, request: Request) -> Response:
        self.finished.append(request.query)
        return Response(200, b"x" * 100_000, content_type=b"text/plain")

    async def _slow(self, request: Request) -> Response:
        """One with a task of its own."""
        self.running += 1
        async with asyncio.timeout(WITHIN_S):
            await self.gate.wait()
        self.running -= 1
        self.finished.append(request.query)
        return Response(200, b"slow")

    async def _stream(self, _request: Request) -> Response:
        return StreamedResponse(200, self._pieces(), content_type=b"text/event-stream")

    async def _pieces(self) -> AsyncGenerator[bytes, None]:
        yield b"data: 1\n\n"
        await self.gate.wait()
        yield b"data: 2\n\n"

    async def _endless_stream(self, _request: Request) -> Response:
        return StreamedResponse(200, self._endless_pieces(), content_type=b"text/event-stream", is_resumable=True)

    async def _endless_pieces(self) -> AsyncGenerator[bytes, None]:
        self.running += 1
        try:
            while True:
                yield b":\n\n"
                await asyncio.sleep(0.001)
        finally:
            self.running -= 1

    async def _torn_stream(self, _request: Request) -> Response:
        return StreamedResponse(200, self._torn_pieces(), content_type=b"text/event-stream")

    async def _torn_pieces(self) -> AsyncGenerator[bytes, None]:
        yield b"data: 1\n\n"
        await self.gate.wait()
        raise RuntimeError("torn on purpose")


@asynccontextmanager
async def small_server(**options: Any) -> AsyncIterator[Small]:
    """A `Small` that listens on a loopback port."""
    small = Small(**options)
    (listener,) = open_listeners("127.0.0.1", 0, 1)
    server = await asyncio.get_running_loop().create_server(small.edge.protocol, sock=listener, backlog=BACKLOG)
    small.port = server.sockets[0].getsockname()[1]
    try:
        yield small
    finally:
        small.gate.set()
        server.close()
        await small.edge.drain(0.0)
