"""Footprint of a gateway: start-up time, memory of a worker, of idle connections and of carts.

`python -m benchmarks.scenarios.footprint [--quick]`.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from statistics import median

import orjson

from benchmarks.harness.command import allow_open_files, check_cores, exit_code_of
from benchmarks.harness.gateway_process import SAMPLE_CATALOGUE, Api, GatewayProcess, HarnessError, serving
from benchmarks.harness.processes import Memory, memory
from benchmarks.harness.results import Result, results_table, write_results
from benchmarks.load.wrk import fill_carts, find_wrk

MB = 1_000_000
LINES = 5
_REST_S = 2.0
_SPARE_FILES = 200


def main() -> int:
    """Entry point of `make bench-footprint`; 0 when everything could be measured, whether or not targets are met."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scenarios.footprint", description=__doc__.partition("\n")[0]
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="fewer carts, connections and starts, results not written: for trying it out",
    )
    args = parser.parse_args()
    if args.quick:
        return exit_code_of("footprint", lambda: measure(starts=1, connections=500, carts=5_000, keep=False))
    return exit_code_of("footprint", lambda: measure(starts=5, connections=5_000, carts=100_000, keep=True))


def measure(*, starts: int, connections: int, carts: int, keep: bool) -> None:
    """Measure, print the results and, if wanted, write results/footprint.json."""
    check_cores()
    find_wrk()
    allow_open_files(connections + _SPARE_FILES)
    results = start_times(starts)
    with serving() as gateway:
        results += workers_at_rest(gateway)
    with serving("--workers", "1") as gateway:
        results += idle_connections(gateway, connections)
        results += carts_in_store(gateway, carts)
    print(results_table(results))
    if keep:
        settings = {"starts": starts, "connections": connections, "carts": carts}
        print(f"\nwritten to {write_results('footprint', settings, {}, results)}")


def start_times(starts: int) -> list[Result]:
    """Seconds from the command to its ready line, each time with a fresh data directory."""
    return [
        Result("start to ready, fresh data directory", _start_time(starts, None), "s", 1.5),
        Result("start to ready, importing the sample catalogue", _start_time(starts, SAMPLE_CATALOGUE), "s"),
    ]


def _start_time(starts: int, catalogue: Path | None) -> float:
    taken = []
    for _ in range(starts):
        with serving(catalogue=catalogue) as gateway:
            taken.append(gateway.started_in_s)
    return median(taken)


def workers_at_rest(gateway: GatewayProcess) -> list[Result]:
    """Memory of the largest worker of a gateway that has just started, and of the other processes."""
    time.sleep(_REST_S)
    workers = [memory(pid) for pid in gateway.workers()]
    parent = memory(gateway.server_processes()[0])
    store = memory(gateway.store_pid)
    return [
        Result("worker at rest, RSS", _largest(workers).rss / MB, "MB", 80, f"the largest of {len(workers)}"),
        Result("worker at rest, PSS", _largest(workers).pss / MB, "MB", None, "shared pages divided"),
        Result("parent at rest, RSS", parent.rss / MB, "MB"),
        Result("embedded store at rest, RSS", store.rss / MB, "MB"),
    ]


def _largest(memories: Sequence[Memory]) -> Memory:
    return max(memories, key=lambda one: one.rss)


def idle_connections(gateway: GatewayProcess, connections: int) -> list[Result]:
    """Memory that idle keep-alive connections add to the only worker."""
    worker = gateway.workers()[0]
    asyncio.run(_hold_connections(gateway.port, 10, worker))  # modules that the first requests import are not counted
    added = asyncio.run(_hold_connections(gateway.port, connections, worker))
    each = f"{added / connections / 1000:.1f} kB each"
    target = 60 * connections / 5_000
    return [Result(f"{connections:,} idle keep-alive connections add, RSS", added / MB, "MB", target, each)]


async def _hold_connections(port: int, connections: int, worker: int) -> int:
    """Bytes that the worker grew by while all connections are open; each has one response before and one after the measurement."""
    before = memory(worker).rss
    held = []
    try:
        for _ in range(connections):
            held.append(await asyncio.open_connection("127.0.0.1", port))
            await _ask(*held[-1])
        await asyncio.sleep(_REST_S)
        grown = memory(worker).rss - before
        for connection in held:
            await _ask(*connection)
        return grown
    finally:
        for _, writer in held:
            writer.close()


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: shop\r\n\r\n")
    try:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), timeout=30)
    except (asyncio.IncompleteReadError, ConnectionError, TimeoutError) as error:
        raise HarnessError(f"an idle connection was closed: {error!r}") from error
    status, *fields = head.decode("latin-1").split("\r\n")
    if " 200 " not in status:
        raise HarnessError(f"/healthz returned {status!r}")
    lengths = [int(field.partition(":")[2]) for field in fields if field.lower().startswith("content-length:")]
    await reader.readexactly(sum(lengths))


def carts_in_store(gateway: GatewayProcess, carts: int) -> list[Result]:
    """Memory of carts of five lines in the store; made through the API, of random products."""
    chance = Random(5)
    skus = Api(gateway.port).skus(1000)
    batches = [
        orjson.dumps([{"sku": sku, "quantity": chance.randint(1, 24)} for sku in chance.sample(skus, LINES)])
        for _ in range(1000)
    ]
    before = _used_memory(gateway)
    fill_carts(gateway.port, carts, batches, connections=64)
    keys = list(gateway.store.scan_iter(match="*}c:*", count=10_000))
    if len(keys) != carts:
        raise HarnessError(f"{len(keys)} carts are in the store instead of {carts}")
    used = _used_memory(gateway) - before
    largest = max(int(gateway.store.memory_usage(key) or 0) for key in keys[:1000])
    each = f"{used / carts:.0f} bytes each with the key table's share"
    target = 120 * carts / 100_000
    return [
        Result(f"{carts:,} carts of {LINES} lines in the store", used / MB, "MB", target, each),
        Result(f"the largest of 1,000 carts of {LINES} lines, MEMORY USAGE", largest, "bytes", 1024),
    ]


def _used_memory(gateway: GatewayProcess) -> int:
    """Bytes the store allocated, once the clients' buffers have shrunk back."""
    time.sleep(_REST_S)
    return int(gateway.store.info("memory")["used_memory"])


if __name__ == "__main__":
    sys.exit(main())
