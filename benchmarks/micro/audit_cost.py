"""CPU time of the audit of the books: `python -m benchmarks.micro.audit_cost [--quick]`.

In one process, with an embedded store: completed orders are stored, and audited whole. Then some of them change, as many as a shop
completes in a minute, and a round of changes is audited. A round's CPU time is that of this process and that of the server.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import uvloop

from benchmarks.harness.processes import cpu_time
from benchmarks.harness.results import Result, results_table, write_results
from cart.ids import new_cart_id, order_id_for, partition_of
from cart.model import Sku
from cart.sku_keys import product_key
from checkout.audit.audit import Audit, AuditReport
from checkout.order import Address, HistoryEntry, Order, OrderLine
from checkout.order_number import order_number
from checkout.order_status import OrderStatus
from checkout.payments.payment import Payment
from checkout.privacy.memory_keys import MemoryKeys
from checkout.privacy.order_codec import OrderCodec
from checkout.privacy.sealer import Sealer
from checkout.redis.books import RedisBooks
from checkout.stored import encode_state, ended_key, number_key, order_key, status_key
from store import Client, open_client
from store.embedded import EmbeddedServer

SKUS: Final = 4_000
LINES: Final = 3
BATCH: Final = 500
DAY_MS: Final = 86_400_000
STATUSES: Final = list(OrderStatus)[1:5]
# Of a shop that completes 1,000 a second, in a minute.
RATE: Final = 1_000
CHANGED: Final = 60_000


def completed_order(chance: random.Random, at: int) -> Order:
    """An order of three lines that was completed at `at`."""
    cart_id = new_cart_id()
    skus = chance.sample(range(SKUS), LINES)
    order = Order(
        id=order_id_for(cart_id, 3),
        cart_id=cart_id,
        currency="GBP",
        lines=tuple(OrderLine(Sku(f"sku-{sku}"), "WHITE HANGING HEART T-LIGHT HOLDER", 2, 255) for sku in skus),
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
    for status in STATUSES:
        order = order.moved(status, at=at)
    return msgspec.structs.replace(order, payment=Payment(reference="p1", authorised=order.total, captured=order.total))


async def store_orders(client: Client, codec: OrderCodec, count: int, changed: int) -> list[Order]:
    """Store completed orders of the day before, as a worker leaves them; returns the first, of which so many will change."""
    chance, orders = random.Random(7), list[Order]()
    at = time.time_ns() // 1_000_000 - DAY_MS
    for sku in range(SKUS):
        await client.execute("HSET", product_key(Sku(f"sku-{sku}")), "stock", 1_000_000)
    for _ in range(count // BATCH):
        batch = [completed_order(chance, at) for _ in range(BATCH)]
        documents = [await codec.encode(msgspec.structs.replace(each, payment=None)) for each in batch]
        await asyncio.gather(*(_store(client, *pair) for pair in zip(batch, documents, strict=True)))
        orders += batch[: changed - len(orders)]
    return orders


async def _store(client: Client, order: Order, document: bytes) -> None:
    fields = ("doc", document, "status", order.status, "state", encode_state(order), "revision", 5, "durable", 1)
    await asyncio.gather(
        client.execute("HSET", order_key(order.id), "key", "k", "body", "b", *fields),
        client.execute("SADD", number_key(order_number(order.id)), order.id),
        *_listed(client, order, order.updated_at),
    )


def _listed(client: Client, order: Order, at: int) -> Sequence[asyncio.Future[object]]:
    partition = partition_of(order.id)
    keys = (ended_key(partition), status_key(partition, order.status))
    return [asyncio.ensure_future(client.execute("ZADD", key, at, order.id)) for key in keys]


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
