"""Two hundred clients of each kind that send or read slowly, or not at all: what they make the server hold, and their end.

Their own ends are bare sockets, so that what is traced is the server's.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import tracemalloc
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from typing import cast

import pytest

from gateway.http.endpoint import Endpoint
from gateway.http.error_responses import error_response
from gateway.http.message import Request, Response, StreamedResponse
from gateway.server.connection import Connection
from tests.integration.gateway.small_server import Small, chunked, get, post, small_server
from tests.waiting import until

CLIENTS = 60
# What a kind of client may make the server hold, and what any connection takes that is only open.
HELD_MOST = 64 * 1024
OPEN_MOST = 8 * 1024

BEGUN = b"GET /plain HTTP/1.1\r\nHost: shop\r\n"
LARGE_ANSWER = b"x" * 10_000_000
UPLOAD = get("/upload", "Content-Length: 10000000", method="POST")


class Slow:
    """A client that sends what it is told and never reads."""

    def __init__(self, port: int) -> None:
        self.socket = socket.socket()
        # So that little of a response finds room on its side.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setblocking(False)
        self.left = b""

    def send(self, data: bytes) -> None:
        """As much of it as the server takes in; the rest is kept."""
        self.left += data
        self.push()

    def push(self) -> None:
        try:
            while self.left:
                self.left = self.left[self.socket.send(self.left[:65536]) :]
        except BlockingIOError:
            pass
        except ConnectionError:
            self.left = b""


def more_endpoints(small: Small) -> list[Endpoint]:
    """Routes that consume streamed bodies, or send endless responses."""

    async def upload(request: Request) -> Response:
        try:
            if request.stream is not None:
                async for _ in request.stream:
                    await small.gate.wait()
        except Exception as error:  # noqa: BLE001 - as forwarding does
            return error_response(error, request, request.path)
        return Response(200, b"taken")

    async def large(_request: Request) -> Response:
        return Response(200, LARGE_ANSWER, content_type=b"text/plain")

    async def flood(_request: Request) -> Response:
        return StreamedResponse(200, _flood(), content_type=b"text/plain")

    return [
        Endpoint("POST", "/upload", upload, stream_above=0, body_limit=2**30),
        Endpoint("POST", "/form", upload, stream_above=2**16, body_limit=2**30),
        Endpoint("GET", "/large", large),
        Endpoint("GET", "/slow-large", large, hot=False),
        Endpoint("GET", "/flood", flood),
        Endpoint("POST", "/flood", flood, stream_above=2**16, body_limit=2**30),
    ]


async def _flood() -> AsyncGenerator[bytes, None]:
    while True:
        yield bytes(16 * 1024)


@asynccontextmanager
async def served(**options: float) -> AsyncIterator[Small]:
    async with small_server(more_endpoints=more_endpoints, **options) as small:
        yield small


def connections(small: Small) -> list[Connection]:
    return cast(list[Connection], list(small.edge.connections))


async def resolve(measure: Callable[[], int]) -> int:
    """Wait until it changes no more."""
    seen: list[int] = []

    def is_steady() -> bool:
        seen.append(measure())
        return len(seen) > 10 and len(set(seen[-10:])) == 1

    await until(is_steady)
    return seen[-1]


KINDS = {
    "says nothing": b"",
    "a header section that stops": BEGUN + b"X: y",
    "large fields, and then no more": BEGUN + b"".join(b"X-%d: %b\r\n" % (n, b"y" * 7_900) for n in range(3)),
    "many fields, and then no more": BEGUN + b"".join(b"X-%d: y\r\n" % n for n in range(98)),
    "half a body": get("/echo", "Content-Length: 65536", method="POST") + b"x" * 30_000,
    "half a body for a slow handler": get("/slow-echo", "Content-Length: 65536", method="POST") + b"x" * 30_000,
    "chunks of a byte": get("/echo", "Transfer-Encoding: chunked", method="POST") + b"1\r\nx\r\n" * 2_000,
    "an extension that goes on": get("/echo", "Transfer-Encoding: chunked", method="POST") + b"1;" + b"x" * 900,
    "trailers that go on": chunked("/echo", b"x")[:-2] + b"".join(b"X-%d: %b\r\n" % (n, b"y" * 990) for n in range(20)),
    "half a form": get("/form", "Content-Length: 65536", method="POST") + b"x" * 65_000,
    "half a form in chunks": get("/form", "Transfer-Encoding: chunked", method="POST")
    + b"400\r\n"
    + b"x" * 1024
    + b"\r\n",
    "an upload nobody takes": UPLOAD + b"x" * 400_000,
    "an upload in chunks nobody takes": get("/upload", "Transfer-Encoding: chunked", method="POST")
    + b"1\r\nx\r\n" * 20_000,
    "a response not read": get("/large"),
    "a response of the normal way not read": get("/slow-large"),
    "a stream not read": get("/flood"),
    "a stream of the normal way not read": get("http://shop/flood"),
    "a stream not read while it uploads": get("/flood", "Content-Length: 10000000", method="POST") + b"x" * 10_000,
    "small responses not read": get("/plain") * 10_000,
    "small responses of the normal way not read": get("http://shop/plain") * 5_000,
    "requests behind one that waits": get("/wait") + get("/plain") * 10_000,
    "requests behind one that waits the normal way": get("/slow") + get("/plain") * 10_000,
    "bodies behind one that waits": get("/wait") + post("/echo", b"x" * 20_000) * 20,
    "a long body behind one that waits": get("/wait") + UPLOAD + b"x" * 400_000,
}


@pytest.mark.parametrize("sent", KINDS.values(), ids=KINDS.keys())
async def test_no_slow_client_makes_the_server_hold_more_than_64_kib(sent: bytes) -> None:
    async with served(receive_timeout_s=600.0, send_timeout_s=600.0) as small:
        async with await small.client() as warm:
            assert (await warm.request(get("/plain"))).status == 200
            assert (await warm.request(post("/slow-echo", b"x"))).status == 200
        await until(lambda: not small.edge.connections)
        with ExitStack() as stack:
            clients = [Slow(small.port) for _ in range(CLIENTS)]
            for client in clients:
                stack.enter_context(client.socket)
            small.finished = Forgetful()
            gc.collect()
            tracemalloc.start()
            stack.callback(tracemalloc.stop)
            before = tracemalloc.get_traced_memory()[0]
            for client in clients:
                client.send(sent)
            mine = sum(len(client.left) for client in clients)
            await until(lambda: len(small.edge.connections) == CLIENTS)

            def push() -> int:
                for client in clients:
                    client.push()
                return sum(len(client.left) for client in clients)

            mine_now = await resolve(push)
            gc.collect()
            held = tracemalloc.get_traced_memory()[0] - before - mine_now
            assert mine_now <= mine
            assert held / CLIENTS <= HELD_MOST + OPEN_MOST
            unsent = [
                connection._transport.get_write_buffer_size()
                for connection in connections(small)
                if connection._transport
            ]
            assert max(unsent, default=0) <= HELD_MOST


class Forgetful(list[str]):
    """Keeps no record, which would count."""

    def append(self, _item: str) -> None:
        """Drop it."""


# Their end


DRIBBLES = {
    "a header section": (BEGUN, b"X"),
    "a header section behind a request": (get("/plain") + BEGUN, b"X"),
    "a body": (get("/echo", "Content-Length: 60000", method="POST"), b"x"),
    "a body for a slow handler": (get("/slow-echo", "Content-Length: 60000", method="POST"), b"x"),
    "an upload": (UPLOAD, b"x"),
    "a form": (get("/form", "Content-Length: 60000", method="POST"), b"x"),
    "a form in chunks": (get("/form", "Transfer-Encoding: chunked", method="POST"), b"1\r\nx\r\n"),
    "an upload in chunks": (get("/upload", "Transfer-Encoding: chunked", method="POST"), b"1\r\nx\r\n"),
    "an extension": (get("/echo", "Transfer-Encoding: chunked", method="POST") + b"1;", b"x"),
    "an extension of an upload": (get("/upload", "Transfer-Encoding: chunked", method="POST") + b"1;", b"x"),
    "trailers": (chunked("/echo", b"x")[:-2], b"X-Y: z\r\n"),
    "trailers of an upload": (chunked("/upload", b"x")[:-2], b"X-Y: z\r\n"),
}


@pytest.mark.parametrize(("begun", "drop"), DRIBBLES.values(), ids=DRIBBLES.keys())
async def test_a_dribbling_client_is_cut_off(begun: bytes, drop: bytes) -> None:
    async with served(receive_timeout_s=0.2) as small, await small.client() as client:
        small.gate.set()
        await client.send(begun)
        said = client.reader._buffer  # type: ignore[attr-defined]
        while b"HTTP/1.1 408 " not in said and b"HTTP/1.1 431 " not in said:
            assert not client.writer.is_closing()
            await client.send(drop)
            # Slower than any pace that is asked for, and far faster than the time limit of a single piece.
            await asyncio.sleep(0.01)
        await until(lambda: not small.edge.connections)


@pytest.mark.parametrize("sent", [get("/large"), get("/slow-large"), get("/flood"), get("http://shop/flood")])
async def test_a_client_that_does_not_read_is_cut_off(sent: bytes) -> None:
    async with served(send_timeout_s=0.1) as small:
        clients = [Slow(small.port) for _ in range(20)]
        for client in clients:
            client.send(sent)
        await until(lambda: len(small.edge.connections) == 20)
        await until(lambda: not small.edge.connections)
        for client in clients:
            client.socket.close()


async def test_a_client_that_leaves_the_end_of_a_response_unread_is_cut_off() -> None:
    """What is left is too little for the transport to complain."""
    async with served(send_timeout_s=0.1) as small:
        slow = Slow(small.port)
        slow.send(get("/plain") * 3_000)

        def push() -> int:
            slow.push()
            return len(slow.left)

        await until(lambda: small.edge.connections)
        (connection,) = connections(small)
        await until(lambda: (push(), connection._transport and connection._transport.get_write_buffer_size())[1])
        await until(lambda: not small.edge.connections)
        slow.socket.close()


async def test_a_slow_but_steady_reader_gets_the_whole_response() -> None:
    async with served(send_timeout_s=1.0) as small, await small.client() as client:
        await client.send(get("/large"))
        head = await client.reader.readuntil(b"\r\n\r\n")
        assert b"Content-Length: 10000000\r\n" in head
        received = 0
        while received < len(LARGE_ANSWER):
            received += len(await client.reader.read(2**16))
            await asyncio.sleep(0.01)  # longer than the timeout in all


async def test_an_upload_that_keeps_its_pace_is_taken_however_long_it_is() -> None:
    async with served(receive_timeout_s=1.0) as small, await small.client() as client:
        small.gate.set()
        begun = asyncio.get_running_loop().time()
        await client.send(get("/upload", "Transfer-Encoding: chunked", method="POST"))
        while asyncio.get_running_loop().time() - begun < 2.0:
            await client.send(b"400\r\n" + b"x" * 1024 + b"\r\n")
            await asyncio.sleep(0.01)
        assert (await client.request(b"0\r\n\r\n", method="POST")).body == b"taken"
