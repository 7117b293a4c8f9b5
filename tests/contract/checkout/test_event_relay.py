"""Event outboxes and their relay, on every adapter: in order per order, at least once, each sink for itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from cart.ids import partition_of
from cart.model import OrderId
from checkout.events.relay import EventRelay
from checkout.order import Order
from checkout.order_status import OrderStatus
from checkout.ports.events import NewEvent
from checkout.ports.orders import Receipt
from tests.contract.checkout.shop import EVENT_PAGE, MUG, Shop, a_request, switchable_shop

SINK = "archive"
KEY = "k1"


class FakeSink:
    """Takes events unless it is away, refuses some orders, or is killed."""

    def __init__(self) -> None:
        self.taken: list[tuple[OrderId, int]] = []
        self.refused: set[OrderId] = set()
        self.is_away = False
        self.hangs = False
        self.was_called = asyncio.Event()

    async def take(self, events: Sequence[NewEvent]) -> Collection[OrderId]:
        self.was_called.set()
        if self.hangs:
            await asyncio.Event().wait()
        if self.is_away:
            raise ConnectionError("the sink is away")
        self.taken += [(event.order.id, event.number) for event in events if event.order.id not in self.refused]
        return self.refused

    def numbers(self, order: Order) -> list[int]:
        return [number for order_id, number in self.taken if order_id == order.id]


def relay(shop: Shop, sink: FakeSink, *, name: str = SINK, attached: bool = True, **settings: Any) -> EventRelay:
    """The relay of one more process."""
    each = EventRelay(shop.event_outbox(name), shop.orders, sink, name=name, **settings)
    if attached:
        shop.events.attach(each.notice)
    return each


async def relay_all(*relays: EventRelay) -> None:
    """Relay until there is nothing that was noticed, or a sink fails."""
    for each in relays:
        while each._noticed and await each.relay_once():
            pass


@pytest.fixture
def events(shop: Shop) -> Shop:
    shop.events.enable(SINK)
    return shop


async def an_order(shop: Shop, *, key: str = KEY) -> Order:
    cart = await shop.cart({MUG: 1})
    return (await shop.handlers().place(a_request(cart), idempotency_key=key)).order


async def moved(shop: Shop, order: Order, *statuses: OrderStatus) -> Order:
    for status in statuses:
        order = await shop.orders.transition(order, status, at=shop.now())
    return order


CONFIRMED = (OrderStatus.STOCK_CONFIRMED, OrderStatus.PAYMENT_AUTHORISED, OrderStatus.SHIPPING_ARRANGED)


async def test_every_change_of_an_order_is_an_event_in_the_order_of_the_changes(events: Shop) -> None:
    sink = FakeSink()
    relaying = relay(events, sink)
    order = await moved(events, await an_order(events), *CONFIRMED, OrderStatus.COMPLETED)
    await relay_all(relaying)
    assert sink.taken == [(order.id, number) for number in (1, 2, 3, 4, 5)]
    assert relaying.relayed == 5
    assert not await relaying.sweep()


async def test_a_cancellation_is_an_event(events: Shop) -> None:
    sink = FakeSink()
    relaying = relay(events, sink)
    order = await an_order(events)
    await events.orders.cancel(order, at=events.now(), message=b"{}")
    await relay_all(relaying)
    assert sink.numbers(order) == [1, 2]


async def test_a_refund_is_an_event_and_a_change_without_an_entry_in_the_history_is_none(events: Shop) -> None:
    sink = FakeSink()
    relaying = relay(events, sink)
    order = await moved(events, await an_order(events), *CONFIRMED, OrderStatus.COMPLETED)
    order = await events.orders.update(order, order.revised())
    order = await events.orders.update(order, order.noted(at=events.now(), refunded=5))
    await relay_all(relaying)
    assert sink.numbers(order) == [1, 2, 3, 4, 5, 6]
    assert order.revision == 7


async def test_the_sink_sees_the_entry_of_the_event_in_the_order_as_it_is_now(events: Shop) -> None:
    seen: list[NewEvent] = []

    class Seeing(FakeSink):
        async def take(self, events: Sequence[NewEvent]) -> Collection[OrderId]:
            seen.extend(events)
            return ()

    relaying = relay(events, Seeing())
    order = await moved(events, await an_order(events), OrderStatus.STOCK_CONFIRMED)
    await relay_all(relaying)
    assert [event.entry.status for event in seen] == [OrderStatus.ACCEPTED, OrderStatus.STOCK_CONFIRMED]
    assert [event.order.status for event in seen] == [order.status, order.status]


async def test_without_a_sink_nothing_is_written(shop: Shop) -> None:
    order = await an_order(shop)
    await moved(shop, order, OrderStatus.STOCK_CONFIRMED)
    assert await shop.event_outbox(SINK).claim(partition_of(order.id)) == []


async def test_a_sink_that_is_not_enabled_is_not_looked_at(events: Shop) -> None:
    relaying = relay(events, FakeSink(), name="sns", is_enabled=lambda: "sns" in events.events.names)
    order = await an_order(events)
    assert not relaying._noticed
    events.events.enable("sns")
    await moved(events, order, OrderStatus.STOCK_CONFIRMED)
    assert list(relaying._noticed) == [partition_of(order.id)]


async def test_the_events_of_a_process_that_was_killed_are_found_by_the_sweep_of_another(events: Shop) -> None:
    order = await moved(events, await an_order(events), OrderStatus.STOCK_CONFIRMED)
    sink = FakeSink()
    other = relay(events, sink, attached=False)
    await relay_all(other)
    assert not sink.taken
    assert await other.sweep() == 1
    assert other.backlog[0].waiting == 2
    assert other.backlog[0].oldest_age_s >= 0
    await relay_all(other)
    assert sink.numbers(order) == [1, 2]
    assert not await other.sweep()


async def test_a_process_that_is_killed_while_its_sink_works_hands_the_events_on_again(events: Shop) -> None:
    killed, survivor = FakeSink(), FakeSink()
    killed.hangs = True
    dying, other = relay(events, killed), relay(events, survivor, attached=False)
    order = await an_order(events)
    work = asyncio.create_task(dying.relay_once())
    await killed.was_called.wait()
    work.cancel()
    await asyncio.wait([work])
    await other.sweep()
    await relay_all(other)
    assert not survivor.taken, "the claim of the killed process is still valid"
    await events.expire_event_claims(SINK)
    await other.sweep()
    await relay_all(other)
    assert survivor.numbers(order) == [1]


async def test_a_claim_is_exclusive_and_sees_what_is_written_meanwhile(events: Shop) -> None:
    order = await an_order(events)
    partition = partition_of(order.id)
    first, second = events.event_outbox(SINK), events.event_outbox(SINK)
    entries = await first.claim(partition)
    assert entries is not None
    assert [entry.number for entry in entries] == [1]
    await moved(events, order, OrderStatus.STOCK_CONFIRMED)
    assert await second.claim(partition) is None
    more = await first.proceed(partition, entries)
    assert more is not None
    assert [entry.number for entry in more] == [2]
    assert await first.proceed(partition, more) == []
    assert await second.claim(partition) == [], "the claim has ended"


async def test_a_claim_that_is_lost_deletes_what_was_taken_and_reads_no_more(events: Shop) -> None:
    order = await moved(events, await an_order(events), OrderStatus.STOCK_CONFIRMED)
    partition = partition_of(order.id)
    slow, other = events.event_outbox(SINK), events.event_outbox(SINK)
    entries = await slow.claim(partition)
    assert entries is not None
    await events.expire_event_claims(SINK)
    assert await other.claim(partition) == entries
    assert await slow.proceed(partition, entries[:1]) is None
    await slow.release(partition)
    assert await slow.claim(partition) is None, "it does not end the claim of another"
    assert await other.proceed(partition, ()) == entries[1:]


async def test_a_sink_that_is_away_gets_the_events_later_in_order(events: Shop) -> None:
    sink = FakeSink()
    relaying = relay(events, sink)
    order = await an_order(events)
    sink.is_away = True
    assert not await relaying.relay_once()
    await moved(events, order, OrderStatus.STOCK_CONFIRMED)
    assert not await relaying.relay_once()
    assert relaying.failures == 2
    sink.is_away = False
    await relay_all(relaying)
    assert sink.numbers(order) == [1, 2]


async def test_a_sink_that_is_away_does_not_hold_up_another(events: Shop) -> None:
    events.events.enable("sns")
    away, working = FakeSink(), FakeSink()
    away.is_away = True
    relays = relay(events, away), relay(events, working, name="sns")
    order = await an_order(events)
    await relay_all(*relays)
    assert not away.taken
    assert working.numbers(order) == [1]


async def test_an_order_that_the_sink_refuses_waits_and_the_others_go_on(events: Shop) -> None:
    sink = FakeSink()
    relaying = relay(events, sink)
    orders = [await an_order(events, key=f"k{number}") for number in range(3)]
    sink.refused = {orders[0].id}
    orders = [await moved(events, order, *CONFIRMED) for order in orders]
    await relay_all(relaying)
    assert [sink.numbers(order) for order in orders] == [[], [1, 2, 3, 4], [1, 2, 3, 4]]
    sink.refused = set()
    await relaying.sweep()
    await relay_all(relaying)
    assert sink.numbers(orders[0]) == [1, 2, 3, 4]


async def test_refused_events_that_fill_a_page_do_not_hide_those_behind_them(events: Shop) -> None:
    stuck = await moved(events, await an_order(events), *CONFIRMED, OrderStatus.COMPLETED)
    outbox = events.event_outbox(SINK)
    page = await outbox.claim(partition_of(stuck.id))
    assert page is not None
    assert len(page) == EVENT_PAGE
    assert await outbox.proceed(partition_of(stuck.id), (), after=page[0]) == page[1:]
    assert await outbox.proceed(partition_of(stuck.id), (), after=page[-1]) == []


async def test_the_events_of_an_order_that_was_rolled_back_are_dropped(events: Shop) -> None:
    sink = FakeSink()
    relaying = relay(events, sink)
    order = await an_order(events)
    await events.lose_order(order.id)
    await relay_all(relaying)
    assert not sink.taken
    assert not await relaying.sweep()


async def test_an_order_whose_record_is_broken_holds_up_no_other(
    events: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    unreadable: set[OrderId] = set()

    class SomeAreBroken:
        make_durable = events.orders.make_durable

        async def receipt(self, order_id: OrderId) -> Receipt | None:
            if order_id in unreadable:
                raise ValueError("not JSON")
            return await events.orders.receipt(order_id)

    sink = FakeSink()
    relaying = EventRelay(events.event_outbox(SINK), SomeAreBroken(), sink, name=SINK)
    events.events.attach(relaying.notice)
    broken, order = await an_order(events, key="k1"), await an_order(events, key="k2")
    unreadable.add(broken.id)
    for _ in range(2):
        await relay_all(relaying)
        await relaying.sweep()
    assert sink.taken == [(order.id, 1)]
    assert caplog.text.count("cannot be read; its events for archive wait") == 1
    assert broken.id not in caplog.text
    unreadable.clear()
    await relay_all(relaying)
    assert sink.numbers(broken) == [1]


@pytest.fixture(params=["memory", "redis"])
def switched_shop(request: pytest.FixtureRequest) -> Shop:
    return switchable_shop(request)


@pytest.fixture
async def weak_shop(switched_shop: Shop) -> Shop:
    """A shop whose durability a test switches off."""
    await switched_shop.set_stock(MUG, 10)
    switched_shop.events.enable(SINK)
    return switched_shop


async def test_an_order_that_is_not_durable_yet_waits(weak_shop: Shop) -> None:
    sink = FakeSink()
    relaying = relay(weak_shop, sink)
    order = await an_order(weak_shop)
    await weak_shop.forget_durability(order.id)
    weak_shop.set_durable(is_durable=False)
    relaying.notice(order.id)
    await relay_all(relaying)
    assert not sink.taken
    weak_shop.set_durable(is_durable=True)
    assert await relaying.sweep() == 1
    await relay_all(relaying)
    assert sink.numbers(order) == [1]


async def test_an_order_that_its_checkout_may_still_roll_back_waits(events: Shop) -> None:
    """Also if its writes have become durable since it was read."""

    class NotMarked:
        make_durable = events.orders.make_durable

        async def receipt(self, order_id: OrderId) -> Receipt | None:
            receipt = await events.orders.receipt(order_id)
            return receipt and msgspec.structs.replace(receipt, is_durable=False)

    sink = FakeSink()
    relaying = EventRelay(events.event_outbox(SINK), NotMarked(), sink, name=SINK)
    relaying.notice((await an_order(events)).id)
    await relay_all(relaying)
    assert not sink.taken
    assert await relaying.sweep() == 1


async def test_a_change_that_is_not_durable_yet_waits(weak_shop: Shop) -> None:
    sink = FakeSink()
    relaying = relay(weak_shop, sink)
    order = await an_order(weak_shop)
    await relay_all(relaying)
    weak_shop.set_durable(is_durable=False)
    order = await moved(weak_shop, order, OrderStatus.STOCK_CONFIRMED)
    await relay_all(relaying)
    assert sink.numbers(order) == [1]
    weak_shop.set_durable(is_durable=True)
    await relaying.sweep()
    await relay_all(relaying)
    assert sink.numbers(order) == [1, 2]


@asynccontextmanager
async def running(*relays: EventRelay) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(each.run()) for each in relays]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def test_several_processes_that_change_and_relay_keep_the_order_of_each_order(events: Shop) -> None:
    sink = FakeSink()
    relays = [relay(events, sink, sweep_s=0.01) for _ in range(3)]
    async with running(*relays):
        orders = [await an_order(events, key=f"k{number}") for number in range(4)]
        orders = list(await asyncio.gather(*(moved(events, order, *CONFIRMED) for order in orders)))
        for each in relays:
            assert await each.drain(10.0)
        while await relays[0].sweep():
            await relays[0].drain(10.0)
    for order in orders:
        assert sink.numbers(order) == [1, 2, 3, 4]


async def test_two_senders_of_one_process_do_not_hand_on_the_same_event(events: Shop) -> None:
    sink = FakeSink()
    sink.hangs = True
    relaying = relay(events, sink)
    order = await an_order(events)
    first = asyncio.create_task(relaying.relay_once())
    await sink.was_called.wait()
    order = await moved(events, order, OrderStatus.STOCK_CONFIRMED)
    sink.hangs = False
    assert await relaying.relay_once()
    assert not sink.taken
    first.cancel()
    await asyncio.wait([first])
    await relay_all(relaying)
    assert sink.numbers(order) == [1, 2]


async def test_a_drain_that_takes_too_long_leaves_the_events_to_a_sweep(events: Shop) -> None:
    sink = FakeSink()
    sink.is_away = True
    relaying = relay(events, sink)
    order = await an_order(events)
    async with running(relaying):
        assert not await relaying.drain(0.0)
    sink.is_away = False
    other = relay(events, sink, attached=False)
    await events.expire_event_claims(SINK)
    await other.sweep()
    await relay_all(other)
    assert sink.numbers(order) == [1]
