"""Cost of clients that follow their orders: CPU time and memory of a worker with many open streams of order events.

`python -m benchmarks.scenarios.event_streams [--streams 2000] [--orders 50] [--quick]`.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from benchmarks.harness.books import check_books
from benchmarks.harness.command import allow_open_files, check_cores, exit_code_of
from benchmarks.harness.gateway_process import Api, GatewayProcess, HarnessError, serving
from benchmarks.harness.processes import cpu_time, memory
from benchmarks.harness.results import Result, results_table, write_results

# One client may have an eighth of a worker's streams, and here all come from one address.
CONFIGURATION = "[shedding]\nmax_event_streams = {limit}\n"
SPARE_FILES = 300
ORDERS = 50
# Of one process with 10,000 open streams, all that it holds included.
MAX_RSS_MB = 400.0
OPEN_TIMEOUT_S = 60.0

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def main() -> int:
    """Entry point of `make bench-event-streams`; 0 when everything could be measured, whether or not targets are met."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scenarios.event_streams", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--streams", type=int, default=2_000, help="streams that are open at a time (default: 2000)")
    parser.add_argument("--orders", type=int, default=ORDERS, help=f"orders that they follow (default: {ORDERS})")
    parser.add_argument(
        "--quick", action="store_true", help="200 streams for 2 s, results not written: for trying it out"
    )
    args = parser.parse_args()
    if args.quick:
        return exit_code_of("event-streams", lambda: measure(streams=200, seconds=2.0, keep=False))
    return exit_code_of(
        "event-streams", lambda: measure(streams=args.streams, orders=args.orders, seconds=20.0, keep=True)
    )


def measure(*, streams: int, seconds: float, keep: bool, orders: int = ORDERS) -> None:
    """Measure, print the results and, if wanted, write results/event_streams.json."""
    check_cores()
    allow_open_files(streams + SPARE_FILES)
    with tempfile.TemporaryDirectory(prefix="peakgate-bench-") as folder:
        configuration = Path(folder, "peakgate.toml")
        configuration.write_text(CONFIGURATION.format(limit=8 * streams))
        # Without an order worker the orders stay as they are.
        with serving("--workers", "1", "--role", "edge", "--config", str(configuration)) as gateway:
            results = asyncio.run(_measure(gateway, streams, orders, seconds))
            check_books(gateway)
    print(results_table(results))
    if keep:
        print(
            f"\nwritten to {write_results('event_streams', {'streams': streams, 'orders': orders, 'seconds': seconds}, {}, results)}"
        )


async def _measure(gateway: GatewayProcess, streams: int, count: int, seconds: float) -> list[Result]:
    worker = gateway.workers()[0]
    orders = _place_orders(gateway.port, count)
    idle = await _cpu_share(worker, seconds)
    before = memory(worker).rss
    async with AsyncExitStack() as stack:
        opened = [await _follow(gateway.port, orders[number % count], stack) for number in range(streams)]
        quiet = await _cpu_share(worker, seconds)
        after = memory(worker).rss
        cancelled = await _cancel_all(gateway.port, orders, opened, worker)
    return [
        Result(f"{streams:,} open streams without an event", 100 * (quiet - idle), "% of a core", 5.0, "above a worker without streams"),
        Result("a worker without streams", 100 * idle, "% of a core"),
        Result(f"{streams:,} open streams add, RSS", (after - before) / 1e6, "MB", None, f"{(after - before) / streams / 1000:.1f} kB each"),
        Result(f"the worker with {streams:,} open streams, RSS", after / 1e6, "MB", MAX_RSS_MB),
        Result("an event sent to a stream", 1e6 * cancelled / streams, "µs of CPU", None, f"{count} orders cancelled at once, calls included"),
    ]  # fmt: skip


def _place_orders(port: int, count: int) -> list[str]:
    """The ids of new orders of one line each."""
    with Api(port) as api:
        sku = api.skus(1)
        return [api.check_out(api.cart_of(sku), key=str(number)) for number in range(count)]


async def _follow(port: int, order_id: str, stack: AsyncExitStack) -> Stream:
    """A stream that has received its first event."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    stack.callback(writer.close)
    writer.write(f"GET /v1/orders/{order_id}/events HTTP/1.1\r\nHost: shop\r\n\r\n".encode())
    await _event((reader, writer), b'"accepted"')
    return reader, writer


async def _event(stream: Stream, status: bytes) -> None:
    """Wait until the stream has received an event of this status."""
    try:
        async with asyncio.timeout(OPEN_TIMEOUT_S):
            await stream[0].readuntil(status)
    except (asyncio.IncompleteReadError, TimeoutError, ConnectionError) as error:
        raise HarnessError(f"a stream did not receive its event: {error!r}") from error


async def _cancel_all(port: int, orders: Sequence[str], streams: Sequence[Stream], worker: int) -> float:
    """CPU seconds in which the worker cancels the orders and tells it to all who follow them."""
    began = cpu_time(worker).total_s
    with Api(port) as api:
        for order_id in orders:
            await asyncio.to_thread(api.call, "POST", f"/v1/orders/{order_id}/cancel")
    for stream in streams:
        await _event(stream, b'"cancelled"')
    return cpu_time(worker).total_s - began


async def _cpu_share(worker: int, seconds: float) -> float:
    began = cpu_time(worker).total_s
    await asyncio.sleep(seconds)
    return (cpu_time(worker).total_s - began) / seconds


if __name__ == "__main__":
    sys.exit(main())
