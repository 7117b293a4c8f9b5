"""CPU time of archiving an order: `python -m benchmarks.micro.archive_cost [--quick]`.

In one process, with an embedded store and the SQLite archive: orders are moved on from accepted to completed, 64 at a time,
with and without the relay of their events to the archive. The difference, threads of SQLite included, is the cost of an
archived order. Then records are put into archives that have more and more of them.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Final

import uvloop

from benchmarks.replay.tables import table
from cart.ids import new_cart_id, order_id_for
from cart.model import Sku
from checkout.amounts import OrderLine
from checkout.archive.archived import Records
from checkout.archive.sink import ArchiveSink
from checkout.archive.sqlite_archive import SqliteArchive
from checkout.events.relay import EventRelay
from checkout.events.sinks import EventSinks
from checkout.order import Address, HistoryEntry, Order
from checkout.order_number import order_number
from checkout.order_status import OrderStatus
from checkout.ports.archive import ArchivedOrder
from checkout.privacy.memory_keys import MemoryKeys
from checkout.privacy.order_codec import OrderCodec
from checkout.privacy.pseudonyms import Pseudonyms
from checkout.privacy.sealer import Sealer
from checkout.redis.event_outbox import RedisEventOutbox
from checkout.redis.order_index import RedisOrderIndex
from checkout.redis.orders import RedisOrders
from checkout.redis.records import RedisOrderRecords
from checkout.stored import order_key
from store import Client, open_client
from store.embedded import EmbeddedServer

CONCURRENT: Final = 64
STATUSES: Final = list(OrderStatus)[1:5]
NOW: Final = 1_764_201_600_000
# A record as the store has it: sealed, with one line.
CONTENT: Final = bytes(range(256)) * 5
PUT: Final = 50


def new_order() -> Order:
    """An accepted order of one line."""
    cart_id = new_cart_id()
    return Order(
        id=order_id_for(cart_id, 3),
        cart_id=cart_id,
        currency="GBP",
        lines=(OrderLine(Sku("85123A"), "WHITE HANGING HEART T-LIGHT HOLDER", 2, 255),),
        shipping_method="standard",
        shipping=495,
        email="ada@example.com",
        shipping_address=Address("Ada Lovelace", "12 St James's Square", "London", "SW1Y 4JH", "GB"),
        payment_token="tok_ok",  # noqa: S106 - of the sandbox
        created_at=NOW,
        updated_at=NOW,
        history=(HistoryEntry(OrderStatus.ACCEPTED, NOW),),
    )


class Bench:
    """Orders in a store, with an archive or without."""

    def __init__(self, client: Client, folder: Path, *, is_archiving: bool) -> None:
        self._client = client
        self._codec = OrderCodec(Sealer(MemoryKeys()))
        self.events = EventSinks(*(("archive",) if is_archiving else ()))
        self.orders = RedisOrders(client, codec=self._codec, events=self.events)
        self.archive = SqliteArchive(folder / "archive.sqlite3")
        pseudonyms = Pseudonyms(b"a key")
        records = RedisOrderRecords(client, Records(self._codec, pseudonyms), RedisOrderIndex(client, pseudonyms))
        self.sink = ArchiveSink(records, self.archive, make_durable=self.orders.make_durable)
        self.relay = EventRelay(RedisEventOutbox(client, "archive"), self.orders, self.sink, name="archive")
        self.events.attach(self.relay.notice)

    async def store(self, count: int) -> list[Order]:
        """Accepted orders."""
        orders = [new_order() for _ in range(count)]
        for order in orders:
            fields = (
                "doc",
                await self._codec.encode(order),
                "status",
                "accepted",
                "key",
                "k",
                "body",
                "b",
                "durable",
                "1",
            )
            await self._client.execute("HSET", order_key(order.id), *fields)
        return orders

    async def complete(self, orders: Sequence[Order]) -> float:
        """Complete them; CPU microseconds of this process for each, until all is archived."""
        waiting = iter(orders)
        began = time.process_time()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(CONCURRENT):
                tasks.create_task(self._complete_each(waiting))
        if self.events.names:
            while not await self.relay.drain(60.0):
                pass
        return (time.process_time() - began) * 1e6 / len(orders)

    async def _complete_each(self, waiting: Iterator[Order]) -> None:
        for order in waiting:
            for status in STATUSES:
                order = await self.orders.transition(order, status, at=NOW)  # noqa: PLW2901 - the next revision
            await self.orders.settle(order)


@asynccontextmanager
async def bench(client: Client, *, is_archiving: bool) -> AsyncIterator[Bench]:
    """A bench with an archive of its own."""
    folder = Path(tempfile.mkdtemp(prefix="peakgate-bench-"))
    async with AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        made = Bench(client, folder, is_archiving=is_archiving)
        await made.archive.open()
        stack.push_async_callback(made.archive.close)
        running = asyncio.create_task(made.relay.run())
        stack.callback(running.cancel)
        yield made


async def measure_orders(client: Client, count: int, rounds: int) -> list[tuple[str, str]]:
    """Orders with and without the archive, in turns."""
    costs: dict[bool, list[float]] = {False: [], True: []}
    records = transactions = 0
    for _ in range(rounds):
        for is_archiving in (False, True):
            async with bench(client, is_archiving=is_archiving) as made:
                orders = await made.store(count)
                costs[is_archiving].append(await made.complete(orders))
                records, transactions = made.sink.archived, made.archive.transactions
    without, with_archive = median(costs[False]), median(costs[True])
    return [
        ("transitions of an order, without the archive", f"{without:.0f} µs"),
        ("the same, archived", f"{with_archive:.0f} µs"),
        ("an archived order", f"{with_archive - without:.0f} µs"),
        ("records put for an order", f"{records / count:.1f}"),
        ("records of a transaction", f"{records / max(transactions, 1):.1f}"),
    ]


async def measure_rows(counts: Sequence[int]) -> None:
    """Print the CPU time of puts and reads of an archive that has so many rows."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="peakgate-bench-")))
        archive = SqliteArchive(folder / "archive.sqlite3")
        await archive.open()
        stored = 0
        for count in counts:
            while stored < count:
                await archive.put([record() for _ in range(5_000)])
                stored += 5_000
            puts = [[record() for _ in range(PUT)] for _ in range(40)]
            began = time.process_time()
            for records in puts:
                await archive.put(records)
            put_us = (time.process_time() - began) * 1e6 / (40 * PUT)
            began = time.process_time()
            for records in puts:
                await asyncio.gather(*(archive.read(each.id) for each in records))
            read_us = (time.process_time() - began) * 1e6 / (40 * PUT)
            size = size_of(folder) / (stored + 40 * PUT)
            cost = f"put {put_us:.0f} µs, read {read_us:.0f} µs of CPU, {size:.0f} bytes a row"
            print(f"{count:>9,} rows: {cost}", flush=True)
        await archive.close()


def size_of(folder: Path) -> int:
    """The bytes of all files."""
    return sum(each.stat().st_size for each in folder.iterdir())


def record() -> ArchivedOrder:
    """A new record of 1,280 bytes, besides its members."""
    order_id = order_id_for(new_cart_id(), 1)
    return ArchivedOrder(
        id=order_id,
        revision=1,
        status=OrderStatus.ACCEPTED,
        number=order_number(order_id),
        created_at=NOW,
        updated_at=NOW,
        content=CONTENT,
        email_hash=order_id,
    )


async def run(*, is_quick: bool) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="peakgate-bench-") as folder:
        server = EmbeddedServer(Path(folder))
        server.start()
        try:
            client = await open_client(server.url, deadline_s=30.0)
            rows = await measure_orders(client, 300 if is_quick else 3_000, 1 if is_quick else 3)
            await client.close()
        finally:
            server.stop()
    print(table(("", "CPU"), rows), flush=True)
    await measure_rows((5_000, 10_000) if is_quick else (10_000, 100_000, 1_000_000))


def main() -> int:
    """Entry point of `make bench-archive`."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.micro.archive_cost", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--quick", action="store_true", help="few orders and rows: for trying it out")
    uvloop.run(run(is_quick=parser.parse_args().quick))
    return 0


if __name__ == "__main__":
    sys.exit(main())
