"""Forwarding behind the real server: responses that clients get of valid and invalid upstreams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.http.endpoint import Endpoint
from gateway.http.message import Request, Response
from gateway.http.router import Router
from gateway.server.server import EdgeServer
from tests.integration.gateway.proxy.raw_upstream import OK, Gate, Peer, RawUpstream, Script, always, forwarding
from tests.integration.gateway.small_server import get, post
from tests.raw_http import RawClient
from tests.waiting import WITHIN_S, until

PIECE = bytes(range(256)) * 256


class Front:
    """The server, the upstream behind it, and new connections to it."""

    def __init__(self, edge: EdgeServer, gate: Gate, upstream: RawUpstream) -> None:
        self.edge = edge
        self.gate = gate
        self.upstream = upstream
        self.port = 0
        self.clients: list[RawClient] = []

    async def client(self) -> RawClient:
        """A new connection, closed at the end."""
        self.clients.append(await RawClient.open(self.port))
        return self.clients[-1]


@asynccontextmanager
async def front(script: Script, **options: Any) -> AsyncIterator[Front]:
    options = {"timeout_s": 5.0, "idle_timeout_s": 5.0, **options}

    async def own(_request: Request) -> Response:
        return Response(200, b'"own"')

    async with forwarding(script, prefix="/shop/", **options) as (gate, servers):
        forwarded = Endpoint("*", "/shop/*", gate.handler, stream_above=2**16, body_limit=2**24)
        edge = EdgeServer(Router([forwarded, Endpoint("GET", "/own", own)]), linger_s=0.05)
        made = Front(edge, gate, servers[0])
        server = await asyncio.get_running_loop().create_server(edge.protocol, "127.0.0.1", 0)
        made.port = server.sockets[0].getsockname()[1]
        try:
            yield made
        finally:
            for client in made.clients:
                client.writer.close()
            server.close()
            await edge.drain(0.1)


async def test_a_small_response_needs_no_task() -> None:
    response = b'HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nETag: "1"\r\nContent-Length: 5\r\n\r\nhello'
    async with front(always(response)) as made:
        client = await made.client()
        for _ in range(3):
            got = await client.request(get("/shop/a%20b?c=d"))
            assert (got.status, got.body, got["Content-Type"], got["ETag"]) == (200, b"hello", "text/plain", '"1"')
        assert (await client.request(post("/shop/", b"{}"))).body == b"hello"
        assert not made.edge.tasks
        assert made.upstream.connections == 1
        asked = made.upstream.requests[0]
        assert asked.startswith(b"GET /shop/a%20b?c=d HTTP/1.1\r\nHost: shop\r\n")
        assert b"\r\nX-Forwarded-For: 127.0.0.1\r\n" in asked


@pytest.mark.parametrize("framing", ["counted", "chunked"])
async def test_a_long_response_is_streamed_to_the_client(framing: str) -> None:
    head, body = b"Content-Length: %d" % (len(PIECE) * 20), PIECE * 20
    if framing == "chunked":
        head = b"Transfer-Encoding: chunked"
        body = b"".join(b"%x\r\n%b\r\n" % (len(PIECE), PIECE) for _ in range(20)) + b"0\r\n\r\n"
    async with front(always(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n%b" % (head, body))) as made:
        client = await made.client()
        for _ in range(3):
            assert (await client.request(get("/shop/long"))).body == PIECE * 20
        assert made.upstream.connections == 1


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("pieces", "body"),
    [
        ([CHUNKED + b"5\r\nhello\r\n0\r\nX: y\r\n\r\n"], b"hello"),
        ([CHUNKED, b"5\r\nhel", b"lo\r\n0\r\n\r\n"], b"hello"),
        ([CHUNKED + b"%x\r\n%b\r\n" % (len(PIECE * 3), PIECE * 3), b"0\r\n\r\n"], PIECE * 3),
        ([CHUNKED + b"0\r\n\r\n"], b""),
        ([b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello"], b"hello"),
    ],
    ids=["whole", "in pieces", "long", "empty", "up to the end"],
)
async def test_http_1_0_gets_a_response_of_unknown_length_without_chunks(pieces: list[bytes], body: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(*pieces)

    async with front(script) as made:
        client = await made.client()
        await client.send(b"GET /shop/x HTTP/1.0\r\nHost: shop.example\r\nConnection: keep-alive\r\n\r\n")
        async with asyncio.timeout(WITHIN_S):
            head, _, received = (await client.reader.read()).partition(b"\r\n\r\n")
        assert received == body
        assert b"\r\nConnection: close" in head
        assert b"Transfer-Encoding" not in head


async def test_http_1_0_keeps_the_connection_for_a_response_of_known_length() -> None:
    async with front(always(OK)) as made:
        client = await made.client()
        for _ in range(2):
            got = await client.request(b"GET /shop/x HTTP/1.0\r\nHost: shop\r\nConnection: keep-alive\r\n\r\n")
            assert (got.body, got["Connection"]) == (b"ok", "keep-alive")


async def test_head_returns_the_length_of_a_get() -> None:
    async with front(always(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n")) as made:
        client = await made.client()
        for _ in range(2):
            got = await client.request(get("/shop/", method="HEAD"))
            assert (got["Content-Length"], got.body) == ("500", b"")


async def test_a_truncated_response_closes_the_clients_connection() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nbegun")

    async with front(script) as made:
        client = await made.client()
        with pytest.raises((EOFError, ConnectionError)):
            await client.request(get("/shop/"))


async def test_a_client_that_disconnects_stops_the_upstream() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % 10**10)
        while True:
            peer.writer.write(PIECE)
            await peer.writer.drain()

    async with front(script) as made:
        client = await made.client()
        await client.send(get("/shop/"))
        await client.reader.readexactly(10)
        assert made.upstream.open == 1
        client.writer.transport.abort()
        await until(lambda: made.upstream.open == 0)
        assert made.gate.upstream.targets[0].outstanding == 0


async def test_a_long_body_is_streamed_to_the_upstream() -> None:
    async with front(always(OK)) as made:
        client = await made.client()
        body = PIECE * 40
        got = await client.request(get("/shop/", f"Content-Length: {len(body)}", method="POST"), body)
        assert got.body == b"ok"
        head, _, sent = made.upstream.requests[0].partition(b"\r\n\r\n")
        assert sent == body
        assert b"Content-Length: %d" % len(body) in head


async def test_a_client_that_disconnects_in_its_body_frees_the_upstream() -> None:
    async with front(always(OK)) as made:
        client = await made.client()
        await client.send(get("/shop/", "Content-Length: 1000000", method="POST"), b"begun")
        await until(lambda: made.upstream.open == 1)
        client.writer.transport.abort()
        await until(lambda: made.upstream.open == 0)
        assert made.upstream.requests == []
        await until(lambda: made.gate.upstream.targets[0].outstanding == 0)


async def test_a_response_before_the_end_of_the_body_reaches_the_client() -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
        await peer.closed()

    async with front(script) as made:
        client = await made.client()
        got = await client.request(get("/shop/", "Content-Length: 1000000", method="POST"), b"begun")
        assert (got.status, got.body) == (403, b"no")


async def test_a_websocket_is_rejected_with_a_problem() -> None:
    async with front(always(OK)) as made:
        client = await made.client()
        got = await client.request(
            get(
                "/shop/socket",
                "Connection: Upgrade",
                "Upgrade: websocket",
                "Sec-WebSocket-Version: 13",
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            )
        )
        assert (got.status, got.problem) == (501, "not-implemented")
        assert made.upstream.connections == 0


async def test_an_upstream_that_hangs_does_not_affect_other_routes() -> None:
    async def hang(peer: Peer) -> None:
        await peer.request()
        await peer.closed()

    async with front(hang, timeout_s=60.0) as made:
        hung = [await made.client() for _ in range(20)]
        for client in hung:
            await client.send(get("/shop/"))
        await until(lambda: len(made.upstream.requests) == 20)
        other = await made.client()
        for _ in range(20):
            assert (await other.request(get("/own"))).body == b'"own"'


@pytest.mark.parametrize("path", ["/shop/../own", "/shop/%2e%2e/own", "/shop/a%2fb", "/shop/a%00b", "/shop/a\\b"])
async def test_an_ambiguous_path_is_rejected_before_anything_is_forwarded(path: str) -> None:
    async with front(always(OK)) as made:
        client = await made.client()
        assert (await client.request(get(path))).status == 400
        assert made.upstream.connections == 0
