"""The records of stored orders, their deletion and restoring, for each adapter; with the archive beside them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from cart.ids import new_cart_id, order_id_for
from cart.model import OrderId
from checkout.archive.archived import Records
from checkout.archive.memory_archive import MemoryArchive
from checkout.archive.orders import ArchivedOrderIndex, ArchivedOrders, WholeOrders
from checkout.archive.restoration import Restoration
from checkout.archive.retention import Retention
from checkout.archive.sink import ArchiveSink
from checkout.errors import CancelTooLate, ChangeNotDurable, CheckoutInterrupted, OrderElsewhere, OrderNotFound
from checkout.facts import ShipmentFact
from checkout.memory.records import MemoryOrderRecords
from checkout.message import order_accepted
from checkout.order import Order
from checkout.order_status import OrderStatus
from checkout.ports.archive import ArchiveUnavailable
from checkout.ports.events import NewEvent
from checkout.ports.order_index import OrderIndex, UnknownCursor
from checkout.ports.orders import Orders
from checkout.ports.records import OrderRecords
from checkout.privacy.order_codec import OrderCodec
from checkout.privacy.pseudonyms import Pseudonyms
from checkout.received_message import order_id_of
from checkout.redis.order_index import RedisOrderIndex
from checkout.redis.records import RedisOrderRecords
from tests.contract.checkout.shop import MUG, MemoryShop, RedisShop, Shop, a_request

DAY_MS = 86_400_000
FACT = ShipmentFact("f1", at=1, became="shipped")


HASHES = Pseudonyms(b"a key")


class Archived:
    """A shop with an archive."""

    def __init__(self, shop: Shop, request: pytest.FixtureRequest, *, home: str = "") -> None:
        self.shop = shop
        self.archive = MemoryArchive()
        self.codec = Records(shop.codec if isinstance(shop, RedisShop) else OrderCodec(), HASHES, home=home)
        self.index: OrderIndex = shop.index
        if isinstance(shop, MemoryShop):
            self.records: OrderRecords = MemoryOrderRecords(
                shop.memory_orders, self.codec, self.index, clock_ms=shop.now
            )
        else:
            assert isinstance(shop, RedisShop)
            store = shop.store
            self.index = shop.index = RedisOrderIndex(store, HASHES, is_cluster=shop.is_on_cluster)
            self.records = RedisOrderRecords(store, self.codec, self.index)
        self.sink = ArchiveSink(self.records, self.archive, make_durable=shop.orders.make_durable)
        self.orders = ArchivedOrders(self.archive, self.codec, self.records, message=order_accepted)
        self.all: Orders = WholeOrders(shop.orders, self.orders)
        self.lists: OrderIndex = ArchivedOrderIndex(self.index, self.archive, HASHES)

    async def ordered(self, owner: str | None = None) -> Order:
        cart = await self.shop.cart({MUG: 1}, owner=owner)
        order = (await self.shop.handlers().place(a_request(cart), idempotency_key=cart.id, owner=owner)).order
        await self.index.enter(order)
        await self.shop.outbox.mark_sent(await self.shop.outbox.unsent(per_partition=10))
        return order

    async def completed(self, owner: str | None = None) -> Order:
        order = await self.ordered(owner)
        for status in list(OrderStatus)[1:5]:
            order = await self.shop.orders.transition(order, status, at=self.shop.now())
        await self.shop.orders.settle(order)
        return order

    async def archived(self, order: Order) -> Order:
        await self.sink.take([NewEvent(order, order.revision)])
        return order

    async def sweep(self, *, keep_s: float = 0) -> int:
        return await Retention(
            self.records, self.archive, make_durable=self.shop.orders.make_durable, keep_s=keep_s
        ).sweep()

    async def in_flight(self) -> Sequence[OrderId]:
        return await self.shop.in_flight.stalled(idle_s=0, limit=100)

    async def message_of(self, order: Order) -> bool:
        """Whether its message is in the outbox."""
        entries = await self.shop.outbox.unsent(per_partition=10)
        return order.id in {order_id_of(each.message) for each in entries}


@pytest.fixture
def archived(shop: Shop, request: pytest.FixtureRequest) -> Archived:
    return Archived(shop, request)


# Archiving


async def test_the_record_of_a_new_order_has_all_of_it(archived: Archived) -> None:
    order = await archived.archived(await archived.ordered(owner="ada"))
    record = archived.archive.records[order.id]
    assert (record.revision, record.status, record.number) == (1, OrderStatus.ACCEPTED, order.number)
    assert (record.owner_hash, record.email_hash) == (HASHES.of_owner("ada"), HASHES.of_email("ada@example.com"))
    assert not record.has_ended
    assert await archived.orders.read(order.id) == order


async def test_the_record_follows_the_order(archived: Archived) -> None:
    order = await archived.archived(await archived.ordered())
    order = await archived.shop.orders.transition(order, OrderStatus.STOCK_CONFIRMED, at=archived.shop.now())
    await archived.archived(order)
    assert await archived.orders.read(order.id) == order


async def test_an_event_that_comes_late_or_again_changes_nothing(archived: Archived) -> None:
    first = await archived.ordered()
    order = await archived.shop.orders.transition(first, OrderStatus.STOCK_CONFIRMED, at=archived.shop.now())
    for event in (NewEvent(order, 2), NewEvent(order, 2), NewEvent(first, 1)):
        await archived.sink.take([event])
    assert await archived.orders.read(order.id) == order


async def test_an_order_that_changed_since_its_event_was_read_is_archived_as_it_is_now(archived: Archived) -> None:
    first = await archived.ordered()
    moved = await archived.shop.orders.transition(first, OrderStatus.STOCK_CONFIRMED, at=archived.shop.now())
    await archived.sink.take([NewEvent(first, 1)])
    assert archived.archive.records[first.id].status is OrderStatus.STOCK_CONFIRMED
    assert await archived.orders.read(first.id) == moved


async def test_the_facts_that_wait_are_archived_and_restored(archived: Archived) -> None:
    order = await archived.completed()
    await archived.shop.orders.append_fact(order.id, FACT, message=order_accepted(order.as_accepted()))
    await archived.archived(order)
    await archived.shop.lose_order(order.id)
    assert await archived.orders.restore(order.id)
    restored = await archived.shop.orders.read(order.id)
    assert restored is not None
    assert restored.facts == (FACT,)
    assert await archived.message_of(order)


async def test_an_order_that_was_rolled_back_is_passed_over(archived: Archived) -> None:
    order = await archived.ordered()
    await archived.shop.lose_order(order.id)
    assert not await archived.sink.take([NewEvent(order, 1)])
    assert not archived.archive.records


async def test_no_event_is_taken_while_the_archive_is_away(archived: Archived) -> None:
    order = await archived.ordered()
    archived.archive.is_away = True
    with pytest.raises(ArchiveUnavailable):
        await archived.archived(order)


async def test_a_change_that_is_not_durable_is_not_archived(archived: Archived) -> None:
    first = await archived.ordered()
    await archived.shop.orders.transition(first, OrderStatus.STOCK_CONFIRMED, at=archived.shop.now())

    async def never_durable(order: Order) -> None:
        raise ChangeNotDurable

    sink = ArchiveSink(archived.records, archived.archive, make_durable=never_durable)
    with pytest.raises(ChangeNotDurable):
        await sink.take([NewEvent(first, 1)])
    assert not archived.archive.records


# Reading what is in the archive only


async def test_a_deleted_order_is_read_from_the_archive(archived: Archived) -> None:
    order = await archived.archived(await archived.completed())
    assert await archived.sweep() == 1
    assert await archived.shop.orders.read(order.id) is None
    assert await archived.all.read(order.id) == order


async def test_an_order_that_is_nowhere_is_none(archived: Archived) -> None:
    assert await archived.all.read(order_id_for(new_cart_id(), 1)) is None


async def test_an_archive_that_is_away_is_no_missing_order(archived: Archived) -> None:
    archived.archive.is_away = True
    with pytest.raises(ArchiveUnavailable):
        await archived.all.read(order_id_for(new_cart_id(), 1))


async def test_orders_in_the_store_are_read_while_the_archive_is_away(archived: Archived) -> None:
    order = await archived.ordered()
    archived.archive.is_away = True
    assert await archived.all.read(order.id) == order


async def test_lists_have_the_orders_of_both_in_one_sequence(archived: Archived) -> None:
    orders = [await archived.archived(await archived.completed(owner="ada")) for _ in range(5)]
    await archived.archived(await archived.completed(owner="bob"))
    for gone in (orders[1], orders[3]):
        assert await archived.records.delete(gone)
    wanted = sorted(orders, key=lambda order: (order.created_at, order.id), reverse=True)
    seen, after = list[OrderId](), None
    while True:
        page = await archived.lists.of_owner("ada", limit=2, after=after)
        seen += page.ids
        if (after := page.cursor) is None:
            break
    assert seen == [order.id for order in wanted]


async def test_a_page_may_begin_behind_an_order_that_was_deleted(archived: Archived) -> None:
    orders = [await archived.archived(await archived.completed(owner="ada")) for _ in range(3)]
    wanted = sorted(orders, key=lambda order: (order.created_at, order.id), reverse=True)
    assert await archived.records.delete(wanted[0])
    page = await archived.lists.of_owner("ada", limit=2, after=wanted[0].id)
    assert (list(page.ids), page.cursor) == ([wanted[1].id, wanted[2].id], None)


@pytest.mark.parametrize("is_deleted", [True, False])
async def test_the_order_of_another_shopper_begins_no_page(archived: Archived, is_deleted: bool) -> None:
    foreign = await archived.archived(await archived.completed(owner="bob"))
    if is_deleted:
        assert await archived.records.delete(foreign)
    with pytest.raises(UnknownCursor):
        await archived.lists.of_owner("ada", limit=2, after=foreign.id)


async def test_a_deleted_order_is_found_by_its_number(archived: Archived) -> None:
    order = await archived.archived(await archived.completed())
    assert await archived.records.delete(order)
    assert list(await archived.index.by_number(order.number)) == []
    assert list(await archived.lists.by_number(order.number)) == [order.id]


# Retention


async def test_an_order_stays_until_it_ended_long_ago(archived: Archived) -> None:
    order = await archived.archived(await archived.completed())
    assert await archived.sweep(keep_s=3600) == 0
    assert await archived.shop.orders.read(order.id) == order


async def test_an_order_in_flight_stays(archived: Archived) -> None:
    order = await archived.archived(await archived.ordered())
    assert await archived.sweep() == 0
    assert await archived.shop.orders.read(order.id) == order


async def test_an_order_that_is_not_archived_is_archived_before_it_is_deleted(archived: Archived) -> None:
    order = await archived.completed()
    assert await archived.sweep() == 1
    assert await archived.all.read(order.id) == order


async def test_the_last_revision_is_archived_before_an_order_is_deleted(archived: Archived) -> None:
    order = await archived.archived(await archived.completed())
    order = await archived.shop.orders.transition(order, OrderStatus.DELIVERED, at=archived.shop.now())
    await archived.shop.orders.settle(order)
    assert await archived.sweep() == 1
    assert await archived.all.read(order.id) == order


async def test_nothing_is_deleted_while_the_archive_is_away(archived: Archived) -> None:
    order = await archived.archived(await archived.completed())
    archived.archive.is_away = True
    with pytest.raises(ArchiveUnavailable):
        await archived.sweep()
    assert await archived.shop.orders.read(order.id) == order


async def test_an_order_with_facts_to_apply_stays(archived: Archived) -> None:
    order = await archived.archived(await archived.completed())
    await archived.shop.orders.append_fact(order.id, FACT, message=order_accepted(order.as_accepted()))
    assert await archived.sweep() == 0
    assert (await archived.shop.orders.read(order.id)) is not None
    assert list(await archived.index.by_number(order.number)) == [order.id]


async def test_an_order_that_changed_meanwhile_stays(archived: Archived) -> None:
    order = await archived.archived(await archived.completed())
    moved = await archived.shop.orders.transition(order, OrderStatus.SHIPPED, at=archived.shop.now())
    assert not await archived.records.delete(order)
    await archived.shop.orders.settle(moved)
    assert not await archived.records.delete(order), "it is in flight no more, and later than what was archived"
    assert await archived.shop.orders.read(order.id) == moved


async def test_an_order_that_the_store_has_lost_is_forgotten(archived: Archived) -> None:
    order = await archived.completed()
    await archived.shop.lose_order(order.id)
    assert await archived.sweep() == 0
    assert not await archived.records.ended(for_ms=0, limit=10)


# Restoring


async def test_a_restored_order_that_has_ended_is_as_it_was_and_is_not_started_again(archived: Archived) -> None:
    order = await archived.archived(await archived.completed(owner="ada"))
    receipt = await archived.shop.orders.receipt(order.id)
    assert await archived.records.delete(order)
    assert await archived.orders.restore(order.id)
    assert await archived.shop.orders.receipt(order.id) == receipt
    assert order.id not in await archived.in_flight()
    assert not await archived.message_of(order)
    assert list(await archived.index.by_number(order.number)) == [order.id]
    assert list((await archived.index.of_owner("ada", limit=9)).ids) == [order.id]
    assert await archived.sweep() == 1


async def test_a_restored_order_in_flight_goes_on(archived: Archived) -> None:
    order = await archived.ordered()
    order = await archived.shop.orders.transition(order, OrderStatus.STOCK_CONFIRMED, at=archived.shop.now())
    await archived.archived(order)
    await archived.shop.lose_order(order.id)
    assert await archived.orders.restore(order.id)
    assert await archived.shop.orders.read(order.id) == order
    assert await archived.message_of(order)
    assert order.id in await archived.in_flight()


async def test_restoring_changes_no_order_that_the_store_has(archived: Archived) -> None:
    order = await archived.archived(await archived.ordered())
    moved = await archived.shop.orders.transition(order, OrderStatus.STOCK_CONFIRMED, at=archived.shop.now())
    record = archived.archive.records[order.id]
    assert not await archived.records.restore(record, b"message")
    assert not await archived.records.restore(msgspec.structs.replace(record, revision=2), b"message")
    assert await archived.shop.orders.read(order.id) == moved
    assert not await archived.message_of(order)


async def test_restoring_again_changes_nothing(archived: Archived) -> None:
    order = await archived.archived(await archived.ordered())
    await archived.shop.lose_order(order.id)
    record = archived.archive.records[order.id]
    assert await archived.records.restore(record, order_accepted(order))
    assert not await archived.records.restore(record, order_accepted(order))
    assert len(await archived.shop.outbox.unsent(per_partition=10)) == 1


async def test_an_order_that_the_store_has_at_an_earlier_revision_is_restored(archived: Archived) -> None:
    first = await archived.archived(await archived.ordered())
    earlier = archived.archive.records[first.id]
    moved = await archived.shop.orders.transition(first, OrderStatus.STOCK_CONFIRMED, at=archived.shop.now())
    await archived.archived(moved)
    later = archived.archive.records[first.id]
    await archived.shop.lose_order(first.id)
    assert await archived.records.restore(earlier, order_accepted(first))
    assert await archived.records.restore(later, order_accepted(first))
    assert await archived.shop.orders.read(first.id) == moved


async def test_a_restored_order_takes_facts_and_changes(archived: Archived) -> None:
    order = await archived.archived(await archived.completed())
    assert await archived.records.delete(order)
    assert await archived.orders.restore(order.id)
    await archived.shop.orders.append_fact(order.id, FACT, message=order_accepted(order.as_accepted()))
    restored = await archived.shop.orders.read(order.id)
    assert restored is not None
    assert restored.facts == (FACT,)
    moved = restored.moved(OrderStatus.SHIPPED, at=archived.shop.now())
    assert (await archived.shop.orders.update(restored, moved, applied=FACT)).facts == ()


async def test_the_order_of_another_region_is_not_restored(shop: Shop, request: pytest.FixtureRequest) -> None:
    archived = Archived(shop, request, home="eu-west-2")
    order = await archived.archived(await archived.completed())
    assert await archived.records.delete(order)
    record = archived.archive.records[order.id]
    archived.archive.records[order.id] = msgspec.structs.replace(record, home="us-east-1")
    with pytest.raises(OrderElsewhere, match="us-east-1"):
        await archived.orders.restore(order.id)
    assert await archived.all.read(order.id) == msgspec.structs.replace(order, home="us-east-1")
    archived.archive.records[order.id] = record
    assert await archived.all.read(order.id) == order


async def test_an_order_that_is_not_in_the_archive_is_not_restored(archived: Archived) -> None:
    assert not await archived.orders.restore(order_id_for(new_cart_id(), 1))


# Changing what is in the archive only


async def deleted(archived: Archived) -> Order:
    order = await archived.archived(await archived.completed())
    assert await archived.records.delete(order)
    return order


async def test_a_fact_of_an_archived_order_brings_it_back(archived: Archived) -> None:
    order = await deleted(archived)
    message = order_accepted(order.as_accepted())
    assert await archived.all.append_fact(order.id, FACT, message=message) is not None
    assert await archived.all.append_fact(order.id, FACT, message=message) is None
    restored = await archived.shop.orders.read(order.id)
    assert restored is not None
    assert restored.facts == (FACT,)
    assert await archived.message_of(order)


async def test_a_fact_of_an_order_that_is_nowhere_is_refused(archived: Archived) -> None:
    with pytest.raises(OrderNotFound):
        await archived.all.append_fact(order_id_for(new_cart_id(), 1), FACT, message=b"message")


async def test_an_archived_order_that_is_completed_is_not_cancelled(archived: Archived) -> None:
    order = await deleted(archived)
    with pytest.raises(CancelTooLate):
        await archived.shop.handlers(orders=archived.all).cancel(order.id)


async def test_cancelling_an_archived_order_again_changes_nothing(archived: Archived) -> None:
    order = await archived.ordered()
    handlers = archived.shop.handlers(orders=archived.all)
    cancelled = await handlers.cancel(order.id)
    await archived.shop.orders.settle(cancelled)
    await archived.archived(cancelled)
    assert await archived.records.delete(cancelled)
    assert await handlers.cancel(order.id) == cancelled
    assert await archived.shop.orders.read(order.id) is None


async def test_an_order_in_flight_that_the_store_has_lost_is_cancelled(archived: Archived) -> None:
    order = await archived.archived(await archived.ordered())
    await archived.shop.lose_order(order.id)
    cancelled = await archived.shop.handlers(orders=archived.all).cancel(order.id)
    assert await archived.shop.orders.read(order.id) == cancelled


async def test_a_replay_of_a_checkout_finds_the_archived_order(archived: Archived) -> None:
    cart = await archived.shop.cart({MUG: 1})
    handlers = archived.shop.handlers(orders=archived.all)
    order = (await handlers.place(a_request(cart), idempotency_key="the key")).order
    await archived.archived(order)
    await archived.shop.lose_order(order.id)
    placed = await handlers.place(a_request(cart), idempotency_key="the key")
    assert (placed.order, placed.replayed) == (order, True)


async def test_a_replay_is_no_second_order_while_the_archive_is_away(archived: Archived) -> None:
    cart = await archived.shop.cart({MUG: 1})
    handlers = archived.shop.handlers(orders=archived.all)
    order = (await handlers.place(a_request(cart), idempotency_key="the key")).order
    await archived.shop.lose_order(order.id)
    archived.archive.is_away = True
    with pytest.raises(CheckoutInterrupted):
        await handlers.place(a_request(cart), idempotency_key="the key")


# Restoring many


def restoration(archived: Archived, *, keep_ms: int = DAY_MS, home: str = "") -> Restoration:
    records = Records(archived.codec._codec, HASHES, home=home)
    return Restoration(
        archived.archive,
        archived.records,
        records,
        archived.shop.stock,
        message=order_accepted,
        keep_ms=keep_ms,
        clock_ms=archived.shop.now,
    )


async def test_a_store_that_lost_all_orders_has_them_again(archived: Archived) -> None:
    going = [await archived.archived(await archived.ordered(owner="ada")) for _ in range(2)]
    ended = [await archived.archived(await archived.completed(owner="ada")) for _ in range(3)]
    for order in (*going, *ended):
        await archived.shop.lose_order(order.id)
        await archived.index.leave(order)
    assert (await restoration(archived).run()).restored == 5
    assert [await archived.shop.orders.read(order.id) for order in (*going, *ended)] == [*going, *ended]
    assert [await archived.message_of(order) for order in (*going, *ended)] == [True] * 2 + [False] * 3
    page = await archived.index.of_owner("ada", limit=10)
    assert sorted(page.ids) == sorted(order.id for order in (*going, *ended))


async def test_restoring_many_again_changes_nothing(archived: Archived) -> None:
    order = await archived.archived(await archived.ordered())
    await archived.shop.lose_order(order.id)
    reports = [await restoration(archived).run() for _ in range(2)]
    assert [(report.restored, report.stored) for report in reports] == [(1, 0), (0, 1)]
    assert len(await archived.shop.outbox.unsent(per_partition=10)) == 1


async def test_orders_that_ended_too_long_ago_stay_in_the_archive(archived: Archived) -> None:
    order = await archived.archived(await archived.completed())
    await archived.shop.lose_order(order.id)
    assert (await restoration(archived, keep_ms=-1000).run()).old == 1
    assert await archived.shop.orders.read(order.id) is None
    assert (await restoration(archived, keep_ms=-1000).one([order.id])).restored == 1
    assert await archived.shop.orders.read(order.id) == order


async def test_an_interrupted_run_goes_on_where_it_stopped(archived: Archived) -> None:
    template = archived.archive.records[(await archived.archived(await archived.completed())).id]
    records = [
        msgspec.structs.replace(template, home="elsewhere", id=order_id_for(new_cart_id(), 1)) for _ in "x" * 150
    ]
    archived.archive.records |= {record.id: record for record in records}
    cursors = list[str | None]()
    whole = await restoration(archived).run(progress=lambda report: cursors.append(report.cursor))
    assert (whole.elsewhere, whole.stored, len(cursors), whole.cursor) == (150, 1, 2, None)
    rest = await restoration(archived).run(cursor=cursors[0])
    assert rest.looked_at == 51


async def test_only_the_orders_of_a_time_are_restored(archived: Archived) -> None:
    first = await archived.archived(await archived.completed())
    assert (await restoration(archived).run(accepted_before=first.created_at)).looked_at == 0
    assert (await restoration(archived).run(accepted_from=first.created_at)).looked_at == 1


async def test_a_record_that_cannot_be_read_does_not_stop_the_others(archived: Archived) -> None:
    broken = await archived.archived(await archived.ordered())
    order = await archived.archived(await archived.ordered())
    record = archived.archive.records[broken.id]
    archived.archive.records[broken.id] = msgspec.structs.replace(record, content=b"\x81\xa3doc\xc4\x01{")
    await archived.shop.lose_order(order.id)
    report = await restoration(archived).run()
    assert (report.failed, report.restored) == (1, 1)


async def test_the_stock_of_a_restored_order_is_held_again(archived: Archived) -> None:
    order = await archived.archived(await archived.ordered())
    await archived.shop.lose_order(order.id)
    await archived.shop.expire_holds()
    await archived.shop.stock.cancel(order.id, order.skus)
    assert await archived.shop.taken(MUG) == 0
    await restoration(archived).run()
    assert (await archived.shop.taken(MUG), await archived.shop.available(MUG)) == (1, 9)
    await archived.shop.stock.confirm(order.id, order.skus)


async def test_the_stock_that_is_held_still_is_not_held_twice(archived: Archived) -> None:
    order = await archived.archived(await archived.ordered())
    await archived.shop.lose_order(order.id)
    await restoration(archived).run()
    assert (await archived.shop.taken(MUG), await archived.shop.available(MUG)) == (1, 9)


async def test_a_restored_order_whose_stock_is_gone_holds_none(archived: Archived) -> None:
    order = await archived.archived(await archived.ordered())
    await archived.shop.lose_order(order.id)
    await archived.shop.stock.cancel(order.id, order.skus)
    await archived.shop.set_stock(MUG, 0)
    assert (await restoration(archived).run()).restored == 1
    assert (await archived.shop.taken(MUG), await archived.shop.available(MUG)) == (0, 0)
