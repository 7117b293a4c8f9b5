"""A receiver of webhooks that is down for six hours, with 10,000 messages waiting; and the cost of delivering them.

`python -m benchmarks.scenarios.webhook_outage [--quick]`. The outage is in memory, with a clock that the benchmark moves: it
counts probes and checks the order of every order. The delivery is measured on a store of its own, over HTTP to a receiver in
another process.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

import uvloop

from benchmarks.harness.command import exit_code_of
from benchmarks.harness.results import Result, results_table, write_results
from cart.ids import new_cart_id, order_id_for
from cart.model import OrderId, Sku
from checkout.amounts import OrderLine
from checkout.events.event_message import event_id
from checkout.events.http_sender import open_http_sender
from checkout.events.webhooks import Endpoint, Webhooks
from checkout.memory.webhooks import MemoryWebhooks
from checkout.order import Address, HistoryEntry, Order
from checkout.order_status import NEXT, OrderStatus
from checkout.ports.events import NewEvent
from checkout.ports.webhooks import SendResult
from checkout.redis.webhooks import RedisWebhooks
from primitives.webhook_signature import WebhookSigner, new_secret
from store import open_client
from store.embedded import EmbeddedServer

MESSAGES: Final = 10_000
PER_ORDER: Final = 4
OUTAGE_S: Final = 6 * 3600.0
STEP_S: Final = 2.0
NAME: Final = "crm"
_BEFORE_DOWN: Final = 10
_START_MS: Final = 1_795_000_000_000

# Answers each request with 204, on the port that it prints.
_RECEIVER: Final = """
import asyncio
class Receiver(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.unread = transport, b""
    def data_received(self, data):
        self.unread += data
        while (end := self.unread.find(b"\\r\\n\\r\\n")) >= 0:
            head = self.unread[:end].lower()
            length = int(head.partition(b"content-length: ")[2].split(b"\\r\\n")[0])
            if len(self.unread) < end + 4 + length:
                return
            self.unread = self.unread[end + 4 + length:]
            self.transport.write(b"HTTP/1.1 204 No Content\\r\\n\\r\\n")
async def main():
    server = await asyncio.get_running_loop().create_server(Receiver, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


class _Orders:
    def __init__(self, orders: Sequence[Order]) -> None:
        self._by_id = {order.id: order for order in orders}

    async def read(self, order_id: OrderId) -> Order | None:
        """See `OrderReader.read`."""
        return self._by_id.get(order_id)


class _Receiver:
    """A sender to a receiver that is down until it is not."""

    def __init__(self, clock: Clock) -> None:
        self.is_down = True
        self.tried_at: list[float] = []
        self.received: list[str] = []
        self._clock = clock

    async def send(self, url: str, headers: Mapping[str, str], body: bytes, *, allow_private: bool) -> SendResult:  # noqa: ARG002
        """See `WebhookSender.send`."""
        if self.is_down:
            self.tried_at.append(self._clock.now_s)
            return SendResult(error="ClientConnectorError")
        self.received.append(headers["webhook-id"])
        return SendResult(status=204)


class Clock:
    """Seconds that the benchmark lets pass."""

    def __init__(self) -> None:
        self.now_s = 0.0


def main() -> int:
    """Entry point of `make bench-webhooks`; 0 when everything could be measured, whether or not targets are met."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scenarios.webhook_outage", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--quick", action="store_true", help="400 messages, results not written: for trying it out")
    args = parser.parse_args()
    messages = 400 if args.quick else MESSAGES
    return exit_code_of("webhook_outage", lambda: measure(messages=messages, keep=not args.quick))


def measure(*, messages: int, keep: bool) -> list[Result]:
    """Measure, print the results and, if wanted, write results/webhook_outage.json."""
    orders = [_order() for _ in range(messages // PER_ORDER)]
    results = [*uvloop.run(_outage(orders)), *uvloop.run(_delivery(orders))]
    print(results_table(results))
    if keep:
        print(f"\nwritten to {write_results('webhook_outage', {'messages': messages}, {}, results)}")
    return results


async def _outage(orders: Sequence[Order]) -> list[Result]:
    clock = Clock()
    receiver = _Receiver(clock)
    store = MemoryWebhooks(clock_ms=lambda: _START_MS + clock.now_s * 1000)
    webhooks = Webhooks(store, _Orders(orders), receiver, clock=lambda: clock.now_s)
    webhooks.update([_endpoint("https://crm.example/")])
    arriving = list(orders)
    steps = round(OUTAGE_S / STEP_S)
    for step in range(steps):
        due = len(orders) * (step + 1) // steps
        while len(orders) - len(arriving) < due:
            await webhooks.take(_events(arriving.pop()))
        await webhooks.sweep()
        await webhooks.deliver(NAME)
        clock.now_s += STEP_S
    waiting = sum(each.orders for each in webhooks.waiting.values()) * PER_ORDER
    # The first messages follow the schedule of attempts, until orders in a row have failed.
    probes = receiver.tried_at[_BEFORE_DOWN:]
    receiver.is_down = False
    recovered_at = clock.now_s
    while len(receiver.received) < PER_ORDER * len(orders):
        clock.now_s += STEP_S
        await webhooks.sweep()
        await webhooks.deliver(NAME)
    return [
        Result("messages out of the order of their order", _out_of_order(orders, receiver.received), "", 0),
        Result("messages delivered twice", len(receiver.received) - len(set(receiver.received)), "", 0),
        Result("most requests in any 60 s of the outage", _most_in_a_minute(probes), "", 1, "once it is down"),
        Result("shortest time between two probes", -min(b - a for a, b in pairwise(probes)), "s, negated", -60),
        Result("requests in six hours of outage", len(receiver.tried_at), ""),
        Result("messages that waited", waiting, ""),
        Result("time until the last was delivered", clock.now_s - recovered_at, "s", 70, "of the moved clock"),
    ]  # fmt: skip


async def _delivery(orders: Sequence[Order]) -> list[Result]:
    """The cost of one message on a store, over HTTP."""
    with tempfile.TemporaryDirectory(prefix="peakgate-bench-") as folder:
        server = EmbeddedServer(Path(folder))
        await asyncio.to_thread(server.start)
        receiver = await asyncio.to_thread(_start_receiver)
        try:
            assert receiver.stdout is not None
            port = int(await asyncio.to_thread(receiver.stdout.readline))
            return await _deliver_all(server.url, f"http://127.0.0.1:{port}/", orders)
        finally:
            receiver.kill()
            receiver.wait()
            assert receiver.stdout is not None
            receiver.stdout.close()
            await asyncio.to_thread(server.stop)


def _start_receiver() -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", _RECEIVER], stdout=subprocess.PIPE, text=True)


async def _deliver_all(store_url: str, url: str, orders: Sequence[Order]) -> list[Result]:
    client = await open_client(store_url)
    try:
        async with open_http_sender() as sender:
            webhooks = Webhooks(RedisWebhooks(client), _Orders(orders), sender)
            webhooks.update([_endpoint(url)])
            began, cpu = time.perf_counter(), time.process_time()
            for order in orders:
                await webhooks.take(_events(order))
            added = time.process_time()
            await webhooks.deliver(NAME)
            took_s, cpu_s = time.perf_counter() - began, time.process_time() - added
    finally:
        await client.close()
    messages = PER_ORDER * len(orders)
    assert webhooks.attempts[NAME, "delivered"] == messages
    return [
        Result("CPU of delivering a message", 1e6 * cpu_s / messages, "µs", None, "HTTP, store and log included"),
        Result("CPU of adding a message", 1e6 * (added - cpu) / messages, "µs", None, "four at a time"),
        Result("messages delivered by one process", messages / took_s, "a second", None, "8 at a time"),
    ]


def _endpoint(url: str) -> Endpoint:
    return Endpoint(name=NAME, url=url, signer=WebhookSigner(new_secret()), allow_private=True)


def _events(order: Order) -> list[NewEvent]:
    return [NewEvent(order, number + 1) for number in range(PER_ORDER)]


def _out_of_order(orders: Sequence[Order], received: Sequence[str]) -> int:
    position = {webhook_id: index for index, webhook_id in enumerate(received)}
    return sum(
        position[event_id(order, number)] > position[event_id(order, number + 1)]
        for order in orders
        for number in range(1, PER_ORDER)
    )


def _most_in_a_minute(times: Sequence[float]) -> int:
    return max(
        (sum(at <= other < at + 60 for other in times[index : index + 100]) for index, at in enumerate(times)),
        default=0,
    )


def _order() -> Order:
    cart_id = new_cart_id()
    order = Order(
        id=order_id_for(cart_id, 2),
        cart_id=cart_id,
        currency="GBP",
        lines=(OrderLine(Sku("MUG"), "A mug", 1, 255),),
        shipping_method="standard",
        shipping=495,
        email="ada@example.com",
        shipping_address=Address("Ada Lovelace", "12 St James's Square", "London", "SW1Y 4JH", "GB"),
        payment_token="tok_ok",  # noqa: S106 - a token of the sandbox
        created_at=_START_MS,
        updated_at=_START_MS,
        history=(HistoryEntry(OrderStatus.ACCEPTED, _START_MS),),
    )
    for status in list(NEXT.values())[: PER_ORDER - 1]:
        order = order.moved(status, at=_START_MS)
    return order


if __name__ == "__main__":
    sys.exit(main())
