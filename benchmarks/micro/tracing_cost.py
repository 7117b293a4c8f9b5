"""CPU time that tracing adds to a request: `make bench-tracing`.

In one process, without a socket: a connection reads a small GET, its handler answers, the response is rendered. The cost is
the difference to the same server without tracing; rounds alternate, and the fastest of each kind count. A sampled request has
the span of the request and three inside: two calls of the store that end later, and one block. The export is not included:
it is work of the control process.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import uvloop

from benchmarks.replay.tables import table
from gateway.build import MODE
from gateway.http.endpoint import Endpoint
from gateway.http.message import Request, Response
from gateway.http.router import Router
from gateway.process.worker import GC_THRESHOLDS
from gateway.server.server import EdgeServer
from gateway.tracing.request_tracer import RequestTracer
from primitives.tracing.spans import CLIENT, child_of_open, span
from primitives.tracing.tracer import Tracer

REQUESTS: Final = 20_000
ROUNDS: Final = 15
# As a browser behind a balancer sends it; its caller does not record the trace.
_GET: Final = (
    b"GET /x HTTP/1.1\r\nHost: shop.example\r\nAccept: application/json\r\n"
    b"traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00\r\n\r\n"
)
_ANSWER: Final = Response(200, b'{"id":"1"}')
SPANS: Final = 4


class Result(msgspec.Struct, frozen=True):
    """Microseconds of CPU a request: without tracing, and the additions to one that is not sampled and to one that is."""

    mode: str
    off_us: float
    unsampled_us: float
    sampled_us: float


class _Transport(asyncio.Transport):
    """Counts responses, each of which is one write."""

    def __init__(self) -> None:
        super().__init__()
        self.responses = 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """The address of a client."""
        return ("127.0.0.1", 40000) if name == "peername" else default

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Count a response."""
        self.responses += bytes(data[:12]).startswith(b"HTTP/1.1 200")

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is buffered."""

    def is_closing(self) -> bool:
        """Never."""
        return False

    def abort(self) -> None:
        """Nothing is open."""

    def close(self) -> None:
        """Nothing is open."""


def _plain(_request: Request) -> Response:
    return _ANSWER


def _with_spans(_request: Request) -> Response:
    first = child_of_open("EVALSHA begin", CLIENT, {"db.system.name": "redis", "db.operation.name": "EVALSHA"})
    with span("rate limits"):
        second = child_of_open("HGETALL", CLIENT, {"db.system.name": "redis", "db.operation.name": "HGETALL"})
    for call in (first, second):
        if call is not None:
            call.end()
    return _ANSWER


def _server(tracer: Tracer | None, *, has_spans: bool = False) -> EdgeServer:
    server = EdgeServer(Router([Endpoint("GET", "/x", _with_spans if has_spans else _plain)]))
    if tracer is not None:
        server.tracer = RequestTracer(tracer, trace_prefix="ab" * 8)
    return server


def _round_us(server: EdgeServer, tracer: Tracer | None) -> float:
    connection = server.protocol()
    transport = _Transport()
    connection.connection_made(transport)
    receive = connection.data_received
    began = time.process_time()
    for _ in range(REQUESTS):
        receive(_GET)
    took_s = time.process_time() - began
    assert transport.responses == REQUESTS
    connection.connection_lost(None)
    while tracer is not None and list(tracer.take(1 << 30)):
        pass
    return took_s / REQUESTS * 1e6


async def measure(rounds: int) -> Result:
    """The fastest of so many rounds of each kind, which alternate."""
    unsampled = Tracer(share=0.0, slow_s=60.0)
    sampled = Tracer(share=1.0, slow_s=60.0, max_waiting=REQUESTS * SPANS)
    servers = [(_server(None), None), (_server(unsampled), unsampled), (_server(sampled, has_spans=True), sampled)]
    took: list[list[float]] = [[] for _ in servers]
    for _ in range(rounds):
        for kind, (server, tracer) in enumerate(servers):
            gc.collect()
            took[kind].append(_round_us(server, tracer))
            await asyncio.sleep(0)
    off, not_sampled, is_sampled = (min(each) for each in took)
    return Result(MODE, off, not_sampled - off, is_sampled - off)


def report(result: Result) -> str:
    """The result as a table."""
    rows = [
        ("without tracing", f"{result.off_us:.2f}"),
        ("added to a request that is not sampled", f"{result.unsampled_us:+.2f}"),
        (f"added to a sampled one, of {SPANS} spans", f"{result.sampled_us:+.2f}"),
    ]
    return table([f"µs of CPU a request ({result.mode})", ""], rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.micro.tracing_cost", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", type=Path, help="a file for the result")
    options = parser.parse_args(arguments)
    gc.set_threshold(*GC_THRESHOLDS)
    result = uvloop.run(measure(options.rounds))
    print(report(result))
    if options.json is not None:
        options.json.write_bytes(msgspec.json.encode(result))


if __name__ == "__main__":
    main()
