"""CPU time of sending an order to SQS in full batches, by several clients: `python -m benchmarks.micro.sqs_send`.

The server is another process that stores nothing; its CPU time is not included. Four batches are under way at a time, as
the outbox sends them.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from tempfile import TemporaryFile
from typing import Final

import aiohttp
import orjson
import uvloop
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest

from benchmarks.harness.command import exit_code_of
from benchmarks.harness.gateway_process import await_port, start_child, stop_child
from benchmarks.harness.ports import free_port
from benchmarks.harness.results import Result, results_table, write_results
from cart.ids import new_cart_id, order_id_for
from cart.model import Sku
from checkout.amounts import OrderLine
from checkout.message import order_accepted
from checkout.order import Address, HistoryEntry, Order
from checkout.order_status import OrderStatus
from checkout.ports.queue import Outgoing
from checkout.queues.sqs_queue import open_sqs_queue
from checkout.received_message import group_of
from gateway.process.worker import GC_THRESHOLDS

BATCH: Final = 10
SENDERS: Final = 4
REPEATS: Final = 5
TARGET_US: Final = 60.0
REGION: Final = "eu-west-2"
QUEUE_URL: Final = "https://sqs.eu-west-2.amazonaws.com/123456789012/orders"

Send = Callable[[Sequence[Outgoing]], Awaitable[object]]


def main() -> int:
    """Entry point of `make bench-sqs`; 0 when everything could be measured, whether or not targets are met."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.micro.sqs_send", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few batches, results not written: for trying it out")
    args = parser.parse_args()
    return exit_code_of("sqs-send", lambda: measure(batches=50 if args.quick else 500, keep=not args.quick))


def measure(*, batches: int, keep: bool) -> None:
    """Measure, print the results and, if wanted, write results/sqs_send.json."""
    # Signed with these; the server does not check them.
    os.environ |= {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench", "NO_PROXY": "127.0.0.1"}
    port = free_port()
    with TemporaryFile() as log:
        server = start_child([sys.executable, "-m", "benchmarks.micro.sqs_server", str(port)], log=log)
        try:
            await_port(server, port)
            results = uvloop.run(_measure(f"http://127.0.0.1:{port}", batches))
        finally:
            stop_child(server)
    print(results_table(results))
    if keep:
        print(f"\nwritten to {write_results('sqs_send', {'batches': batches, 'senders': SENDERS}, {}, results)}")


async def _measure(endpoint: str, batches: int) -> list[Result]:
    results = []
    for lines in (1, 13):
        messages = [_message(lines) for _ in range(BATCH)]
        for name, opened, target in (
            ("aiobotocore", _aiobotocore, None),
            ("botocore's signer, orjson, aiohttp", _botocore_signer, None),
            ("checkout.queues.sqs_queue", _own, TARGET_US),
        ):
            async with opened(endpoint) as send:
                spent_us = min([await _cpu_us(send, messages, batches) for _ in range(REPEATS)])
            results.append(
                Result(
                    f"{name}, {lines} {'line' if lines == 1 else 'lines'} an order",
                    spent_us,
                    "µs of CPU an order",
                    target,
                )
            )
    return results


async def _cpu_us(send: Send, messages: Sequence[Outgoing], batches: int) -> float:
    """CPU microseconds for each order."""

    async def sender() -> None:
        for _ in range(batches // SENDERS):
            await send(messages)

    await send(messages)  # connects
    began = time.process_time()
    await asyncio.gather(*(sender() for _ in range(SENDERS)))
    return (time.process_time() - began) * 1e6 / (batches // SENDERS * SENDERS * BATCH)


@asynccontextmanager
async def _aiobotocore(endpoint: str) -> AsyncIterator[Send]:
    config = AioConfig(max_pool_connections=50)
    async with get_session().create_client("sqs", endpoint_url=endpoint, region_name=REGION, config=config) as client:

        async def send(messages: Sequence[Outgoing]) -> object:
            return await client.send_message_batch(QueueUrl=QUEUE_URL, Entries=_entries(messages))

        yield send


@asynccontextmanager
async def _botocore_signer(endpoint: str) -> AsyncIterator[Send]:
    credentials = await get_session().get_credentials()
    frozen = await credentials.get_frozen_credentials()
    signer = SigV4Auth(frozen, "sqs", REGION)
    async with aiohttp.ClientSession() as http:

        async def send(messages: Sequence[Outgoing]) -> object:
            body = orjson.dumps({"QueueUrl": QUEUE_URL, "Entries": _entries(messages)})
            headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "AmazonSQS.SendMessageBatch"}
            request = AWSRequest("POST", endpoint, headers, body)
            signer.add_auth(request)
            async with http.post(endpoint, data=body, headers=dict(request.headers)) as response:
                return orjson.loads(await response.read())

        yield send


@asynccontextmanager
async def _own(endpoint: str) -> AsyncIterator[Send]:
    async with open_sqs_queue(QUEUE_URL, endpoint_url=endpoint, region=REGION) as queue:
        yield queue.send


def _entries(messages: Sequence[Outgoing]) -> list[dict[str, str]]:
    return [
        {"Id": str(index), "MessageBody": message.body.decode(), "MessageGroupId": message.group}
        for index, message in enumerate(messages)
    ]


def _message(lines: int) -> Outgoing:
    cart_id = new_cart_id()
    at = 1_795_000_000_000
    order = Order(
        id=order_id_for(cart_id, 3),
        cart_id=cart_id,
        currency="GBP",
        lines=tuple(OrderLine(Sku(f"85{n:04d}A"), "WHITE HANGING HEART T-LIGHT HOLDER", 2, 255) for n in range(lines)),
        shipping_method="standard",
        shipping=495,
        email="ada@example.com",
        shipping_address=Address("Ada Lovelace", "12 St James's Square", "London", "SW1Y 4JH", "GB"),
        payment_token="tok_ok",  # noqa: S106 - of the sandbox
        created_at=at,
        updated_at=at,
        history=(HistoryEntry(OrderStatus.ACCEPTED, at),),
    )
    body = order_accepted(order)
    return Outgoing(order.id, body, f"{order.id}:1-0", group_of(body))


if __name__ == "__main__":
    # As a worker does.
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    sys.exit(main())
