"""The cost of an accepted order: CPU time of an edge worker, beside an empty aiohttp handler, and of the order worker.

`python -m benchmarks.scenarios.checkout [--quick]` starts an edge with one worker on one core; the store and the load (wrk)
run on another. Its CPU time is taken until the outbox is empty, so that it includes the message to the queue. Then an order
worker with the sandbox works the orders off. Ratios are taken within a round.
"""

import argparse
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import orjson

from benchmarks.harness.books import check_books, stock_up
from benchmarks.harness.command import check_cores, exit_code_of
from benchmarks.harness.gateway_process import (
    Api,
    GatewayProcess,
    HarnessError,
    checkout_of,
    peakgate_command,
    serving,
    start_child,
    stop_child,
)
from benchmarks.harness.processes import busy_cores, cpu_time, descendants, pin
from benchmarks.harness.progress import show_steps
from benchmarks.harness.results import Result, number, results_table, write_results
from benchmarks.hot_path.rows import Server, serving_module
from benchmarks.load.wrk import Call, LoadResult, fill_carts, find_wrk, play, wrk_version
from cart.model import Sku
from checkout.queues.redis_queue import BULK, QUEUE
from checkout.stored import ALL_PARTITIONS, outbox_key
from store.embedded import store_url

SERVER_CORE, LOAD_CORE = 0, 1
# A busy machine must not have checkouts shed: each cart is ordered once.
CONFIGURATION: Final = "[shedding]\nenabled = false\n"
CONNECTIONS: Final = 64
# By the number of lines: the most that an accepted order may cost, as a ratio to the empty handler. A basket of the Online
# Retail data has 13 lines in the median.
TARGETS: Final = {1: 4.0, 13: 6.5, 100: None}
WORKER_TARGET_US: Final = 1000.0
# With so many orders in the store, or lines in a cart, the cost may be so much higher than with few.
FLAT: Final = 1.15
PATIENCE_S: Final = 120.0
_POLL_S: Final = 0.02
# Orders that the filling script writes in one call.
_FILL_BATCH: Final = 1_000
# Copies of one order under other ids, as they are once they have ended. ARGV 1 hash tag, 2 first number, 3 how many.
_COPY_ORDERS: Final = """
local fields = redis.call('HGETALL', KEYS[1])
for number = ARGV[2], ARGV[2] + ARGV[3] - 1 do
    redis.call('HSET', '{' .. ARGV[1] .. '}o:' .. ARGV[1] .. string.format('stored%018d', number), unpack(fields))
end
"""


@dataclass(frozen=True, slots=True)
class Options:
    """How long each row is measured in a round, with how many stored orders, and whether the results are written."""

    rounds: int = 5
    seconds: int = 2
    carts: int = 30_000
    stored: Sequence[int] = (10_000, 100_000, 1_000_000)
    worker_orders: int = 3_000
    keep: bool = True


QUICK: Final = Options(rounds=1, seconds=1, carts=6_000, stored=(1_000, 10_000), worker_orders=300, keep=False)


@dataclass(frozen=True, slots=True)
class Sample:
    """One round: CPU microseconds of the edge worker per accepted order, those of the empty handler, and the load."""

    cpu_us: float
    yardstick_us: float
    load: LoadResult


def main() -> int:
    """Entry point of `make bench-checkout`; 0 when everything could be measured, whether or not targets are met."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scenarios.checkout", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--quick", action="store_true", help="one short round, results not written: for trying it out")
    args = parser.parse_args()
    return exit_code_of("checkout", lambda: measure(QUICK if args.quick else Options()))


def measure(options: Options) -> None:
    """Measure, print the results and, if wanted, write results/checkout.json."""
    check_cores(SERVER_CORE, LOAD_CORE)
    find_wrk()
    busy_before = busy_cores(over_s=1)
    os.sched_setaffinity(0, {LOAD_CORE})
    with ExitStack() as stack:
        yardstick = stack.enter_context(serving_module("benchmarks.peers.empty_app"))
        configuration = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="peakgate-bench-")), "peakgate.toml"
        )
        configuration.write_text(CONFIGURATION)
        options_of_edge = ("--role", "edge", "--store-timeout", "5", "--config", str(configuration))
        gateway = stack.enter_context(serving("--workers", "1", *options_of_edge))
        edge = Edge(gateway, yardstick)
        results = edge.results_by_lines(options)
        results += edge.results_by_stored_orders(options)
        results += _worker_results(gateway, options)
        edge.delete_copies()
        check_books(gateway)
        build = gateway.build()
    print(f"the gateway ran {build}", results_table(results), sep="\n\n")
    if options.keep:
        settings = {
            "build": build,
            "rounds": options.rounds,
            "seconds": options.seconds,
            "connections": CONNECTIONS,
            "load": wrk_version(),
            "busy_cores_before": round(busy_before, 2),
        }
        print(f"\nwritten to {write_results('checkout', settings, {}, results)}")


class Edge:
    """An edge worker with carts to check out, pinned to a core beside the empty handler."""

    def __init__(self, gateway: GatewayProcess, yardstick: Server) -> None:
        self._gateway = gateway
        self._yardstick = yardstick
        (self._worker,) = gateway.workers()
        for pid in (self._worker, yardstick.pid):
            pin(pid, SERVER_CORE)
        with Api(gateway.port) as api:
            self._skus = api.skus(200)
        # Stock for all orders of all rows.
        stock_up(gateway, map(Sku, self._skus), 10**9)

    def results_by_lines(self, options: Options) -> list[Result]:
        """Carts of different lengths."""
        results, costs = [], {}
        for lines, target in TARGETS.items():
            samples = self._samples(lines, options, f"{lines} lines")
            costs[lines] = median(sample.cpu_us for sample in samples)
            ratio = median(sample.cpu_us / sample.yardstick_us for sample in samples)
            name = f"checkout of {lines} {'line' if lines == 1 else 'lines'}"
            results += [
                Result(f"{name}, to the empty handler", ratio, "ratio", target, f"{number(costs[lines])} µs of CPU"),
                Result(name, median(sample.load.requests / sample.load.seconds for sample in samples), "orders/s"),
            ]
        short, middle, long = costs
        early = (costs[middle] - costs[short]) / (middle - short)
        late = (costs[long] - costs[middle]) / (long - middle)
        note = f"{number(early)} µs a line up to {middle} lines, {number(late)} µs up to {long}"
        return [*results, Result("cost of a further line, long to short carts", late / early, "ratio", FLAT, note)]

    def results_by_stored_orders(self, options: Options) -> list[Result]:
        """The same checkout with more and more orders in the store."""
        ratios = []
        results = []
        for count in options.stored:
            self._store_orders(count)
            samples = self._samples(1, options, f"{count:,} orders stored")
            ratios.append(median(sample.cpu_us / sample.yardstick_us for sample in samples))
            results.append(Result(f"checkout with {count:,} orders stored, to the empty handler", ratios[-1], "ratio"))
        return [*results, Result("the same, most to fewest orders", ratios[-1] / ratios[0], "ratio", FLAT)]

    def delete_copies(self) -> None:
        """Delete the copies of an order: nothing but their records exists, so an audit would name each."""
        for copy in self._gateway.store.scan_iter("*}o:??stored*", count=1000):
            self._gateway.store.unlink(copy)

    def _samples(self, lines: int, options: Options, name: str) -> list[Sample]:
        carts = iter(self._carts(lines, options))
        samples = []
        with show_steps(options.rounds + 1) as step:
            for turn in range(options.rounds + 1):
                yardstick_us = self._yardstick_us(options.seconds)
                calls = list(itertools.islice(carts, _carts_of_round(lines, options)))
                sample = self._sample(calls, options.seconds, yardstick_us)
                step(f"{name}, round {turn} of {options.rounds}: {number(sample.cpu_us)} µs an order")
                samples.append(sample)
        return samples[1:]  # the first warms up

    def _carts(self, lines: int, options: Options) -> list[Call]:
        """New carts with two units of each of their lines, as the requests that check them out."""
        store = self._gateway.store
        before = set(store.scan_iter("*}c:*", count=1000))
        batches = [
            orjson.dumps([{"sku": self._skus[(turn + line) % len(self._skus)], "quantity": 2} for line in range(lines)])
            for turn in range(20)
        ]
        count = _carts_of_round(lines, options) * (options.rounds + 1)
        fill_carts(self._gateway.port, count, batches, connections=CONNECTIONS)
        carts = [key.decode().partition("c:")[2] for key in store.scan_iter("*}c:*", count=1000) if key not in before]
        return [
            Call("POST", "/v1/checkout", orjson.dumps(checkout_of(cart)), (("Idempotency-Key", cart),))
            for cart in carts
        ]

    def _yardstick_us(self, seconds: int) -> float:
        before = cpu_time(self._yardstick.pid)
        load = play(self._yardstick.port, [[Call("GET", "/")]], seconds=seconds, connections=CONNECTIONS)
        return cpu_time(self._yardstick.pid).since(before).total_s / load.requests * 1e6

    def _sample(self, calls: Sequence[Call], seconds: int, yardstick_us: float) -> Sample:
        before = cpu_time(self._worker)
        load = play(self._gateway.port, [calls], seconds=seconds, connections=CONNECTIONS)
        _await(self._outbox_is_empty, "the outbox is not empty")
        used = cpu_time(self._worker).since(before)
        if load.errors or load.socket_errors:
            raise HarnessError(f"{load.errors} checkouts were refused, {load.socket_errors} got no response")
        if load.requests > len(calls) - CONNECTIONS:
            raise HarnessError(f"{len(calls)} carts were too few for {seconds} s")
        return Sample(used.total_s / load.requests * 1e6, yardstick_us, load)

    def _outbox_is_empty(self) -> bool:
        pipeline = self._gateway.store.pipeline()
        for partition in ALL_PARTITIONS:
            pipeline.xlen(outbox_key(partition))
        return not any(pipeline.execute())

    def _store_orders(self, count: int) -> None:
        """Store copies of an order until there are so many."""
        store = self._gateway.store
        template = next(store.scan_iter("*}o:*", count=1000))
        copy: Any = store.register_script(_COPY_ORDERS)
        each = count // len(ALL_PARTITIONS) + 1
        for partition in ALL_PARTITIONS:
            # A script may touch one slot only on a cluster, and here all keys are on one server.
            for first in range(0, each, _FILL_BATCH):
                copy(keys=[template], args=[partition, first, min(_FILL_BATCH, each - first)])


def _carts_of_round(lines: int, options: Options) -> int:
    """More than a worker can check out."""
    return options.carts // max(1, lines // 20)


def _worker_results(gateway: GatewayProcess, options: Options) -> list[Result]:
    """CPU time of an order worker for each of the orders that wait."""
    with _order_worker(gateway) as worker:
        waiting = _waiting(gateway)
        _await(lambda: _waiting(gateway) < waiting - 100, "the order worker does not work")
        began_at, before, at_first = time.monotonic(), cpu_time(worker), _waiting(gateway)
        if at_first < options.worker_orders:
            raise HarnessError(f"only {at_first} orders are left for the order worker")
        _await(lambda: _waiting(gateway) <= at_first - options.worker_orders, "the order worker is too slow")
        used, seconds = cpu_time(worker).since(before), time.monotonic() - began_at
        done = at_first - _waiting(gateway)
    return [
        Result("order worker, CPU of a completed order", used.total_s / done * 1e6, "µs", WORKER_TARGET_US),
        Result("order worker, orders completed", done / seconds, "orders/s"),
    ]


def _waiting(gateway: GatewayProcess) -> int:
    """The orders in the queue."""
    return sum(gateway.store.xlen(stream) for stream in (QUEUE, BULK))


@contextmanager
def _order_worker(gateway: GatewayProcess) -> Iterator[int]:
    """An order worker on the gateway's store, pinned to the core of the servers; its process."""
    folder = gateway.data_dir.parent / "worker"
    command = [*peakgate_command(), "serve", "--role", "worker", "--workers", "1", "--admin", "no"]
    command += ["--store-url", store_url(gateway.data_dir), "--data-dir", str(folder)]
    command += ["--key-file", str(gateway.data_dir / "keys.toml")]
    process = start_child(command)
    try:
        _await(lambda: len(descendants(process.pid)) > 0, "the order worker did not start")
        time_before = {pid: cpu_time(pid).total_s for pid in [process.pid, *descendants(process.pid)]}
        waiting = _waiting(gateway)
        _await(lambda: _waiting(gateway) < waiting, "the order worker completes nothing")
        worker = max(
            [process.pid, *descendants(process.pid)], key=lambda pid: cpu_time(pid).total_s - time_before.get(pid, 0.0)
        )
        pin(worker, SERVER_CORE)
        yield worker
    finally:
        stop_child(process)


def _await(condition: Any, otherwise: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > end:
            raise HarnessError(otherwise)
        time.sleep(_POLL_S)


if __name__ == "__main__":
    sys.exit(main())
