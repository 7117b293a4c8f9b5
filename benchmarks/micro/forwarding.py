"""CPU time of forwarding a request, beside aiohttp's client and bare protocols, without a server in front.

`python -m benchmarks.micro.forwarding` runs each in turn on one core, the upstream on another, 64 requests at a time. CPU time is this
process's own. The best of three rounds is printed; run it on a quiet machine.
"""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, cast

import aiohttp
import uvloop
from multidict import CIMultiDict

from benchmarks.harness.gateway_process import await_port, start_child, stop_child
from benchmarks.harness.ports import free_port
from benchmarks.harness.processes import CpuTime, cpu_time, pin
from benchmarks.replay.tables import table
from gateway.config.policies import Forward, Upstream
from gateway.http.message import Request, Response
from gateway.proxy.forward import forward
from gateway.proxy.upstreams import Upstreams

CONCURRENCY = 64
REQUESTS = 40_000
ROUNDS = 3
_OWN_CORE, _UPSTREAM_CORE = 0, 1
_FIELDS = (
    ("Host", "shop.example"),
    ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko"),
    ("Accept", "application/json, text/plain, */*"),
    ("Accept-Encoding", "gzip, br"),
    ("Cookie", "session=abcdef0123456789"),
    ("X-Forwarded-For", "203.0.113.7"),
    ("X-Forwarded-Proto", "https"),
    ("Connection", "keep-alive"),
)
Start = Callable[[], Coroutine[Any, Any, object]]


class Turns:
    """Runs coroutines that await futures only, one after the other and without tasks, as the server does."""

    def __init__(self, start: Start, count: int) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._start = start
        self._left = count
        self._running = start()
        self._go_on()

    def _go_on(self, _done: object = None) -> None:
        while True:
            try:
                waits_for = self._running.send(None)
            except StopIteration:
                self._left -= 1
                if not self._left:
                    self.done.set_result(None)
                    return
                self._running = self._start()
            else:
                waits_for.add_done_callback(self._go_on)
                return


async def in_turns(start: Start) -> None:
    """All requests, without tasks."""
    await asyncio.gather(*(Turns(start, REQUESTS // CONCURRENCY).done for _ in range(CONCURRENCY)))


async def in_tasks(send: Callable[[], Awaitable[object]]) -> None:
    """All requests, in a task for each of those that run at a time."""

    async def one_after_the_other() -> None:
        for _ in range(REQUESTS // CONCURRENCY):
            await send()

    await asyncio.gather(*(one_after_the_other() for _ in range(CONCURRENCY)))


async def by_forwarding(port: int) -> CpuTime:
    """The proxy of the gateway."""
    upstreams = Upstreams([Upstream(name="shop", targets=(f"http://127.0.0.1:{port}",))])
    handler = forward(Forward(prefix="/shop/", upstream="shop"), upstreams["shop"], is_trusted=lambda _peer: True)
    headers = CIMultiDict(_FIELDS)

    def start() -> Coroutine[Any, Any, Response]:
        request = Request("GET", "/shop/products/123", "page=2", headers, b"", "0123456789abcdef", (), "10.0.0.1")
        return cast("Coroutine[Any, Any, Response]", handler(request))

    spent = await measured(lambda: in_turns(start))
    assert [*upstreams["shop"].outcomes] == ["2xx"]
    await upstreams.close()
    return spent


async def by_client(port: int) -> CpuTime:
    """The client of aiohttp."""
    headers = dict(_FIELDS)
    connector = aiohttp.TCPConnector(limit=CONCURRENCY)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:

        async def send() -> None:
            url = f"http://127.0.0.1:{port}/shop/products/123?page=2"
            async with session.get(url, headers=headers) as response:
                await response.read()

        return await measured(lambda: in_tasks(send))


class _Bare(asyncio.Protocol):
    """A client that takes each chunk for a complete response."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.response.set_result(data)

    def send(self, request: bytes) -> asyncio.Future[bytes]:
        self.response: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self.response


async def by_bare_protocols(port: int) -> CpuTime:
    """The floor: the same bytes, without encoding and parsing."""
    request = b"GET / HTTP/1.1\r\n" + b"".join(f"{name}: {value}\r\n".encode() for name, value in _FIELDS) + b"\r\n"
    loop = asyncio.get_running_loop()
    idle = [(await loop.create_connection(_Bare, "127.0.0.1", port))[1] for _ in range(CONCURRENCY)]

    async def send() -> None:
        connection = idle.pop()
        await connection.send(request)
        idle.append(connection)

    spent = await measured(lambda: in_turns(send))
    for connection in idle:
        connection.transport.close()
    return spent


async def measured(run: Callable[[], Awaitable[None]]) -> CpuTime:
    """CPU time of the second of two runs: the first opens the connections."""
    await run()
    before = cpu_time(os.getpid())
    await run()
    return cpu_time(os.getpid()).since(before)


def main() -> int:
    """Measure and print."""
    port = free_port()
    upstream = start_child([sys.executable, "-m", "benchmarks.upstreams.canned", str(port)])
    try:
        pin(upstream.pid, _UPSTREAM_CORE)
        pin(os.getpid(), _OWN_CORE)
        await_port(upstream, port)
        rows = []
        for name, run in (
            ("bare protocols", by_bare_protocols),
            ("forwarding", by_forwarding),
            ("aiohttp's client", by_client),
        ):
            spent = [uvloop.run(run(port)) for _ in range(ROUNDS)]
            least = min(spent, key=lambda each: each.total_s)
            rows.append(
                (name, *(f"{each / REQUESTS * 1e6:.1f}" for each in (least.user_s, least.system_s, least.total_s)))
            )
        print(table((f"{CONCURRENCY} at a time, best of {ROUNDS}", "user µs", "kernel µs", "both"), rows))
    finally:
        stop_child(upstream)
    return 0


if __name__ == "__main__":
    sys.exit(main())
