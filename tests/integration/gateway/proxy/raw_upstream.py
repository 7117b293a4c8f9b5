"""An upstream that runs the script of a test, valid or not."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from multidict import CIMultiDict

from gateway.config.policies import Forward, HealthCheck, Upstream
from gateway.http.message import Handler, Request, Response, StreamedResponse, resolve
from gateway.proxy.forward import forward
from gateway.proxy.upstream import ActiveUpstream
from gateway.proxy.upstreams import Upstreams

# Below those that the kernel hands out.
_UNUSED_PORTS = itertools.cycle(range(1, 7))
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Peer:
    """The gateway's end of a connection, as the upstream sees it."""

    def __init__(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.number = number
        self.reader = reader
        self.writer = writer

    async def request(self) -> bytes:
        """Read a request with its body; raises `EOFError` when the gateway closes instead."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        if found := re.search(rb"\r\nContent-Length: (\d+)\r\n", head):
            return head + await self.reader.readexactly(int(found[1]))
        if b"\r\nTransfer-Encoding: chunked\r\n" in head:
            return head + await self.reader.readuntil(b"0\r\n\r\n")
        return head

    async def send(self, *pieces: bytes) -> None:
        """Send the pieces one by one: the gateway can read each before the next is sent."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            for _ in range(5):
                await asyncio.sleep(0)

    def reset(self) -> None:
        """Reset the connection (RST)."""
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def closed(self) -> None:
        """Wait until the gateway has closed the connection."""
        try:
            while await self.reader.read(65536):
                pass
        except ConnectionError:
            pass


Script = Callable[[Peer], Awaitable[Any]]


def always(response: bytes) -> Script:
    """Send the same response to every request."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(response)

    return script


def once(*pieces: bytes) -> Script:
    """Respond to one request with these pieces, then close."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(*pieces)

    return script


class RawUpstream:
    """A server on this machine; `script` is run for each connection and closes it when it ends."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.requests: list[bytes] = []
        self.connections = 0
        self.open = 0
        self.url = ""
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**24)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """Stop listening and close all connections."""
        assert self._server is not None
        self._server.close()
        for task in [*self._tasks]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        peer = Peer(self.connections, reader, writer)
        plain = peer.request

        async def noted() -> bytes:
            self.requests.append(await plain())
            return self.requests[-1]

        peer.request = noted  # type: ignore[method-assign]
        try:
            await self.script(peer)
        except (EOFError, ConnectionError):
            pass
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            self.open -= 1
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


def rule(**options: Any) -> Forward:
    """A rule for all paths, with short timeouts."""
    return Forward(**{"prefix": "/", "upstream": "shop", "timeout_s": 0.3, "idle_timeout_s": 0.3, **options})


def request(
    method: str = "GET",
    path: str = "/things",
    query: str = "",
    *,
    body: bytes = b"",
    peer: str = "10.0.0.9",
    raw: tuple[tuple[str, str], ...] = (),
    **fields: str,
) -> Request:
    """A request; `x_some_field="…"` is a header field, and so is each of `raw`, as it is."""
    headers = CIMultiDict([("Host", "shop.example")] if "host" not in fields else [])
    for name, value in fields.items():
        headers.add(name.replace("_", "-"), value)
    for name, value in raw:
        headers.add(name, value)
    return Request(method, path, query, headers, body, "0123456789abcdef", (), peer)


class Gate:
    """The gateway's side: a handler that forwards to upstreams."""

    def __init__(self, upstreams: Upstreams, handler: Handler) -> None:
        self.upstreams = upstreams
        self.handler = handler

    @property
    def upstream(self) -> ActiveUpstream:
        """The upstream."""
        return self.upstreams["shop"]

    async def send(self, asked: Request | None = None) -> Response:
        """Forward a request."""
        return await resolve(self.handler(asked or request()))

    async def body_of(self, asked: Request | None = None) -> bytes:
        """Forward a request and read its whole body."""
        return await whole(await self.send(asked))


async def whole(response: Response) -> bytes:
    """The whole body of a response, streamed or not."""
    if isinstance(response, StreamedResponse):
        return b"".join([piece async for piece in response.chunks])
    return response.body


@asynccontextmanager
async def forwarding(
    *scripts: Script | str, table: dict[str, Any] | None = None, health: HealthCheck | None = None, **options: Any
) -> AsyncIterator[tuple[Gate, list[RawUpstream]]]:
    """A gate to targets that follow these scripts, or are at these addresses. `options` are those of `forward` or the rule."""
    servers = [RawUpstream(script) for script in scripts if not isinstance(script, str)]
    for server in servers:
        await server.start()
    unused = iter(servers)
    targets = tuple(script if isinstance(script, str) else next(unused).url for script in scripts)
    upstreams = Upstreams([Upstream(name="shop", targets=targets, health=health, **(table or {}))])
    own = {name: options.pop(name) for name in ("guard", "trusts", "scheme") if name in options}
    try:
        yield Gate(upstreams, forward(rule(**options), upstreams["shop"], **own)), servers
    finally:
        await upstreams.close()
        for server in servers:
            await server.stop()


def unused_url() -> str:
    """An address at which no server listens, and that no other test is given meanwhile."""
    return f"http://127.0.0.1:{next(_UNUSED_PORTS)}"
