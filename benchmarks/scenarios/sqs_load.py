"""The order queue on SQS under load: orders a second, and CPU time of the process that sends and works off.

`python -m benchmarks.scenarios.sqs_load [--orders 20000] [--quick]`. The server is fauxqs, which keeps messages in memory, on
the same machine; the orders themselves take no time.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Iterator, Sequence
from typing import Final

import msgspec
import uvloop
from aiobotocore.session import get_session

from benchmarks.harness.command import exit_code_of
from benchmarks.harness.results import Result, results_table, write_results
from benchmarks.peers.fauxqs_server import fauxqs
from benchmarks.peers.servers import PeerMissing
from cart.ids import new_cart_id, order_id_for
from cart.model import OrderId
from checkout.message import ORDER_ACCEPTED
from checkout.ports.queue import Outgoing
from checkout.processor import Later
from checkout.queues.sqs_queue import SqsQueue, open_sqs_queue
from checkout.worker import OrderWorker

BATCH: Final = 10
SENDERS: Final = 4
REGION: Final = "eu-west-2"


def main() -> int:
    """Entry point of `make bench-sqs-load`; 0 when everything could be measured."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scenarios.sqs_load", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--orders", type=int, default=20_000, help="orders (default: 20000)")
    parser.add_argument("--quick", action="store_true", help="1,000 orders, results not written: for trying it out")
    args = parser.parse_args()
    orders = 1_000 if args.quick else args.orders
    return exit_code_of("sqs-load", lambda: measure(orders=orders, keep=not args.quick))


def measure(*, orders: int, keep: bool) -> None:
    """Measure, print the results and, if wanted, write results/sqs_load.json."""
    os.environ |= {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench", "NO_PROXY": "127.0.0.1"}
    results: list[Result] = []
    try:
        with fauxqs() as server:
            for suffix in ("", ".fifo"):
                results += uvloop.run(_measure(server.endpoint, orders, suffix))
    except PeerMissing as error:
        print(f"fauxqs is skipped: {error}", file=sys.stderr)
        return
    print(results_table(results))
    if keep:
        print(f"\nwritten to {write_results('sqs_load', {'orders': orders}, {}, results)}")


async def _measure(endpoint: str, orders: int, suffix: str) -> list[Result]:
    async with get_session().create_client("sqs", endpoint_url=endpoint, region_name=REGION) as admin:
        attributes = {"FifoQueue": "true"} if suffix else {}
        url = (await admin.create_queue(QueueName=f"load{suffix}", Attributes=attributes))["QueueUrl"]
    kind = "FIFO" if suffix else "standard"
    async with open_sqs_queue(url, endpoint_url=endpoint, region=REGION) as queue:
        sending = await _Cost.of(_send(queue, orders), orders)
        working = await _Cost.of(_work_off(queue, orders), orders)
    return [
        *sending.results(f"{kind}: sent"),
        *working.results(f"{kind}: received, worked off and deleted"),
    ]


class _Cost(msgspec.Struct):
    """The cost of an order."""

    per_s: float
    cpu_us: float

    @classmethod
    async def of(cls, work: Awaitable[None], orders: int) -> _Cost:
        began, began_cpu = time.monotonic(), time.process_time()
        await work
        seconds, cpu_s = time.monotonic() - began, time.process_time() - began_cpu
        return cls(orders / seconds, cpu_s * 1e6 / orders)

    def results(self, name: str) -> list[Result]:
        return [Result(name, self.per_s, "orders/s"), Result(f"{name}, CPU", self.cpu_us, "µs an order")]


async def _send(queue: SqsQueue, orders: int) -> None:
    batches = _batches(orders)

    async def sender() -> None:
        for batch in batches:
            assert all(await queue.send(batch))

    await asyncio.gather(*(sender() for _ in range(SENDERS)))


async def _work_off(queue: SqsQueue, orders: int) -> None:
    done: set[OrderId] = set()
    is_done = asyncio.Event()

    async def process(order_id: OrderId) -> Later | None:
        done.add(order_id)
        if len(done) == orders:
            is_done.set()
        return None

    worker = OrderWorker(queue, process, wait_s=1.0)
    working = asyncio.create_task(worker.run())
    await is_done.wait()
    worker.stop()
    await working


def _batches(orders: int) -> Iterator[Sequence[Outgoing]]:
    for first in range(0, orders, BATCH):
        yield [_message(number) for number in range(first, min(first + BATCH, orders))]


def _message(number: int) -> Outgoing:
    order_id, group = order_id_for(new_cart_id(), 3), f"SKU-{number % 50}"
    body = {"specversion": "1.0", "type": ORDER_ACCEPTED, "partitionkey": group, "data": {"order_id": order_id}}
    return Outgoing(order_id, msgspec.json.encode(body), order_id, group)


if __name__ == "__main__":
    sys.exit(main())
