"""Orders from before there was an archive are archived, for each adapter; a run may be stopped and go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from cart.model import OrderId
from checkout.archive.backfill import Backfill, BackfillReport
from checkout.archive.retention import Retention
from checkout.errors import ChangeNotDurable
from checkout.memory.documents import MemoryDocuments
from checkout.order import Order
from checkout.order_status import OrderStatus
from checkout.ports.archive import ArchiveUnavailable
from checkout.ports.documents import OrderDocuments
from checkout.ports.records import NONE_KNOWN, OrderRecords, StoredRecord
from checkout.redis.documents import RedisDocuments
from tests.contract.checkout.shop import MUG, MemoryShop, RedisShop, Shop
from tests.contract.checkout.test_records import Archived


class Filling(Archived):
    """A shop with orders, and an archive that lacks them."""

    def __init__(self, shop: Shop, request: pytest.FixtureRequest) -> None:
        super().__init__(shop, request)
        if isinstance(shop, MemoryShop):
            self.documents: OrderDocuments = MemoryDocuments(shop.memory_orders)
        else:
            assert isinstance(shop, RedisShop)
            self.documents = RedisDocuments(shop.store, page=1)
        self.waited_s = 0.0

    def backfill(self, **replaced: Any) -> Backfill:
        async def sleep(seconds: float) -> None:
            self.waited_s += seconds

        parts = {"make_durable": self.shop.orders.make_durable, "clock": lambda: self.waited_s, "sleep": sleep}
        return Backfill(self.documents, replaced.pop("records", self.records), self.archive, **{**parts, **replaced})

    async def in_archive(self, order_id: OrderId) -> Order | None:
        record = await self.archive.read(order_id)
        return None if record is None else await self.codec.order(record)

    async def place(self, count: int) -> list[Order]:
        await self.shop.set_stock(MUG, 100)
        return [await (self.completed() if number % 2 else self.ordered()) for number in range(count)]


@pytest.fixture
def filling(shop: Shop, request: pytest.FixtureRequest) -> Filling:
    return Filling(shop, request)


def counts(report: BackfillReport) -> tuple[int, int, int]:
    return report.archived, report.present, report.failed


async def test_every_order_of_the_store_reaches_the_archive(filling: Filling) -> None:
    orders = await filling.place(7)
    report = await filling.backfill().run()
    assert (counts(report), report.cursor) == ((7, 0, 0), None)
    assert [await filling.in_archive(order.id) for order in orders] == orders


async def test_an_order_that_is_archived_already_is_left_alone(filling: Filling) -> None:
    order, *_ = await filling.place(4)
    await filling.archived(order)
    assert counts(await filling.backfill().run()) == (3, 1, 0)
    records = dict(filling.archive.records)
    assert counts(await filling.backfill().run()) == (0, 4, 0)
    assert filling.archive.records == records


async def test_an_earlier_revision_in_the_archive_is_replaced(filling: Filling) -> None:
    order = await filling.archived(await filling.ordered())
    moved = await filling.shop.orders.transition(order, OrderStatus.STOCK_CONFIRMED, at=filling.shop.now())
    assert counts(await filling.backfill().run()) == (1, 0, 0)
    assert await filling.in_archive(order.id) == moved


async def test_an_order_that_is_not_durable_is_not_archived(filling: Filling) -> None:
    order = await filling.completed()

    async def never_durable(order: Order) -> None:
        raise ChangeNotDurable

    with pytest.raises(ChangeNotDurable):
        await filling.backfill(make_durable=never_durable).run()
    assert not filling.archive.records
    with pytest.raises(ChangeNotDurable):
        await Retention(filling.records, filling.archive, make_durable=never_durable, keep_s=0).sweep()
    assert not filling.archive.records
    assert await filling.shop.orders.read(order.id) == order


async def test_an_order_that_changes_meanwhile_is_archived_as_it_is_then(filling: Filling) -> None:
    order = await filling.ordered()

    async def change_first(read: Order) -> None:
        if read.status is OrderStatus.ACCEPTED:
            await filling.shop.orders.transition(read, OrderStatus.STOCK_CONFIRMED, at=filling.shop.now())
            raise ChangeNotDurable

    assert counts(await filling.backfill(make_durable=change_first).run()) == (1, 0, 0)
    assert filling.archive.records[order.id].status is OrderStatus.STOCK_CONFIRMED


async def test_an_order_that_cannot_be_read_does_not_stop_the_others(filling: Filling) -> None:
    broken, *others = await filling.place(5)

    class Broken:
        async def read(
            self, order_ids: Sequence[OrderId], *, known: Mapping[OrderId, Order] = NONE_KNOWN
        ) -> Sequence[StoredRecord]:
            if broken.id in order_ids:
                raise ValueError("sealed with a key that is lost")
            return await filling.records.read(order_ids, known=known)

    as_records: Any = Broken()
    records: OrderRecords = as_records
    assert counts(await filling.backfill(records=records).run()) == (4, 0, 1)
    assert set(filling.archive.records) == {order.id for order in others}


async def test_a_run_that_was_interrupted_goes_on_behind_its_last_page(filling: Filling) -> None:
    class Interrupted(Exception):
        pass

    reached = BackfillReport()
    first = list[str | None]()

    def interrupt(report: BackfillReport) -> None:
        nonlocal reached
        reached = report
        if not first and report.archived:
            first.append(report.cursor)
        elif first and report.cursor not in {None, *first}:
            raise Interrupted

    orders = await filling.place(8)
    with pytest.raises(Interrupted):
        await filling.backfill().run(progress=interrupt)
    assert 0 < reached.archived < 8
    rest = await filling.backfill().run(cursor=reached.cursor)
    assert rest.looked_at < 8, "it does not begin again"
    assert set(filling.archive.records) == {order.id for order in orders}


async def test_a_run_ends_while_the_archive_is_away_and_another_one_goes_on(filling: Filling) -> None:
    await filling.place(3)
    filling.archive.is_away = True
    with pytest.raises(ArchiveUnavailable):
        await filling.backfill().run()
    filling.archive.is_away = False
    assert counts(await filling.backfill().run()) == (3, 0, 0)


@pytest.mark.parametrize("rate", [0.5, 20.0, 1000.0])
async def test_a_run_keeps_its_rate(filling: Filling, rate: float) -> None:
    await filling.place(8)
    await filling.backfill().run(rate=rate)
    assert filling.waited_s == pytest.approx(8 / rate)


@pytest.mark.parametrize("cursor", ["eyJ4IjoxfQ", "", "0@", "0@store", "@store:6379"])
async def test_a_cursor_of_something_else_is_refused(filling: Filling, cursor: str) -> None:
    with pytest.raises(ValueError, match="the cursor is not that of a scan"):
        await filling.backfill().run(cursor=cursor)
