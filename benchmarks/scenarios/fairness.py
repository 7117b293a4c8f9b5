"""A drop beside ordinary orders: how long ordinary orders wait in the order queue of the store.

`python -m benchmarks.scenarios.fairness [--orders 100000] [--quick]`. One order worker with 64 slots, whose orders take 50 ms
each on average; every twentieth order of the drop is released once, to be delivered again after two seconds. The same is
measured with a single stream, as it was before the queue was a fair one.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
import uvloop

from benchmarks.harness.command import exit_code_of
from benchmarks.harness.results import Result, results_table, write_results
from cart.ids import new_cart_id, order_id_for
from cart.model import OrderId
from checkout.message import ORDER_ACCEPTED
from checkout.ports.queue import Outgoing
from checkout.processor import Later
from checkout.queues.redis_queue import MOST_OF_A_GROUP, RedisQueue
from checkout.worker import OrderWorker
from store import PinnedStore, open_client
from store.embedded import EmbeddedServer

ORDINARY_PER_S: Final = 10
ORDINARY_SKUS: Final = 50
STEP_S: Final = 0.05
RELEASED: Final = 20
RETRY_S: Final = 2.0
TARGET_S: Final = 5.0
BATCH: Final = 10
DROP: Final = "DROP"
SINGLE_STREAM: Final = sys.maxsize


def main() -> int:
    """Entry point of `make bench-fairness`; 0 when everything could be measured, whether or not targets are met."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scenarios.fairness", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--orders", type=int, default=100_000, help="orders of the drop (default: 100000)")
    parser.add_argument("--quick", action="store_true", help="3,000 orders, results not written: for trying it out")
    args = parser.parse_args()
    orders = 3_000 if args.quick else args.orders
    return exit_code_of("fairness", lambda: measure(orders=orders, keep=not args.quick))


def measure(*, orders: int, keep: bool) -> None:
    """Measure, print the results and, if wanted, write results/fairness.json."""
    results: list[Result] = []
    for name, most, target in (("fair", MOST_OF_A_GROUP, TARGET_S), ("a single stream", SINGLE_STREAM, None)):
        with tempfile.TemporaryDirectory(prefix="peakgate-bench-") as folder:
            server = EmbeddedServer(Path(folder))
            server.start()
            try:
                run = uvloop.run(work_off(server.url, drop=orders, most_of_a_group=most))
            finally:
                server.stop()
        results += [
            Result(f"{name}: wait of ordinary orders, p99", percentile(run.waits_s, 99), "s", target),
            Result(f"{name}: the same, median", statistics.median(run.waits_s), "s"),
            Result(f"{name}: the same, longest", max(run.waits_s), "s", None, f"{len(run.waits_s):,} ordinary orders"),
            Result(f"{name}: the drop is worked off after", run.seconds, "s", None, f"{orders / run.seconds:,.0f} orders/s"),
        ]  # fmt: skip
    print(results_table(results))
    if keep:
        print(f"\nwritten to {write_results('fairness', {'orders': orders}, {}, results)}")


@dataclass
class Run:
    """One drop: how long it took, and how long each ordinary order waited for its start."""

    seconds: float = 0.0
    waits_s: list[float] = field(default_factory=list)


async def work_off(url: str, *, drop: int, most_of_a_group: int) -> Run:
    """Send the drop as fast as possible and ordinary orders at their rate, until the drop is worked off."""
    async with AsyncExitStack() as stack:
        clients = [await open_client(url, deadline_s=10.0) for _ in range(2)]
        for client in clients:
            stack.push_async_callback(client.close)
        queue = RedisQueue(PinnedStore(clients[0]), clients[1], consumer="bench", most_of_a_group=most_of_a_group)
        shop = _Shop(drop)
        worker = OrderWorker(queue, shop.process)
        began = time.monotonic()
        working = asyncio.create_task(worker.run())
        ordinary = asyncio.create_task(shop.send_ordinary(queue))
        await shop.send_drop(queue)
        await shop.is_done.wait()
        shop.run.seconds = time.monotonic() - began
        await ordinary
        await until(lambda: not shop.waiting)
        worker.stop()
        await working
        return shop.run


class _Shop:
    def __init__(self, drop: int) -> None:
        self.run = Run()
        self.is_done = asyncio.Event()
        # Ordinary orders that no worker has begun, with the times of their sending.
        self.waiting: dict[OrderId, float] = {}
        self._drop = drop
        self._left = drop
        self._chance = random.Random(7)  # the same sequence in each run
        self._to_release: set[OrderId] = set()

    async def send_drop(self, queue: RedisQueue) -> None:
        for first in range(0, self._drop, BATCH):
            batch = [_message(DROP) for _ in range(min(BATCH, self._drop - first))]
            self._to_release.update(
                message.order_id for number, message in enumerate(batch, first) if number % RELEASED == 0
            )
            await queue.send(batch)

    async def send_ordinary(self, queue: RedisQueue) -> None:
        """Send ordinary orders until the drop is worked off."""
        for number in itertools.count():
            message = _message(f"SKU-{number % ORDINARY_SKUS}")
            self.waiting[message.order_id] = time.monotonic()
            await queue.send([message])
            await asyncio.sleep(1 / ORDINARY_PER_S)
            if self.is_done.is_set():
                return

    async def process(self, order_id: OrderId) -> Later | None:
        sent_at = self.waiting.pop(order_id, None)
        if sent_at is not None:
            self.run.waits_s.append(time.monotonic() - sent_at)
        await asyncio.sleep(STEP_S * (0.5 + self._chance.random()))
        if order_id in self._to_release:
            self._to_release.discard(order_id)
            return Later(RETRY_S)
        if sent_at is None:
            self._left -= 1
            if not self._left:
                self.is_done.set()
        return None


async def until(condition: Callable[[], bool]) -> None:
    """Wait until the condition is true."""
    while not condition():  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0.01)


def percentile(values: Sequence[float], percent: int) -> float:
    """The value that so many percent of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def _message(group: str) -> Outgoing:
    order_id = order_id_for(new_cart_id(), 3)
    body = {"specversion": "1.0", "type": ORDER_ACCEPTED, "partitionkey": group, "data": {"order_id": order_id}}
    return Outgoing(order_id, msgspec.json.encode(body), order_id, group)


if __name__ == "__main__":
    sys.exit(main())
