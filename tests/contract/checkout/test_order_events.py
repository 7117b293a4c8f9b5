"""Following an order, over each adapter of the orders and of the notices of their changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from checkout.errors import OrderNotFound
from checkout.order import Order
from checkout.order_events import OrderEvents
from checkout.order_status import NEXT, OrderStatus
from checkout.ports.changes import OrderChanges
from checkout.redis.changes import RedisOrderChanges
from store.opening import open_store_client, open_subscriber
from tests.contract.checkout.shop import MUG, MemoryShop, Shop, a_request
from tests.virtual_time import in_virtual_time, loop_time
from tests.waiting import WITHIN_S

STATUSES = ["accepted", "stock_confirmed", "payment_authorised", "shipping_arranged", "completed"]


@pytest.fixture
async def changes(bare_shop: Shop, store_url: str) -> AsyncIterator[OrderChanges]:
    if isinstance(bare_shop, MemoryShop):
        yield bare_shop.memory_orders
        return
    client = await open_store_client(store_url, deadline_s=5.0)
    subscriber = open_subscriber(store_url, client)
    running = asyncio.create_task(subscriber.run())
    yield RedisOrderChanges(subscriber)
    running.cancel()
    await asyncio.wait([running])
    await client.close()
    assert subscriber.channels == 0, "a stream that ends forgets its order"


@pytest.fixture
def events(shop: Shop, changes: OrderChanges) -> OrderEvents:
    # No heartbeat while a test runs: each event follows from the notice of its transition.
    return OrderEvents(shop.handlers(), changes, heartbeat_s=2 * WITHIN_S)


async def an_order(shop: Shop, *, owner: str | None = None) -> Order:
    cart = await shop.cart(owner=owner)
    return (await shop.handlers().place(a_request(cart), idempotency_key="once", owner=owner)).order


async def move(shop: Shop, order: Order) -> Order:
    return await shop.orders.transition(order, NEXT[order.status], at=shop.now())


async def test_events_follow_the_history_and_end_with_the_order(shop: Shop, events: OrderEvents) -> None:
    order = await an_order(shop)
    seen: list[tuple[int, str]] = []
    async with asyncio.timeout(WITHIN_S):
        async for event in events.follow(order):
            assert event is not None
            seen.append((event.number, event.entry.status.value))
            order = await move(shop, order) if order.status in NEXT else order
    assert seen == list(enumerate(STATUSES, start=1))
    assert [event and event.number async for event in events.follow(order, after=3)] == [4, 5]
    assert [event async for event in events.follow(order, after=99)] == []


async def test_what_followed_the_end_is_told_and_then_the_stream_ends(shop: Shop, events: OrderEvents) -> None:
    order = await an_order(shop)
    while order.status in NEXT:
        order = await move(shop, order)
    order = await shop.orders.transition(order, OrderStatus.SHIPPED, at=shop.now())
    order = await shop.orders.update(order, order.noted(at=shop.now(), refunded=5))
    told = [
        (event.number, event.entry.status.value, event.entry.refunded)
        async for event in events.follow(order, after=4)
        if event is not None
    ]
    assert told == [(5, "completed", None), (6, "shipped", None), (7, "shipped", 5)]


async def test_an_order_is_followed_beyond_its_workflow_until_the_wanted_status(
    shop: Shop, events: OrderEvents
) -> None:
    order = await an_order(shop)
    seen: list[tuple[int, str, int | None]] = []
    async with asyncio.timeout(WITHIN_S):
        async for event in events.follow(order, until=OrderStatus.DELIVERED):
            assert event is not None
            seen.append((event.number, event.entry.status.value, event.entry.refunded))
            if order.status in NEXT:
                order = await move(shop, order)
            elif len(seen) == 5:
                order = await shop.orders.transition(order, OrderStatus.SHIPPED, at=shop.now())
            elif len(seen) == 6:
                order = await shop.orders.update(order, order.noted(at=shop.now(), refunded=5))
            elif len(seen) == 7:
                order = await shop.orders.transition(order, OrderStatus.DELIVERED, at=shop.now())
    completed = [(number, status, None) for number, status in enumerate(STATUSES, start=1)]
    assert seen == [*completed, (6, "shipped", None), (7, "shipped", 5), (8, "delivered", None)]


async def test_a_stream_ends_where_the_wanted_status_cannot_be_reached_any_more(
    shop: Shop, events: OrderEvents
) -> None:
    cancelled, delivered = await an_order(shop), await an_order(shop)
    await shop.handlers().cancel(cancelled.id)
    while delivered.status in NEXT:
        delivered = await move(shop, delivered)
    # The carrier's report of the shipment was lost.
    delivered = await shop.orders.transition(delivered, OrderStatus.DELIVERED, at=shop.now())
    async with asyncio.timeout(WITHIN_S):
        for order in (await shop.handlers().read(cancelled.id), delivered):
            followed = [event async for event in events.follow(order, until=OrderStatus.SHIPPED)]
            assert [event and event.number for event in followed] == list(range(1, len(order.history) + 1))


async def test_all_who_follow_an_order_see_the_same(shop: Shop, events: OrderEvents) -> None:
    order = await an_order(shop)

    async def all_events() -> list[str]:
        return [event.entry.status.value async for event in events.follow(order) if event is not None]

    following = [asyncio.create_task(all_events()) for _ in range(5)]
    while order.status in NEXT:
        order = await move(shop, order)
    assert await asyncio.gather(*following) == [STATUSES] * 5


async def test_a_cancellation_ends_the_events(shop: Shop, events: OrderEvents) -> None:
    order = await an_order(shop)
    async with asyncio.timeout(WITHIN_S):
        statuses = []
        async for event in events.follow(order):
            assert event is not None
            statuses.append(event.entry.status.value)
            if len(statuses) == 1:
                await shop.handlers().cancel(order.id)
    assert statuses == ["accepted", "cancelled"]


async def test_an_order_that_is_rolled_back_is_found_no_more(shop: Shop, events: OrderEvents) -> None:
    order = await an_order(shop)
    async with aclosing(events.follow(order)) as followed:
        await anext(followed)
        waiting = asyncio.ensure_future(anext(followed))
        await asyncio.sleep(0)
        await shop.forget_durability(order.id)
        assert await shop.orders.roll_back(order, shop.dispatched[-1])
        with pytest.raises(OrderNotFound):
            async with asyncio.timeout(WITHIN_S):
                await waiting


async def test_events_are_for_the_owner_only(shop: Shop, events: OrderEvents) -> None:
    order = await an_order(shop, owner="ada")
    async with aclosing(events.follow(order, after=1, owner="bob")) as followed:
        await move(shop, order)
        with pytest.raises(OrderNotFound):
            await anext(followed)
    async with aclosing(events.follow(order, owner="ada")) as followed:
        assert await anext(followed) is not None


async def test_a_lost_notice_is_made_up_for_at_the_next_heartbeat() -> None:
    shop = MemoryShop()
    await shop.set_stock(MUG, 10)
    order = await an_order(shop)
    # Notices of other orders than those that move.
    events = OrderEvents(shop.handlers(), MemoryShop().memory_orders, heartbeat_s=0.01)
    async with aclosing(events.follow(order, after=1)) as followed:
        assert await anext(followed) is None
        await move(shop, order)
        while (event := await anext(followed)) is None:
            pass
    assert event.number == 2


@in_virtual_time
async def test_heartbeats_follow_a_silence_and_nothing_is_read_meanwhile() -> None:
    shop = MemoryShop()
    await shop.set_stock(MUG, 10)
    order = await an_order(shop)
    events = OrderEvents(shop.handlers(), shop.memory_orders, heartbeat_s=1.0).follow(order, after=1)
    heartbeats = []
    async with asyncio.timeout(WITHIN_S):
        for _ in range(3):
            assert await anext(events) is None
            heartbeats.append(loop_time())
    assert heartbeats == pytest.approx([1.0, 2.0, 3.0])
