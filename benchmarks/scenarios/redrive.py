"""Dead letters that are redriven twice, each time with a kill in between: no order has a second effect.

`python -m benchmarks.scenarios.redrive [--quick]` buries the messages of 100,000 orders as dead letters of the queue on Redis, runs
`peakgate orders dead redrive --all`, kills it (SIGKILL) half-way, runs it again, and has a worker complete the orders. Then all
that once more, with the same letters. It counts, so a busy machine changes only how long it takes.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import uvloop

from benchmarks.harness.command import exit_code_of
from benchmarks.harness.gateway_process import HarnessError
from benchmarks.harness.progress import show_steps
from benchmarks.harness.results import Result, results_table, write_results
from cart.ids import new_cart_id, order_id_for
from cart.memory import MemoryCarts
from cart.model import Sku
from cart.timestamps import unix_ms
from checkout.amounts import OrderLine
from checkout.memory.order_index import MemoryOrderIndex
from checkout.memory.orders import MemoryOrders
from checkout.memory.progress import MemoryProgress
from checkout.memory.stock import MemoryStock
from checkout.message import order_accepted
from checkout.order import Address, HistoryEntry, Order
from checkout.order_status import OrderStatus
from checkout.payments.order_payments import OrderPayments
from checkout.payments.sandbox import PaymentState, SandboxPayments
from checkout.ports.orders import Receipt
from checkout.ports.stock import StockLine
from checkout.processor import LEASE_S, OrderProcessor
from checkout.queues.redis_queue import BULK, DEAD, RedisQueue
from checkout.shipping.sandbox import SandboxShipping
from checkout.worker import OrderWorker
from checkout.workflow.orders import LATEST
from checkout.workflow.runner import Workflow, order_steps
from store import Client, open_client
from store.embedded import EmbeddedServer

SKU: Final = Sku("MUG")
ROUNDS: Final = 2
_AT_ONCE: Final = 500
_POLL_S: Final = 0.02
_WITHIN_S: Final = 3_600.0


class Notifications:
    """Counts the notifications of each order."""

    def __init__(self) -> None:
        self.sent: Counter[str] = Counter()

    async def order_completed(self, order: Order) -> None:
        """Count it."""
        self.sent[order.id] += 1


class Shop:
    """Orders in memory, whose services keep account of every effect."""

    def __init__(self, orders: int) -> None:
        self.stock = MemoryStock({SKU: orders})
        # Its ledger has two entries an order, and would have more if one were paid for twice.
        self.sandbox = SandboxPayments(max_payments=4 * orders)
        self.notifications = Notifications()
        self.orders = MemoryOrders(MemoryCarts())

    async def accept(self) -> Order:
        """Hold the stock of an order and store it, as checkout does."""
        order = _an_order()
        if await self.stock.hold(order.id, [StockLine(SKU, 1)], fence=1):
            raise HarnessError("the stock of the benchmark is too small")
        self.orders.orders[order.id] = Receipt(order, "key", "fingerprint", is_durable=True)
        return order

    def worker(self, store: Client, blocking: Client) -> OrderWorker:
        """A worker of this shop on the queue in the store."""
        progress = MemoryProgress(self.orders, lease_ms=round(LEASE_S * 1000))
        steps = order_steps(
            index=MemoryOrderIndex(),
            stock=self.stock,
            payments=OrderPayments(self.sandbox),
            shipping=SandboxShipping(),
            notifications=self.notifications,
        )
        workflow = Workflow(self.orders, steps)
        processor = OrderProcessor(progress, workflow, workflow, holder="bench")
        return OrderWorker(RedisQueue(store, blocking, consumer="bench"), processor.process, wait_s=0.2)


@dataclass(slots=True)
class Outcome:
    """What a round of redrives moved, and how long the run that was not killed took."""

    moved_before_kill: int = 0
    delivered: int = 0
    redrive_s: float = 0.0
    redriven: int = 0
    left: int = 0
    effects: Counter[str] = field(default_factory=Counter)


def main() -> int:
    """Entry point of `make bench-redrive`; 0 when everything could be measured, whether or not targets are met."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scenarios.redrive", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--quick", action="store_true", help="2,000 letters, results not written")
    parser.add_argument("--letters", type=int, help="dead letters (default: 100000)")
    args = parser.parse_args()
    letters = args.letters or (2_000 if args.quick else 100_000)
    return exit_code_of("redrive", lambda: measure(letters=letters, keep=not args.quick))


def measure(*, letters: int, keep: bool) -> list[Result]:
    """Measure, print the results and, if wanted, write results/redrive.json."""
    results = results_of(letters, uvloop.run(_run(letters)))
    print(results_table(results))
    if keep:
        print(f"\nwritten to {write_results('redrive', {'letters': letters}, {}, results)}")
    return results


def results_of(letters: int, rounds: list[Outcome]) -> list[Result]:
    """The results of all rounds."""
    last = rounds[-1]
    results = [
        Result(f"round {number}: letters moved before the kill", each.moved_before_kill, "letters")
        for number, each in enumerate(rounds, 1)
    ]
    for number, each in enumerate(rounds, 1):
        results += [
            Result(f"round {number}: messages lost", max(0, letters - each.delivered), "messages", 0),
            Result(f"round {number}: messages that came twice", max(0, each.delivered - letters), "messages", 0),
            Result(f"round {number}: dead letters left", each.left, "letters", 0),
        ]
    results += [
        Result(f"orders with other than one {effect}", count, "orders", 0)
        for effect, count in sorted(last.effects.items())
    ]
    rate = sum(each.redriven for each in rounds) / max(sum(each.redrive_s for each in rounds), 1e-9)
    return [*results, Result("letters a second, without the limit of a rate", rate, "letters/s")]


async def _run(letters: int) -> list[Outcome]:
    with tempfile.TemporaryDirectory() as folder, show_steps(1 + 3 * ROUNDS) as step:
        server = EmbeddedServer(Path(folder))
        server.start()
        try:
            store = await open_client(server.url, deadline_s=30.0)
            blocking = await open_client(server.url, deadline_s=30.0)
            step("accepting orders")
            shop = Shop(letters)
            orders = [await shop.accept() for _ in range(letters)]
            rounds = [
                await _round(server.url, store, blocking, shop, orders, step, number) for number in range(1, ROUNDS + 1)
            ]
            await blocking.close()
            await store.close()
            return rounds
        finally:
            server.stop()


async def _round(  # noqa: PLR0917 - all that a round works with
    url: str, store: Client, blocking: Client, shop: Shop, orders: list[Order], step: Callable[[str], None], number: int
) -> Outcome:
    outcome = Outcome()
    step(f"round {number}: burying messages")
    messages = [order_accepted(order) for order in orders]
    for start in range(0, len(messages), _AT_ONCE):
        part = messages[start : start + _AT_ONCE]
        await asyncio.gather(*(store.execute("XADD", DEAD, "*", "body", body, "attempts", 1) for body in part))
    step(f"round {number}: redriving, with a kill")
    outcome.moved_before_kill = await _redrive_and_kill(url, store, len(orders) // 2)
    began_at = time.monotonic()
    outcome.redriven = await _redrive(url)
    outcome.redrive_s = time.monotonic() - began_at
    outcome.delivered, outcome.left = await store.execute("XLEN", BULK), await store.execute("XLEN", DEAD)
    step(f"round {number}: working on the orders")
    await _work(shop, store, blocking, outcome.delivered)
    outcome.effects = _effects(shop, orders)
    return outcome


async def _redrive_and_kill(url: str, store: Client, at: int) -> int:
    """Run the command until it has moved `at` letters, and kill it; returns how many it has moved."""
    process = await asyncio.create_subprocess_exec(*_command(url), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while await store.execute("XLEN", BULK) < at:
        if process.returncode is not None:
            raise HarnessError("the redrive ended before it could be killed; try with more letters")
        await asyncio.sleep(_POLL_S)
    process.send_signal(signal.SIGKILL)
    await process.wait()
    moved: int = await store.execute("XLEN", BULK)
    return moved


async def _redrive(url: str) -> int:
    """Run the command to its end; returns how many letters it says it has moved."""
    process = await asyncio.create_subprocess_exec(*_command(url), stdout=subprocess.PIPE)
    out, _ = await process.communicate()
    if process.returncode:
        raise HarnessError(f"the redrive ended with status {process.returncode}")
    return int(out.split()[0].replace(b",", b""))


def _command(url: str) -> list[str]:
    return [
        *(sys.executable, "-m", "gateway", "orders", "dead", "redrive", "--all"),
        *("--rate", "100000", "--store-url", url),
    ]


async def _work(shop: Shop, store: Client, blocking: Client, messages: int) -> None:
    """Run a worker until it has processed so many messages."""
    worker = shop.worker(store, blocking)
    running = asyncio.ensure_future(worker.run())
    end = time.monotonic() + _WITHIN_S
    while worker.processed < messages or worker.in_progress:
        if time.monotonic() > end:
            raise HarnessError(f"the worker has processed {worker.processed:,} of {messages:,} messages in time")
        await asyncio.sleep(_POLL_S)
    worker.stop()
    await running


def _effects(shop: Shop, orders: list[Order]) -> Counter[str]:
    """For each effect, the number of orders that have had it other than once."""
    became = Counter((entry.order_id, entry.became) for entry in shop.sandbox.ledger)
    wrong: Counter[str] = Counter()
    for order in orders:
        wrong["authorisation"] += became[order.id, PaymentState.AUTHORISED] != 1
        wrong["capture"] += became[order.id, PaymentState.CAPTURED] != 1
        wrong["notification"] += shop.notifications.sent[order.id] != 1
        wrong["completion"] += shop.orders.orders[order.id].order.status is not OrderStatus.COMPLETED
    wrong["unit of stock"] = abs(shop.stock.available[SKU])
    return wrong


_numbers: Final = itertools.count(1)


def _an_order() -> Order:
    now, cart_id = unix_ms(), new_cart_id()
    return Order(
        id=order_id_for(cart_id, 1),
        cart_id=cart_id,
        currency="GBP",
        lines=(OrderLine(SKU, "A MUG", 1, 255),),
        shipping_method="standard",
        shipping=0,
        email=f"shopper{next(_numbers)}@example.com",
        shipping_address=Address("A Shopper", "1 High Street", "London", "SW1Y 4JH", "GB"),
        payment_token="tok_ok",  # noqa: S106 - of the sandbox
        created_at=now,
        updated_at=now,
        history=(HistoryEntry(OrderStatus.ACCEPTED, now),),
        workflow=LATEST.version,
    )


if __name__ == "__main__":
    sys.exit(main())
