"""The contract of `InFlight`, and of the durability of `Orders`, for both adapters."""

from __future__ import annotations

import asyncio

import pytest

from cart.ids import order_id_for
from cart.model import OrderId
from checkout.errors import ChangeNotDurable, OrderNotDurable
from checkout.facts import RetryFrom
from checkout.message import order_accepted
from checkout.order import Order
from checkout.order_status import CancelReason, OrderStatus
from checkout.outbox import OutboxDispatcher
from checkout.received_message import order_id_of
from checkout.stalled_orders import StalledOrders
from tests.contract.checkout.shop import (
    MUG,
    MemoryShop,
    Shop,
    a_request,
    switchable_shop,
)
from tests.unit.checkout.fake_services import MemoryQueue
from tests.virtual_time import in_virtual_time

KEY = "the key"
MINUTE_S = 60.0


@pytest.fixture(params=["memory", "redis"])
def bare_shop(request: pytest.FixtureRequest) -> Shop:
    """A shop whose durability a test can switch off."""
    return switchable_shop(request)


async def ordered(shop: Shop, key: str = KEY) -> Order:
    return (await shop.handlers().place(a_request(await shop.cart()), idempotency_key=key)).order


async def moved_to(shop: Shop, order: Order, *statuses: OrderStatus) -> Order:
    for status in statuses:
        order = await shop.orders.transition(order, status, at=shop.now())
    return order


async def completed(shop: Shop) -> Order:
    return await moved_to(shop, await ordered(shop), *list(OrderStatus)[1:5])


async def sent(shop: Shop) -> None:
    await shop.outbox.mark_sent(await shop.outbox.unsent(per_partition=10))


async def stalled(shop: Shop, *, idle_s: float = 0.0) -> list[OrderId]:
    return list(await shop.in_flight.stalled(idle_s=idle_s, limit=10))


# Durability


async def test_a_cancellation_that_is_not_durable_is_not_reported_as_done(shop: Shop) -> None:
    order = await ordered(shop)
    shop.set_durable(False)
    for _ in range(2):
        with pytest.raises(ChangeNotDurable) as unsure:
            await shop.handlers().cancel(order.id)
        assert unsure.value.may_have_run
    shop.set_durable(True)
    cancelled = await shop.handlers().cancel(order.id)
    assert cancelled.reason is CancelReason.REQUESTED
    assert [entry.order_id for entry in await shop.outbox.unsent(per_partition=10)] == [order.id] * 2


async def test_an_order_that_is_not_durable_is_not_settled(shop: Shop) -> None:
    order = await completed(shop)
    shop.set_durable(False)
    with pytest.raises(ChangeNotDurable):
        await shop.orders.settle(order)
    shop.set_durable(True)
    for _ in range(2):
        await shop.orders.settle(order)
    assert await stalled(shop) == []


async def test_an_order_whose_last_transition_was_lost_is_not_settled(shop: Shop) -> None:
    order = await moved_to(shop, await ordered(shop), *list(OrderStatus)[1:4])
    seen = order.moved(OrderStatus.COMPLETED, at=shop.now())
    with pytest.raises(ChangeNotDurable):
        await shop.orders.settle(seen)
    with pytest.raises(ChangeNotDurable):
        await shop.orders.make_durable(seen)
    await sent(shop)
    assert await stalled(shop) == [order.id]


# Orders in flight


async def test_an_order_is_in_flight_until_it_is_settled(shop: Shop) -> None:
    order = await ordered(shop)
    assert await stalled(shop) == [order.id]
    done = await moved_to(shop, order, *list(OrderStatus)[1:5])
    assert await stalled(shop) == [order.id]
    await shop.orders.settle(done)
    await sent(shop)
    assert await stalled(shop) == []


async def test_an_order_that_moves_on_or_is_sent_is_not_stalled(shop: Shop) -> None:
    order = await ordered(shop)
    assert await stalled(shop, idle_s=MINUTE_S) == []
    await sent(shop)
    await moved_to(shop, order, OrderStatus.STOCK_CONFIRMED)
    assert await stalled(shop, idle_s=MINUTE_S) == []


async def test_an_order_that_was_rolled_back_is_not_in_flight(shop: Shop) -> None:
    shop.set_durable(False)
    cart = await shop.cart()
    with pytest.raises(OrderNotDurable):
        await shop.handlers().place(a_request(cart), idempotency_key=KEY)
    assert await shop.orders.read(order_id_for(cart.id, cart.version)) is None
    assert await stalled(shop) == []


async def test_a_stalled_order_is_sent_again_once(shop: Shop) -> None:
    order = await moved_to(shop, await ordered(shop), OrderStatus.STOCK_CONFIRMED)
    await sent(shop)
    entry = await shop.in_flight.send_again(order, b"again", idle_s=0.0)
    assert entry is not None
    assert await shop.outbox.unsent(per_partition=10) == [entry]
    assert (entry.order_id, entry.message) == (order.id, b"again")
    # It is in the outbox now.
    assert await shop.in_flight.send_again(order, b"again", idle_s=0.0) is None


async def test_an_order_that_is_not_stalled_is_not_sent_again(shop: Shop) -> None:
    order = await ordered(shop)
    # Its message is in the outbox still.
    assert await shop.in_flight.send_again(order, b"again", idle_s=0.0) is None
    await sent(shop)
    assert await shop.in_flight.send_again(order, b"again", idle_s=MINUTE_S) is None
    done = await moved_to(shop, order, *list(OrderStatus)[1:5])
    await shop.orders.settle(done)
    assert await shop.in_flight.send_again(done, b"again", idle_s=0.0) is None
    assert await shop.outbox.unsent(per_partition=10) == []


async def test_an_order_of_an_earlier_version_is_in_flight_from_its_next_transition_on(shop: Shop) -> None:
    order = await ordered(shop)
    await sent(shop)
    await shop.in_flight.remove(order.id)
    assert await stalled(shop) == []
    await moved_to(shop, order, OrderStatus.STOCK_CONFIRMED)
    assert await stalled(shop) == [order.id]


async def test_an_order_that_needs_a_person_is_not_sent_again_until_it_is_resumed(shop: Shop) -> None:
    order = await ordered(shop)
    await sent(shop)
    assert await shop.progress.set_aside(order.id, "worker", reason="no price")
    assert await shop.in_flight.send_again(order, b"again", idle_s=0.0) is None
    assert await stalled(shop) == []
    entry = await shop.progress.resume(order.id, message=b"resumed")
    assert await shop.outbox.unsent(per_partition=10) == [entry]
    await sent(shop)
    assert await stalled(shop) == [order.id]


async def test_an_order_that_needs_a_person_is_sent_again_if_something_was_told_of_it(shop: Shop) -> None:
    order = await ordered(shop)
    assert await shop.progress.set_aside(order.id, "worker", reason="no price")
    await shop.orders.append_fact(order.id, RetryFrom("retry", 1, "confirm_stock"), message=b"lost")
    await sent(shop)

    assert await shop.in_flight.send_again(order, b"again", idle_s=0.0) is not None


async def test_a_delayed_order_whose_message_is_lost_is_sent_again(shop: Shop) -> None:
    order = await ordered(shop)
    await sent(shop)
    await shop.progress.take(order.id, "worker")
    await shop.progress.put_back(order.id, "worker", unanswered=True)
    await shop.progress.delay(order.id, 120_000)

    assert await shop.in_flight.send_again(order, b"again", idle_s=0.0) is not None


async def test_an_order_that_a_worker_has_is_not_sent_again(shop: Shop) -> None:
    order = await ordered(shop)
    await sent(shop)
    await shop.progress.take(order.id, "worker")
    assert await shop.in_flight.send_again(order, b"again", idle_s=0.0) is None
    await shop.progress.put_back(order.id, "worker")
    assert await shop.in_flight.send_again(order, b"again", idle_s=0.0) is not None


# The finder


def finder(shop: Shop, queue: MemoryQueue, *, margin_s: float = 0.0) -> StalledOrders:
    return StalledOrders(shop.in_flight, shop.orders, queue, order_accepted, margin_s=margin_s)


async def test_orders_without_a_message_are_put_back_in_the_queue(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    queue = MemoryQueue()
    orders = [await ordered(shop, f"key {number}") for number in range(3)]
    await sent(shop)
    stalled_orders = finder(shop, queue)
    assert await stalled_orders.sweep() == 3
    assert await stalled_orders.sweep() == 0
    assert stalled_orders.sent_again == 3
    assert [record.message for record in caplog.records] == [
        "3 orders were in flight without a message; they are back in the queue"
    ]
    entries = await shop.outbox.unsent(per_partition=10)
    assert sorted(order_id_of(entry.message) for entry in entries) == sorted(order.id for order in orders)


async def test_orders_that_may_be_in_the_queue_are_left_there(shop: Shop) -> None:
    queue = MemoryQueue()
    await ordered(shop)
    dispatcher = OutboxDispatcher(shop.outbox, queue, min_age_s=0.0)
    await dispatcher.sweep()
    await dispatcher._send(await dispatcher._next_batch())
    assert await shop.outbox.unsent(per_partition=10) == []
    assert await finder(shop, queue, margin_s=MINUTE_S).sweep() == 0
    assert await shop.outbox.unsent(per_partition=10) == []


@pytest.mark.parametrize("bare_shop", ["memory"], indirect=True)
async def test_only_orders_older_than_the_oldest_message_have_none(shop: Shop) -> None:
    assert isinstance(shop, MemoryShop)
    older = await ordered(shop, "older")
    await sent(shop)
    shop.now_ms += 60_000
    younger = await ordered(shop, "younger")
    await sent(shop)

    class Queue(MemoryQueue):
        async def oldest_age_s(self) -> float | None:
            return 100.0

    shop.now_ms += 110_000
    assert await finder(shop, Queue(), margin_s=20.0).sweep() == 1
    (entry,) = await shop.outbox.unsent(per_partition=10)
    assert entry.order_id == older.id
    assert younger.id in await stalled(shop)


async def test_an_order_in_flight_that_is_gone_is_forgotten(shop: Shop) -> None:
    order = await ordered(shop)
    await sent(shop)

    class Empty:
        async def read(self, order_id: OrderId) -> Order | None:
            return None

    empty: object = Empty()
    assert await StalledOrders(shop.in_flight, empty, MemoryQueue(), order_accepted, margin_s=0.0).sweep() == 0  # type: ignore[arg-type]
    assert order.id not in await stalled(shop)


@in_virtual_time
async def test_a_failed_sweep_is_repeated(caplog: pytest.LogCaptureFixture) -> None:
    shop = MemoryShop()
    await shop.set_stock(MUG, 10)
    await ordered(shop)
    await sent(shop)

    class Queue(MemoryQueue):
        is_away = True

        async def oldest_age_s(self) -> float | None:
            if self.is_away:
                self.is_away = False
                raise ConnectionError("away")
            return None

    running = asyncio.create_task(finder(shop, Queue()).run())
    await asyncio.sleep(100)
    running.cancel()
    assert "ConnectionError: away" in caplog.records[0].message
