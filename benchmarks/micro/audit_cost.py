"""CPU time of the audit of the books: `python -m benchmarks.micro.audit_cost [--quick]`.

In one process, with an embedded store: orders are stored, of which 98 % are completed, 1 % cancelled and 1 % in flight, and audited whole. Then
some of the completed ones change, as many as a shop completes in a minute, and a round of changes is audited. A round's CPU time is that of this process and that of the server.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import uvloop

from benchmarks.harness.processes import cpu_time
from benchmarks.harness.results import Result, results_table, write_results
from cart.ids import new_cart_id, order_id_for, partition_of
from cart.model import Sku
from cart.sku_keys import holds_key, product_key
from checkout.amounts import OrderLine
from checkout.audit.audit import Audit, AuditReport
from checkout.order import Address, HistoryEntry, Order
from checkout.order_number import order_number
from checkout.order_status import CancelReason, OrderStatus
from checkout.payments.payment import Payment
from checkout.privacy.memory_keys import MemoryKeys
from checkout.privacy.order_codec import OrderCodec
from checkout.privacy.sealer import Sealer
from checkout.redis.books import RedisBooks
from checkout.stored import encode_state, ended_key, in_flight_key, number_key, order_key, status_key
from store import Client, open_client
from store.embedded import EmbeddedServer

SKUS: Final = 4_000
DROP: Final = Sku("drop")
IMPORTED: Final = 100_000_000
LINES: Final = 3
BATCH: Final = 500
DAY_MS: Final = 86_400_000
STATUSES: Final = list(OrderStatus)[1:5]
# Of a shop that completes 1,000 a second, in a minute.
RATE: Final = 1_000
CHANGED: Final = 60_000


def accepted_order(chance: random.Random, at: int, drop: Sequence[Sku] = ()) -> Order:
    """An order of three lines that was accepted at `at`; the first are of these SKUs."""
    cart_id = new_cart_id()
    skus = [*drop, *(Sku(f"sku-{each}") for each in chance.sample(range(SKUS), LINES - len(drop)))]
    return Order(
        id=order_id_for(cart_id, 3),
        cart_id=cart_id,
        currency="GBP",
        lines=tuple(OrderLine(sku, "WHITE HANGING HEART T-LIGHT HOLDER", 2, 255) for sku in skus),
        shipping_method="standard",
        shipping=495,
        email="ada@example.com",
        shipping_address=Address("Ada Lovelace", "12 St James's Square", "London", "SW1Y 4JH", "GB"),
        payment_token="tok_ok",  # noqa: S106 - of the sandbox
        created_at=at,
        updated_at=at,
        history=(HistoryEntry(OrderStatus.ACCEPTED, at),),
        workflow=1,
    )


def completed_order(chance: random.Random, at: int) -> Order:
    """One that was completed."""
    order = accepted_order(chance, at)
    for status in STATUSES:
        order = order.moved(status, at=at)
    return msgspec.structs.replace(order, payment=Payment(reference="p1", authorised=order.total, captured=order.total))


def cancelled_order(chance: random.Random, at: int) -> Order:
    """One that was cancelled."""
    return accepted_order(chance, at).moved(OrderStatus.CANCELLED, at=at, reason=CancelReason.OUT_OF_STOCK)


async def store_orders(client: Client, codec: OrderCodec, count: int, changed: int) -> list[Order]:
    """Store orders of the day before, as workers leave them; returns the first completed ones, of which so many will change.

    Of a hundred, one is cancelled, and one in flight with holds, each of the drop too.
    """
    chance, orders, units = random.Random(7), list[Order](), Units()
    at = time.time_ns() // 1_000_000 - DAY_MS
    for _ in range(count // BATCH):
        completed = [completed_order(chance, at) for _ in range(BATCH * 98 // 100)]
        cancelled = [cancelled_order(chance, at) for _ in range(BATCH // 100)]
        in_flight = [accepted_order(chance, at, [DROP]) for _ in range(BATCH // 100)]
        batch = [*completed, *cancelled, *in_flight]
        documents = [await codec.encode(msgspec.structs.replace(each, payment=None)) for each in batch]
        await asyncio.gather(*(_store(client, *pair) for pair in zip(batch, documents, strict=True)))
        await asyncio.gather(*(call for each in in_flight for call in _held(client, each)))
        units.add(completed, in_flight)
        orders += completed[: changed - len(orders)]
    await units.store(client)
    return orders


class Units:
    """The units of each SKU that are sold and held."""

    def __init__(self) -> None:
        self._sold: Counter[Sku] = Counter()
        self._held: Counter[Sku] = Counter()

    def add(self, completed: Sequence[Order], in_flight: Sequence[Order]) -> None:
        """Count the lines of these orders."""
        for counter, orders in ((self._sold, completed), (self._held, in_flight)):
            for line in (line for order in orders for line in order.lines):
                counter[line.sku] += line.quantity

    async def store(self, client: Client) -> None:
        """Store the products, whose units add up."""
        for sku in (DROP, *(Sku(f"sku-{each}") for each in range(SKUS))):
            sold, held = self._sold[sku], self._held[sku]
            fields = ("stock", IMPORTED - sold - held, "imported", IMPORTED, "sold", sold)
            await client.execute("HSET", product_key(sku), *fields)


async def _store(client: Client, order: Order, document: bytes) -> None:
    fields = ("doc", document, "status", order.status, "state", encode_state(order), "revision", 5, "durable", 1)
    await asyncio.gather(
        client.execute("HSET", order_key(order.id), "key", "k", "body", "b", *fields),
        client.execute("SADD", number_key(order_number(order.id)), order.id),
        *_listed(client, order, order.updated_at),
    )


def _listed(client: Client, order: Order, at: int) -> Sequence[asyncio.Future[object]]:
    partition = partition_of(order.id)
    keys = (ended_key(partition), status_key(partition, order.status)) if order.status.has_ended else ()
    return [asyncio.ensure_future(client.execute("ZADD", key, at, order.id)) for key in keys]


def _held(client: Client, order: Order) -> Sequence[asyncio.Future[object]]:
    """An order in flight has shown a sign of life, and holds its lines."""
    now, partition = time.time_ns() // 1_000_000, partition_of(order.id)
    keys = (in_flight_key(partition), status_key(partition, order.status))
    listed = [client.execute("ZADD", key, now, order.id) for key in keys]
    held = [client.execute("HSET", holds_key(line.sku), order.id, f"{line.quantity} {now} 1") for line in order.lines]
    return [asyncio.ensure_future(call) for call in (*listed, *held)]


async def change(client: Client, orders: Sequence[Order]) -> None:
    """Have these orders completed now."""
    for first in range(0, len(orders), BATCH):
        batch = orders[first : first + BATCH]
        await asyncio.gather(*(call for each in batch for call in _listed(client, each, time.time_ns() // 1_000_000)))


class Meter:
    """CPU seconds of this process and of the server, from its begin on."""

    def __init__(self, server_pid: int) -> None:
        self._server_pid = server_pid
        self._own, self._server = time.process_time(), cpu_time(server_pid).total_s

    def spent(self) -> tuple[float, float]:
        """Of this process, and of the server."""
        return time.process_time() - self._own, cpu_time(self._server_pid).total_s - self._server


async def measure(client: Client, server_pid: int, count: int, changed: int) -> list[Result]:
    """Audit `count` stored orders, and then a round with `changed` of them. Raises `RuntimeError` if a good order is named."""
    orders = await store_orders(client, OrderCodec(Sealer(MemoryKeys())), count, changed)
    audit = Audit(RedisBooks(client), rate=1e9, confirm_after_s=0)
    meter = Meter(server_pid)
    full = _clean(await audit.run(), count)
    full_s, full_server_s = meter.spent()
    drop = await measure_drop(client, server_pid)
    await change(client, orders[:changed])
    meter = Meter(server_pid)
    _clean(await audit.run_changes(full.began_ms), changed)
    changes_s, changes_server_s = meter.spent()
    # The orders of a minute are as many as changed; fewer are the orders of so much less time.
    period_s = changed / RATE
    stored, note = f"{count:,} orders stored", "the machine was shared with other work"
    return [
        Result("full round, the audit", full_s * 1e6 / count, "µs an order", note=stored),
        Result("full round, the store", full_server_s * 1e6 / count, "µs an order", note=stored),
        Result("round of changes, the audit", changes_s * 1e6 / changed, "µs an order", note=f"{changed:,} changed"),
        Result(
            "round of changes, the store", changes_server_s * 1e6 / changed, "µs an order", note=f"{changed:,} changed"
        ),
        Result("the audit at 1,000 orders/s", changes_s / period_s, "of a core", 0.10, note),
        Result("the store for it", changes_server_s / period_s, "of a core", note=note),
        Result("a round of changes beside a full one", changes_s / full_s, "ratio"),
        *drop,
    ]


async def measure_drop(client: Client, server_pid: int) -> list[Result]:
    """Add up the holds of the drop. Raises `RuntimeError` if they are not those that the units for sale lack."""
    meter = Meter(server_pid)
    records = [each async for each in RedisBooks(client).stock(DROP)]
    spent_s, server_s = meter.spent()
    book = records[-1].book
    if book is None or book.available != book.expected:
        raise RuntimeError(f"the drop: {book}")
    holds = sum(each.holds for each in records)
    note = f"{holds:,} holds of one SKU"
    return [
        Result("the sum of a drop, the audit", spent_s * 1e6 / holds, "µs a hold", note=note),
        Result("the sum of a drop, the store", server_s * 1e6 / holds, "µs a hold", note=note),
    ]


def _clean(report: AuditReport, count: int) -> AuditReport:
    if report.findings or report.looked_at != count:
        raise RuntimeError(
            f"{report.looked_at} of {count} orders, and {len(report.findings)} findings: {report.findings[:3]}"
        )
    return report


async def run(count: int, changed: int) -> list[Result]:
    """Measure with a store of its own."""
    with tempfile.TemporaryDirectory(prefix="peakgate-bench-") as folder:
        server = EmbeddedServer(Path(folder))
        server.start()
        try:
            client = await open_client(server.url, deadline_s=30.0)
            assert server.pid is not None
            results = await measure(client, server.pid, count, changed)
            await client.close()
            return results
        finally:
            server.stop()


def main() -> int:
    """Entry point of `make bench-audit`."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.micro.audit_cost", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--orders", type=int, default=1_000_000, metavar="COUNT", help="stored (default: 1000000)")
    parser.add_argument("--quick", action="store_true", help="20,000 orders, and no results: for trying it out")
    args = parser.parse_args()
    count = 20_000 if args.quick else args.orders
    changed = min(CHANGED, count // 2)
    results = uvloop.run(run(count, changed))
    print(results_table(results))
    if not args.quick:
        settings = {"orders": count, "changed": changed, "skus": SKUS, "lines": LINES}
        print(write_results("audit_cost", settings, {}, results))
    return 0 if all(each.met is not False for each in results) else 1


if __name__ == "__main__":
    sys.exit(main())
