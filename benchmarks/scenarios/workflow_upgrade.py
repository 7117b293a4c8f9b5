"""A rolling upgrade of the workflow: workers are replaced while orders of both versions are in flight.

`python -m benchmarks.scenarios.workflow_upgrade [--quick]` places 10,000 orders, half of them of a version 2 that has one step
more and one less, and then starts two workers that know version 1 only. One after the other is replaced by a worker that knows
both, the first by SIGKILL, the second by SIGTERM. It counts, so a busy machine changes only how long it takes.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import msgspec
import uvloop

from benchmarks.harness.command import exit_code_of
from benchmarks.harness.gateway_process import HarnessError
from benchmarks.harness.progress import show_steps
from benchmarks.harness.results import Result, results_table, write_results
from cart.ids import new_cart_id
from cart.model import Cart, Limits, Line, OrderId, Product, Sku
from cart.ports import Write
from cart.redis_carts import RedisCarts
from cart.sku_keys import product_key
from cart.timestamps import unix_ms
from checkout.handlers import CheckoutHandlers
from checkout.memory.order_index import MemoryOrderIndex
from checkout.message import order_accepted
from checkout.order import Order
from checkout.order_status import OrderStatus
from checkout.outbox import outgoing
from checkout.payments.order_payments import OrderPayments
from checkout.payments.sandbox import SandboxPayments
from checkout.ports.orders import Claim, Committed, Orders
from checkout.ports.outbox import OutboxEntry
from checkout.processor import LEASE_S, OrderProcessor
from checkout.queues.redis_queue import QUEUE, RedisQueue
from checkout.redis.order_index import RedisOrderIndex
from checkout.redis.orders import RedisOrders
from checkout.redis.progress import RedisProgress
from checkout.redis.stock import RedisStock
from checkout.request import AddressBody, CheckoutRequest, PaymentBody
from checkout.sandbox import SandboxNotifications
from checkout.shipping.sandbox import SandboxShipping
from checkout.steps.step import Services, Step
from checkout.stored import number_key
from checkout.worker import OrderWorker
from checkout.workflow.orders import THREE_CALLS, VERSION_1
from checkout.workflow.runner import Workflow, order_steps
from checkout.workflow.table import StepRow, WorkflowTable
from store import Client, Store, open_client
from store.embedded import EmbeddedServer

END_WITHIN_S: Final = 300.0
SKU: Final = Sku("MUG")
# The sets of orders that version 2 screened, and that a worker moved on, by its kind.
SCREENED: Final = "upgrade:screened"
MOVED: Final = "upgrade:moved:"
_AT_ONCE: Final = 50
_POLL_S: Final = 0.2
_VISIBILITY_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """The orders of each version, and the sets of those of which something is known."""

    of_1: frozenset[str]
    of_2: frozenset[str]
    completed: frozenset[str]
    screened: frozenset[str]
    indexed: frozenset[str]
    moved_by_old: frozenset[str]
    stock_taken: int
    took_s: float


def main() -> int:
    """Entry point of `make bench-upgrade`; 0 when everything could be measured, whether or not targets are met."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scenarios.workflow_upgrade", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--quick", action="store_true", help="400 orders, results not written")
    parser.add_argument("--orders", type=int, help="orders (default: 10000)")
    parser.add_argument("--work", nargs=2, metavar=("KIND", "STORE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work is not None:
        uvloop.run(_work(*args.work))
        return 0
    orders = args.orders or (400 if args.quick else 10_000)
    return exit_code_of("workflow_upgrade", lambda: measure(orders=orders, keep=not args.quick))


def measure(*, orders: int, keep: bool) -> list[Result]:
    """Measure, print the results and, if wanted, write results/workflow_upgrade.json."""
    results = results_of(uvloop.run(_upgrade(orders)))
    print(results_table(results))
    if keep:
        print(f"\nwritten to {write_results('workflow_upgrade', {'orders': orders}, {}, results)}")
    return results


def results_of(outcome: Outcome) -> list[Result]:
    """The counts, those with targets first."""
    orders = outcome.of_1 | outcome.of_2
    return [
        Result("orders that are not completed", len(orders - outcome.completed), "", 0),
        Result("orders of version 1 without its steps", len(outcome.of_1 - outcome.indexed), "", 0),
        Result("orders of version 1 with steps of version 2", len(outcome.of_1 & outcome.screened), "", 0),
        Result("orders of version 2 without its steps", len(outcome.of_2 - outcome.screened), "", 0),
        Result("orders of version 2 with steps of version 1", len(outcome.of_2 & outcome.indexed), "", 0),
        Result("orders of version 2 that an old worker moved", len(outcome.of_2 & outcome.moved_by_old), "", 0),
        Result("units of stock taken without an order", abs(outcome.stock_taken - len(orders)), "", 0),
        Result("orders of version 1 that old workers moved", len(outcome.of_1 & outcome.moved_by_old), ""),
        Result("from the first worker to the last order", outcome.took_s, "s"),
    ]


# The upgrade


async def _upgrade(count: int) -> Outcome:
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedServer(Path(folder))
        server.start()
        workers: list[subprocess.Popen[bytes]] = []
        try:
            async with AsyncExitStack() as stack:
                client = await open_client(server.url, deadline_s=10.0)
                stack.push_async_callback(client.close)
                return await _upgrade_on(client, server.url, count, workers)
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()
            server.stop()


async def _upgrade_on(client: Client, url: str, count: int, workers: list[subprocess.Popen[bytes]]) -> Outcome:
    await client.execute("HSET", product_key(SKU), "stock", count)
    shop = _Shop(client)
    with show_steps(4) as step:
        of_1, of_2 = [await shop.place_many(version, count // 2) for version in (1, 2)]
        step(f"{count} orders placed")
        began_at = time.monotonic()
        workers += [_start("old", url), _start("old", url)]
        await _until(client, count - count // 10)
        step("two old workers at work")
        workers[0].send_signal(signal.SIGKILL)
        workers.append(_start("new", url))
        await _until(client, count - count // 4)
        step("the first is killed and replaced")
        workers[1].send_signal(signal.SIGTERM)
        workers.append(_start("new", url))
        await _until(client, 0)
        step("the second is replaced, and all orders have ended")
    took_s = time.monotonic() - began_at
    stock = await client.execute("HGET", product_key(SKU), "stock")
    orders = RedisOrders(client)
    stored = [await orders.read(OrderId(order_id)) for order_id in of_1 | of_2]
    return Outcome(
        of_1,
        of_2,
        completed=frozenset(each.id for each in stored if each is not None and each.status is OrderStatus.COMPLETED),
        screened=await _members(client, SCREENED),
        indexed=frozenset(
            [each.id for each in stored if each and await client.execute("EXISTS", number_key(each.number))]
        ),
        moved_by_old=await _members(client, f"{MOVED}old"),
        stock_taken=count - int(stock),
        took_s=took_s,
    )


async def _until(client: Client, messages: int) -> None:
    """Wait until so few messages are left in the queue."""
    deadline = time.monotonic() + END_WITHIN_S
    while await client.execute("XLEN", QUEUE) > messages:
        if time.monotonic() > deadline:
            raise HarnessError(f"more than {messages} orders are left after {END_WITHIN_S:g} s")
        await asyncio.sleep(_POLL_S)


async def _members(client: Client, key: str) -> frozenset[str]:
    return frozenset(member.decode() for member in await client.execute("SMEMBERS", key))


def _start(kind: str, url: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "benchmarks.scenarios.workflow_upgrade", "--work", kind, url])


class _Shop:
    """The edge: it accepts orders of either version and sends them."""

    is_stale = False

    def __init__(self, client: Client) -> None:
        self.current: Mapping[Sku, Product] = {SKU: Product(SKU, "mug", 255, "GBP")}
        self._carts = RedisCarts(client)
        self._client = client
        self._queue = RedisQueue(client, client, consumer="sender")

    async def products(self, _skus: Collection[Sku]) -> Mapping[Sku, Product]:
        """See `PriceBook.products`."""
        return self.current

    async def place_many(self, version: int, count: int) -> frozenset[str]:
        """Place orders of this version, and send them."""
        sent: list[OutboxEntry] = []
        handlers = CheckoutHandlers(
            orders=cast(Orders, _OrdersOf(version, self._client)),
            stock=RedisStock(self._client),
            prices=self,
            merges=self._carts,
            message=order_accepted,
            dispatch=sent.append,
            # Elsewhere, so that the step of the worker shows.
            index=MemoryOrderIndex(),
        )
        for number in range(0, count, _AT_ONCE):
            await asyncio.gather(*(self._place(handlers) for _ in range(min(_AT_ONCE, count - number))))
        for number in range(0, count, 10):
            await self._queue.send([outgoing(entry) for entry in sent[number : number + 10]])
        return frozenset(entry.order_id for entry in sent)

    async def _place(self, handlers: CheckoutHandlers) -> None:
        now, limits = unix_ms(), Limits()
        cart = Cart(id=new_cart_id(), currency="GBP", created_at=now, updated_at=now)
        await self._carts.create(cart, limits=limits)
        write = Write(now=now, limits=limits)
        await self._carts.add_line(cart.id, Line(SKU, 1, 255), currency="GBP", write=write)
        address = AddressBody(name="A", line1="1 Street", city="London", postcode="SW1Y 4JH", country="gb")
        request = CheckoutRequest(
            cart_id=cart.id, email="a@example.com", shipping_address=address, payment=PaymentBody("tok_ok")
        )
        await handlers.place(request, idempotency_key=cart.id)


class _OrdersOf:
    """`RedisOrders`, accepted with this version of the workflow."""

    def __init__(self, version: int, client: Client) -> None:
        self._orders = RedisOrders(client)
        self._version = version

    def __getattr__(self, name: str) -> Any:
        return getattr(self._orders, name)

    async def commit(self, claim: Claim, order: Order, *, cart_version: int, message: bytes) -> Committed | None:
        """See `Orders.commit`."""
        order = msgspec.structs.replace(order, workflow=self._version)
        return await self._orders.commit(claim, order, cart_version=cart_version, message=message)


# A worker


class _Screen(Step):
    """The step that version 2 adds."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def apply(self, order: Order) -> None:
        """See `Step.apply`."""
        await self._store.execute("SADD", SCREENED, order.id)


class _MovedOrders:
    """`RedisOrders` that tell which kind of worker moved them."""

    def __init__(self, store: Store, kind: str) -> None:
        self._orders = RedisOrders(store)
        self._marks = store
        self._kind = kind

    def __getattr__(self, name: str) -> Any:
        return getattr(self._orders, name)

    async def update(self, before: Order, after: Order, **more: Any) -> Order:
        """See `Orders.update`."""
        await self._marks.execute("SADD", f"{MOVED}{self._kind}", before.id)
        return await self._orders.update(before, after, **more)


def tables_of(kind: str, store: Store) -> dict[int, WorkflowTable]:
    """The versions that a worker of this kind knows."""

    def screen(_services: Services) -> Step:
        return _Screen(store)

    _, confirm, *rest = VERSION_1.rows
    added = StepRow(name="screen", step=screen, retry=THREE_CALLS)
    return {1: VERSION_1} | ({2: WorkflowTable(2, (confirm, added, *rest))} if kind == "new" else {})


async def _work(kind: str, url: str) -> None:
    """Work on orders until SIGTERM."""
    store, blocking = await open_client(url, deadline_s=10.0), await open_client(url, deadline_s=10.0)
    name = f"{kind}:{secrets.token_hex(4)}"
    steps = order_steps(
        index=RedisOrderIndex(store),
        stock=RedisStock(store),
        payments=OrderPayments(SandboxPayments()),
        shipping=SandboxShipping(),
        notifications=SandboxNotifications(),
        tables=tables_of(kind, store),
    )
    workflow = Workflow(cast(Orders, _MovedOrders(store, kind)), steps)
    progress = RedisProgress(store, lease_ms=round(LEASE_S * 1000))
    processor = OrderProcessor(progress, workflow, workflow, holder=name)
    queue = RedisQueue(store, blocking, consumer=name, visibility_s=_VISIBILITY_S)
    worker = OrderWorker(queue, processor.process, visibility_s=_VISIBILITY_S)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
    await worker.run()
    await store.close()
    await blocking.close()


if __name__ == "__main__":
    sys.exit(main())
