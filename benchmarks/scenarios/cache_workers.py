"""The response cache with several workers: fetches, hits and memory, with one cache for the host and one for each worker.

`python -m benchmarks.scenarios.cache_workers [--workers 1 2 4] [--requests N]`.
"""

import argparse
import asyncio
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Final

import aiohttp

from benchmarks.harness.command import exit_code_of
from benchmarks.harness.gateway_process import GatewayProcess, HarnessError, serving
from benchmarks.harness.processes import memory
from benchmarks.harness.results import Result, results_table, write_results

MB: Final = 1_000_000
PAGES: Final = 2_000
PAGE_BYTES: Final = 10_000
CONNECTIONS: Final = 64
COLD_CLIENTS: Final = 50
COLD_ROUNDS: Final = 20
# Length of a cold page, and whether it is chunked.
COLD: Final = ((1_000, False), (200_000, False), (200_000, True))
_PIECE: Final = 16_384
_CONFIGURATION: Final = """\
[shedding]
enabled = false

[cache]
host_memory_bytes = {host_memory_bytes}

[[upstreams]]
name = "origin"
targets = ["http://127.0.0.1:{port}"]

[[routes]]
prefix = "/"
upstream = "origin"
cache = true
"""


class Origin:
    """Pages of the length that the path names: `/<name>/<length>`, or `/<name>/<length>/chunked`; counts the fetches."""

    def __init__(self) -> None:
        self.fetches: Counter[str] = Counter()
        self.port = 0

    async def start(self) -> asyncio.Server:
        """Serve on a free port."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                await self._respond(head.split(b" ", 2)[1].decode(), writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            # Cancelled at the end; up to Python 3.11 asyncio logs a cancelled stream task as an error.
            pass
        finally:
            writer.close()

    async def _respond(self, path: str, writer: asyncio.StreamWriter) -> None:
        self.fetches[path] += 1
        _, _, length, *rest = path.split("/")
        body = bytes(int(length))
        framing = b"Transfer-Encoding: chunked" if rest else b"Content-Length: %d" % len(body)
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nCache-Control: max-age=3600\r\n%b\r\n\r\n" % framing
        )
        for start in range(0, len(body), _PIECE):
            piece = body[start : start + _PIECE]
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if rest else piece)
            await writer.drain()
        if rest:
            writer.write(b"0\r\n\r\n")


def main() -> int:
    """Entry point of `make bench-cache-workers`; 0 when everything could be measured."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scenarios.cache_workers", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4], help="numbers of worker processes")
    parser.add_argument("--requests", type=int, default=20_000, help="requests of the first part")
    args = parser.parse_args()
    return exit_code_of("cache_workers", lambda: _measure_all(args.workers, args.requests))


def _measure_all(numbers_of_workers: Sequence[int], requests: int) -> None:
    """Measure with and without the memory of the host, print the results and write results/cache_workers.json."""
    results: list[Result] = []
    for host_memory_bytes in (64 * 1024**2, 0):
        for workers in numbers_of_workers:
            results += asyncio.run(measure(workers, host_memory_bytes, requests))
    print(results_table(results))
    settings = {"requests": requests, "pages": PAGES, "page_bytes": PAGE_BYTES, "cold_clients": COLD_CLIENTS}
    print(f"\nwritten to {write_results('cache_workers', settings, {}, results)}")


async def measure(workers: int, host_memory_bytes: int, requests: int) -> list[Result]:
    """Requests of pages by popularity, then cold pages that many clients want at once."""
    origin = Origin()
    server = await origin.start()
    name = f"{workers} {'worker' if workers == 1 else 'workers'}, one cache {'for the host' if host_memory_bytes else 'each'}"
    async with server:
        with tempfile.TemporaryDirectory(prefix="peakgate-cache-") as folder:
            path = Path(folder, "peakgate.toml")
            configuration = _CONFIGURATION.format(port=origin.port, host_memory_bytes=host_memory_bytes)
            path.write_text(configuration)  # noqa: ASYNC240 - before anything is measured
            with serving("--config", str(path), "--workers", str(workers), catalogue=None) as gateway:
                before = _memory(gateway)
                await _browse(gateway, requests)
                results = _hits(name, origin, requests)
                results.append(Result(f"{name}: memory", (_memory(gateway) - before) / MB, "MB"))
                results += [
                    Result(
                        f"{name}: {COLD_CLIENTS} cold clients, {length:,} bytes{' chunked' * is_chunked}",
                        fetches,
                        "fetches",
                    )
                    for length, is_chunked in COLD
                    if (fetches := await _cold(gateway, origin, length, is_chunked=is_chunked))
                ]
    return results


def _hits(name: str, origin: Origin, requests: int) -> list[Result]:
    misses = origin.fetches.total()
    return [
        Result(f"{name}: misses", misses, "fetches", note=f"of {len(origin.fetches)} pages"),
        Result(f"{name}: hits", 100 * (1 - misses / requests), "%"),
    ]


def _memory(gateway: GatewayProcess) -> int:
    """Bytes of all workers; what they share counts once."""
    return sum(memory(pid).pss for pid in gateway.server_processes())


async def _browse(gateway: GatewayProcess, requests: int) -> None:
    """Request pages over connections that are open at once; the page of rank n has a share of 1/n."""
    chance = Random(1)
    weights = [1 / rank for rank in range(1, PAGES + 1)]
    paths = [f"/page-{rank}/{PAGE_BYTES}" for rank in chance.choices(range(PAGES), weights, k=requests)]
    await asyncio.gather(*(_read_all(gateway, paths[start::CONNECTIONS]) for start in range(CONNECTIONS)))


async def _cold(gateway: GatewayProcess, origin: Origin, length: int, *, is_chunked: bool) -> float:
    """Fetches for a page that no worker has and many clients request at once, on average."""
    fetches = 0
    for number in range(COLD_ROUNDS):
        path = f"/cold-{number}/{length}{'/chunked' * is_chunked}"
        await asyncio.gather(*(_read_all(gateway, [path]) for _ in range(COLD_CLIENTS)))
        fetches += origin.fetches[path]
    return fetches / COLD_ROUNDS


async def _read_all(gateway: GatewayProcess, paths: Sequence[str]) -> None:
    """Read pages over one connection."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session:
        for path in paths:
            async with session.get(gateway.url + path) as response:
                if response.status != 200:
                    raise HarnessError(f"GET {path} returned {response.status}")
                length = len(await response.read())
                if length != int(path.split("/")[2]):
                    raise HarnessError(f"GET {path} returned {length} bytes")
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
