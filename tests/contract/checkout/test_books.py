"""The contract of `Books`, and the audit over it, for both adapters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import msgspec
import pytest

from cart.ids import new_cart_id, order_id_for, partition_of
from cart.model import OrderId
from cart.sku_keys import product_key
from checkout.audit.audit import Audit, AuditReport
from checkout.audit.finding import Bounds
from checkout.memory.books import MemoryBooks
from checkout.memory.progress import MemoryProgress
from checkout.order import Order
from checkout.order_status import CancelReason, OrderStatus
from checkout.payments.payment import Payment
from checkout.ports.books import Books, Entry, Hold, StockBook
from checkout.ports.stock import StockLine
from checkout.redis.books import PAGE, RedisBooks
from checkout.redis.order_index import RedisOrderIndex
from checkout.stored import ended_key, in_flight_key, order_key, status_key
from store import Client
from tests.contract.cart.stores import is_on_cluster
from tests.contract.checkout.shop import BOX, MUG, MemoryShop, RedisShop, Shop, a_claim, a_request
from tests.contract.checkout.test_inventory import inventory_of
from tests.waiting import WITHIN_S


def books_of(shop: Shop) -> Books:
    if isinstance(shop, MemoryShop):
        assert isinstance(shop.progress, MemoryProgress)
        return MemoryBooks(shop.memory_orders, shop.progress, shop.memory_stock, shop.index, clock_ms=shop.now)
    assert isinstance(shop, RedisShop)
    return RedisBooks(shop.store)


async def ordered(shop: Shop) -> Order:
    if isinstance(shop, RedisShop):
        shop.index = RedisOrderIndex(shop.store, is_cluster=is_on_cluster(shop.store))
    cart = await shop.cart({MUG: 2, BOX: 1})
    return (await shop.handlers().place(a_request(cart), idempotency_key=cart.id)).order


async def completed(shop: Shop, order: Order) -> Order:
    paid = Payment(reference="p1", authorised=order.total, captured=order.total)
    for status in list(OrderStatus)[1:5]:
        order = await shop.orders.update(
            order, msgspec.structs.replace(order.moved(status, at=order.updated_at), payment=paid)
        )
    await shop.stock.confirm(order.id, order.skus)
    await shop.stock.complete(order.id, order.skus)
    await shop.orders.settle(order)
    return order


async def delete_archived(shop: Shop, order: Order) -> None:
    if isinstance(shop, MemoryShop):
        shop.memory_orders.orders.pop(order.id, None)
        shop.memory_orders.ended.pop(order.id, None)
        return
    assert isinstance(shop, RedisShop)
    partition = partition_of(order.id)
    await shop.store.execute("DEL", order_key(order.id))
    for key in (ended_key(partition), status_key(partition, OrderStatus.COMPLETED)):
        await shop.store.execute("ZREM", key, order.id)


async def entry_of(shop: Shop, order: Order) -> Entry:
    (entry,) = await books_of(shop).entries([order.id])
    return entry


async def names(shop: Shop) -> set[str]:
    books = books_of(shop)
    return {each for partition in books.partitions async for page in books.orders(partition) for each in page}


async def findings(shop: Shop, **bounds: int) -> set[tuple[str, str, str]]:
    async def no_time(_seconds: float) -> None: ...

    report = await Audit(books_of(shop), bounds=Bounds(**bounds), sleep=no_time).run()
    assert all(each.remedy for each in report.findings)
    return {each.identity for each in report.findings}


async def test_an_accepted_order_is_in_flight_and_holds_its_lines(shop: Shop) -> None:
    order = await ordered(shop)

    entry = await entry_of(shop, order)

    assert await names(shop) == {order.id}
    assert entry.order is not None
    assert (entry.order.id, entry.status, entry.listed) == (order.id, "accepted", (OrderStatus.ACCEPTED,))
    assert entry.seen_ms is not None
    assert (entry.is_finished, entry.is_set_aside, entry.lease_until_ms) == (False, False, 0)
    assert {sku: hold.quantity for sku, hold in entry.holds.items()} == {MUG: 2, BOX: 1}
    assert all(hold.until_ms is not None and hold.until_ms > entry.now_ms for hold in entry.holds.values())


async def test_a_finished_order_holds_nothing(shop: Shop) -> None:
    order = await completed(shop, await ordered(shop))

    entry = await entry_of(shop, order)

    assert (entry.status, entry.listed) == ("completed", (OrderStatus.COMPLETED,))
    assert (entry.seen_ms, entry.is_finished, dict(entry.holds)) == (None, True, {})


async def test_a_sale_does_not_expire(shop: Shop) -> None:
    order = await ordered(shop)
    await shop.stock.confirm(order.id, order.skus)

    assert (await entry_of(shop, order)).holds[MUG] == Hold(2, None)


async def test_an_order_in_hands_and_one_set_aside(shop: Shop) -> None:
    order = await ordered(shop)
    await shop.progress.take(order.id, "worker")
    leased = await entry_of(shop, order)
    await shop.progress.set_aside(order.id, "worker", reason="odd")

    aside = await entry_of(shop, order)

    assert leased.lease_until_ms > leased.now_ms
    assert (aside.is_set_aside, aside.needs_attention, aside.lease_until_ms) == (True, True, 0)
    now = await shop.orders.read(order.id)
    assert now is not None
    await shop.orders.transition(now, OrderStatus.CANCELLED, at=now.updated_at, reason=CancelReason.REQUESTED)
    assert not (await entry_of(shop, order)).is_set_aside


async def test_a_lost_order_is_named_by_its_lists(shop: Shop) -> None:
    order = await ordered(shop)
    await shop.lose_order(order.id)

    assert await names(shop) == {order.id}
    assert (await entry_of(shop, order)).order is None
    assert ("document", order.id, "") in await findings(shop)


async def test_an_order_that_is_archived_meanwhile_is_no_finding(shop: Shop) -> None:
    order = await completed(shop, await ordered(shop))
    books = books_of(shop)

    class ArchivedMeanwhile:
        """Books whose order leaves the store, with its lists, after these were read."""

        def __getattr__(self, name: str) -> Any:
            return getattr(books, name)

        async def entries(self, order_ids: Sequence[OrderId], **which: bool) -> Sequence[Entry]:
            await delete_archived(shop, order)
            return await books.entries(order_ids, **which)

    async def no_time(_seconds: float) -> None: ...

    report = await Audit(cast("Books", ArchivedMeanwhile()), sleep=no_time).run()

    assert list(report.findings) == []
    assert report.counts == {}


async def test_a_finished_order_that_holds_stock_is_named(shop: Shop) -> None:
    order = await completed(shop, await ordered(shop))
    await shop.stock.hold(order.id, [StockLine(MUG, 1)], fence=2)

    (record,) = [each async for each in books_of(shop).stock(MUG)]

    assert (list(record.ended), dict(record.strays)) == ([order.id], {})
    assert (await entry_of(shop, order)).holds.keys() == {MUG}
    assert await findings(shop) == {("holds", order.id, "")}


async def test_orders_that_changed_are_read_without_the_others(shop: Shop) -> None:
    books = books_of(shop)
    order, ended = await ordered(shop), await completed(shop, await ordered(shop))
    now_ms = await books.now_ms()

    async def changed(**when: int) -> set[str]:
        both = {partition_of(each.id) for each in (order, ended)}
        pages = [page for partition in both async for page in books.changed(partition, **when)]
        return {each for page in pages for each in page}

    assert await changed(since_ms=now_ms - 60_000, idle_ms=0) == {order.id, ended.id}
    assert await changed(since_ms=now_ms + 60_000, idle_ms=0) == set()
    assert await changed(since_ms=now_ms + 60_000, idle_ms=now_ms + 60_000) == {order.id}
    await shop.progress.take(order.id, "worker")
    await shop.progress.set_aside(order.id, "worker", reason="odd")
    assert await changed(since_ms=now_ms + 60_000, idle_ms=0) == {order.id}


async def test_a_round_of_changes_looks_at_these_and_at_known_findings(shop: Shop) -> None:
    async def no_time(_seconds: float) -> None: ...

    order = await ordered(shop)
    audit = Audit(books_of(shop), bounds=Bounds(order_ms=-1), sleep=no_time)
    first = await audit.run()
    patient = Audit(books_of(shop), sleep=no_time)
    later_ms = first.began_ms + 10**9

    assert [each.identity for each in first.findings] == [("stuck", order.id, "")]
    assert (await patient.run_changes(first.began_ms - 60_000)).looked_at == 1
    assert (await patient.run_changes(later_ms)).looked_at == 0
    idle = (await audit.run_changes(later_ms)).findings
    assert [each.identity for each in idle] == [("stuck", order.id, "")], "an idle order needs no change"

    await shop.lose_order(order.id)
    lost = (await patient.run()).findings
    assert [each.identity for each in lost] == [("document", order.id, "")]
    assert (await patient.run_changes(later_ms, lost)).findings == lost
    assert (await patient.run_changes(later_ms)).findings == ()


async def test_every_record_of_an_order_is_seen(shop: Shop) -> None:
    orders = [await ordered(shop) for _ in range(3)]
    await shop.cart()
    books = books_of(shop)

    pages = [page async for page in books.records()]

    assert {each for page in pages for each in page} == {each.id for each in orders}
    assert [list(await books.unlisted(page)) for page in pages] == [[] for _ in pages]


async def test_an_order_that_no_list_names_is_named(store: Client) -> None:
    shop = RedisShop(store)
    for sku in (MUG, BOX):
        await shop.set_stock(sku, 10)
    order, other = await completed(shop, await ordered(shop)), await ordered(shop)
    partition = partition_of(order.id)
    for key in (ended_key(partition), status_key(partition, OrderStatus.COMPLETED)):
        assert await store.execute("ZREM", key, order.id) == 1

    assert await names(shop) == {other.id}
    assert await findings(shop) == {("listing", order.id, ""), ("flight", order.id, "")}
    report = await Audit(books_of(shop), confirm_after_s=0).run()
    assert report.counts == {"in_flight": 1, "completed": 1}


async def test_a_large_store_is_scanned_in_pages_of_a_partition(store: Client) -> None:
    order_ids = {f"{number % 3:02x}{number:024}" for number in range(400)}
    for order_id in order_ids:
        await store.execute("HSET", order_key(OrderId(order_id)), "doc", "{}")

    pages = [page async for page in RedisBooks(store).records() if page]

    assert {each for page in pages for each in page} == order_ids
    assert all(len({partition_of(each) for each in page}) == 1 for page in pages)
    assert max(map(len, pages)) > 20, "a call of the store for few orders each would be slow"


async def test_messages_and_claims_wait(shop: Shop) -> None:
    order, cart = await ordered(shop), await shop.cart()
    await shop.orders.begin(a_claim(cart))
    books = books_of(shop)

    messages = [each for partition in books.partitions for each in await books.outbox(partition)]
    claims = [each for partition in books.partitions async for page in books.claims(partition) for each in page]

    assert [each.name for each in messages] == [order.id]
    assert [each.name for each in claims] == [f"{cart.id} {cart.version}"]
    assert all(0 <= each.waits_ms < 60_000 for each in (*messages, *claims))
    assert await findings(shop, outbox_ms=-1) == {("outbox", order.id, "")}
    assert await findings(shop, claim_ms=-1) == {("claim", f"{cart.id} {cart.version}", "")}


async def test_the_claim_of_an_order_that_was_rolled_back_waits_since_then(shop: Shop) -> None:
    order = await ordered(shop)
    await shop.forget_durability(order.id)
    assert await shop.orders.roll_back(order, shop.dispatched[-1])
    books = books_of(shop)

    (claim,) = [each for partition in books.partitions async for page in books.claims(partition) for each in page]

    assert 0 <= claim.waits_ms < WITHIN_S * 1000


async def test_stock_is_read_with_holds_without_an_order(shop: Shop) -> None:
    await ordered(shop)
    stray = order_id_for(new_cart_id(), 1)
    await shop.stock.hold(stray, [StockLine(MUG, 3)], fence=1)

    (record,) = [each async for each in books_of(shop).stock(MUG)]

    assert (record.available, record.holds) == ("5", 2)
    assert {order_id: hold.quantity for order_id, hold in record.strays.items()} == {stray: 3}
    assert await findings(shop) == set()
    assert await findings(shop, hold_ms=-(10**9)) == {("stray_hold", MUG, stray)}


async def test_good_orders_in_all_states_have_no_findings(shop: Shop) -> None:
    await ordered(shop)
    await completed(shop, await ordered(shop))
    cancelled = await ordered(shop)
    cancelled = await shop.orders.transition(
        cancelled, OrderStatus.CANCELLED, at=cancelled.updated_at, reason=CancelReason.OUT_OF_STOCK
    )
    await shop.stock.cancel(cancelled.id, cancelled.skus)
    await shop.orders.settle(cancelled)

    assert await findings(shop) == set()


async def test_an_idle_order_is_stuck_unless_a_worker_has_it(shop: Shop) -> None:
    order = await ordered(shop)

    assert await findings(shop, order_ms=-1) == {("stuck", order.id, "")}
    await shop.progress.take(order.id, "worker")
    assert await findings(shop, order_ms=-1) == set()


async def test_a_suspect_that_a_second_look_finds_in_order_is_no_finding(shop: Shop) -> None:
    order = await ordered(shop)
    slept: list[float] = []

    async def worker_takes_it(seconds: float) -> None:
        slept.append(seconds)
        if seconds == 7.0:
            await shop.progress.take(order.id, "worker")

    audit = Audit(books_of(shop), bounds=Bounds(order_ms=-1), confirm_after_s=7.0, sleep=worker_takes_it)
    report = await audit.run()

    assert (report.suspects, list(report.findings)) == (1, [])
    assert 7.0 in slept


async def test_an_audit_keeps_to_its_rate(shop: Shop) -> None:
    for _ in range(3):
        await ordered(shop)
    now = 0.0
    seen: list[AuditReport] = []

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    async def seconds_of_an_audit() -> float:
        before = now
        report = await Audit(books_of(shop), rate=0.5, clock=lambda: now, sleep=sleep).run(seen.append)
        assert report.findings == ()
        return now - before

    with_three = await seconds_of_an_audit()
    assert seen[-1].looked_at == 3
    assert [each.partitions for each in seen] == list(range(1, seen[-1].of_partitions + 1))
    for _ in range(7):
        await shop.stock.hold(order_id_for(new_cart_id(), 1), [StockLine(MUG, 0)], fence=1)
    assert await seconds_of_an_audit() == with_three + 7 / 0.5, "holds are read at the same rate"


async def test_a_hold_that_a_second_look_finds_gone_is_not_confirmed_by_another(shop: Shop) -> None:
    await ordered(shop)
    first, second = (order_id_for(new_cart_id(), 1) for _ in range(2))
    await shop.stock.hold(first, [StockLine(MUG, 1)], fence=1)

    async def another_comes(seconds: float) -> None:
        if seconds == 7.0:
            await shop.stock.release(first, [MUG], fence=1)
            await shop.stock.hold(second, [StockLine(MUG, 1)], fence=1)

    audit = Audit(books_of(shop), bounds=Bounds(hold_ms=-(10**9)), confirm_after_s=7.0, sleep=another_comes)
    report = await audit.run()

    assert (report.suspects, list(report.findings)) == (1, [])


async def book_of(shop: Shop) -> StockBook:
    """The book of the mugs, which agrees with itself."""
    (record,) = [each async for each in books_of(shop).stock(MUG)]
    assert record.book is not None
    assert record.book.expected == record.book.available
    return record.book


async def test_units_add_up_at_every_step_of_their_lives(shop: Shop) -> None:
    await shop.set_stock(MUG, 10)
    adjusted = (await book_of(shop)).adjusted
    order, other = await ordered(shop), await ordered(shop)
    assert await book_of(shop) == StockBook(6, 10 - adjusted, adjusted, 0, 4)
    await shop.stock.confirm(order.id, order.skus)
    assert (await book_of(shop)).held == 4
    for _ in range(2):
        await shop.stock.complete(order.id, order.skus)
        assert await book_of(shop) == StockBook(6, 10 - adjusted, adjusted, 2, 2)
    await shop.stock.cancel(other.id, other.skus)
    assert await book_of(shop) == StockBook(8, 10 - adjusted, adjusted, 2, 0)
    for _ in range(2):
        await shop.stock.restock(order.id, [StockLine(MUG, 1)], report="returned")
        assert await book_of(shop) == StockBook(9, 10 - adjusted, adjusted, 1, 0)
    await inventory_of(shop).add(MUG, -3, key="breakage")
    assert await book_of(shop) == StockBook(6, 10 - adjusted, adjusted - 3, 1, 0)


async def test_a_miscounted_sku_is_named_until_it_is_counted(shop: Shop) -> None:
    order = await ordered(shop)
    await shop.spoil_stock(MUG, 1)

    assert await findings(shop) == {("stock_sum", MUG, "")}
    await inventory_of(shop).set(MUG, 20, key="count")
    assert await findings(shop) == set()
    await shop.stock.cancel(order.id, order.skus)
    assert (await book_of(shop)).available == 22


async def test_a_product_of_an_earlier_version_has_books_from_its_count_on(store: Client, shop: Shop) -> None:
    if not isinstance(shop, RedisShop):
        pytest.skip("memory has no products of earlier versions")
    await ordered(shop)
    await store.execute("HDEL", product_key(MUG), "imported", "adjusted", "sold")
    (record,) = [each async for each in books_of(shop).stock(MUG)]
    assert record.book is None
    assert await findings(shop) == set()
    await inventory_of(shop).add(MUG, 1, key="delivery")
    assert await book_of(shop) == StockBook(9, 11, 0, 0, 2)


async def test_each_hold_without_an_order_is_named(shop: Shop) -> None:
    await ordered(shop)
    strays = {order_id_for(new_cart_id(), 1) for _ in range(3)}
    for each in strays:
        await shop.stock.hold(each, [StockLine(MUG, 1)], fence=1)

    assert await findings(shop, hold_ms=-(10**9)) == {("stray_hold", MUG, each) for each in strays}


async def test_long_lists_are_read_whole(store: Client) -> None:
    order_ids = [f"7f{number:024}" for number in range(3 * PAGE)]
    scores = [number // 2 if number < PAGE else PAGE for number in range(3 * PAGE)]
    for order_id, score in zip(order_ids, scores, strict=True):
        await store.execute("ZADD", in_flight_key("7f"), score, order_id)

    pages = [page async for page in RedisBooks(store).orders("7f")]

    assert [each for page in pages for each in page] == order_ids
    assert max(map(len, pages)) == PAGE


async def test_a_page_goes_on_where_its_last_order_has_left_the_list(store: Client) -> None:
    order_ids = [f"7f{number:024}" for number in range(2 * PAGE)]
    for order_id in order_ids:
        await store.execute("ZADD", in_flight_key("7f"), 1, order_id)

    found: set[str] = set()
    async for page in RedisBooks(store).orders("7f"):
        found.update(page)
        if len(found) == PAGE:
            await store.execute("ZREM", in_flight_key("7f"), page[-1])

    assert found == set(order_ids)


async def test_a_page_goes_on_where_its_last_order_was_before_it_moved(store: Client) -> None:
    order_ids = [f"7f{number:024}" for number in range(2 * PAGE)]
    for score, order_id in enumerate(order_ids):
        await store.execute("ZADD", in_flight_key("7f"), score, order_id)

    found: set[str] = set()
    async for page in RedisBooks(store).orders("7f"):
        found.update(page)
        if len(found) == PAGE:
            await store.execute("ZADD", in_flight_key("7f"), 10 * PAGE, page[-1])

    assert found == set(order_ids)
