"""An order that has left the store for the archive leaves nothing of itself there."""

from __future__ import annotations

from typing import Any

import pytest

from cart.ids import partition_of
from cart.stored import cart_key
from checkout.order import Order
from checkout.order_number import order_number
from checkout.order_status import CancelReason, OrderStatus
from checkout.ports.webhooks import Message
from checkout.redis.event_outbox import RedisEventOutbox
from checkout.redis.webhooks import RedisWebhooks
from store import Client
from store.keys import kind_of
from tests.contract.checkout.shop import MUG, RedisShop, a_request
from tests.contract.checkout.test_records import Archived

SINK = "archive"
# Each type is read whole by these.
READS: dict[str, tuple[str, ...]] = {
    "string": ("GET",),
    "hash": ("HGETALL",),
    "set": ("SMEMBERS",),
    "zset": ("ZRANGE", "0", "-1"),
    "stream": ("XRANGE", "-", "+"),
}


@pytest.fixture
def archived(store: Client, request: pytest.FixtureRequest) -> Archived:
    shop = RedisShop(store)
    shop.events.enable(SINK)
    return Archived(shop, request)


async def traces(store: Client, *names: str) -> set[bytes]:
    """The keys that have one of these in their name, or in what they hold."""
    return {key for key in await store.execute("KEYS", "*") if await _has(store, key, names)}


async def _has(store: Client, key: bytes, names: tuple[str, ...]) -> bool:
    command, *arguments = READS[(await store.execute("TYPE", key)).decode()]
    text = repr((key, await store.execute(command, key, *arguments)))
    return any(name in text for name in names)


async def placed(archived: Archived, store: Client) -> Order:
    """An order of a shopper whose events a sink has taken, and an endpoint as well."""
    shop = archived.shop
    await shop.set_stock(MUG, 10)
    cart = await shop.cart({MUG: 1}, owner="ada")
    order = (await shop.handlers().place(a_request(cart), idempotency_key=cart.id, owner="ada")).order
    await archived.index.enter(order)
    await shop.outbox.mark_sent(await shop.outbox.unsent(per_partition=10))
    webhooks = RedisWebhooks(store)
    await webhooks.hand_over([Message("crm", order.id, 1)])
    delivery = await webhooks.oldest("crm", lease_s=0)
    assert delivery is not None
    await webhooks.finish(delivery)
    return order


async def leave(archived: Archived, store: Client, order: Order) -> None:
    """Hand the events on, and sweep the order out of the store."""
    await archived.archived(order)
    outbox, partition = RedisEventOutbox(store, SINK), partition_of(order.id)
    while entries := await outbox.claim(partition):
        await outbox.proceed(partition, entries)
    await outbox.release(partition)
    assert await archived.sweep() == 1


async def completed(archived: Archived, order: Order) -> Order:
    await archived.shop.stock.confirm(order.id, [MUG])
    for status in list(OrderStatus)[1:5]:
        order = await archived.shop.orders.transition(order, status, at=archived.shop.now())
    await archived.shop.stock.complete(order.id, [MUG])
    await archived.shop.orders.settle(order)
    return order


async def cancelled(archived: Archived, order: Order) -> Order:
    order = await archived.shop.orders.transition(
        order, OrderStatus.CANCELLED, at=archived.shop.now(), reason=next(iter(CancelReason))
    )
    await archived.shop.stock.cancel(order.id, [MUG])
    await archived.shop.orders.settle(order)
    return order


@pytest.mark.parametrize("end", [completed, cancelled])
async def test_nothing_of_an_archived_order_is_left_but_the_cart_that_expires(
    archived: Archived, store: Client, end: Any
) -> None:
    order = await placed(archived, store)
    names = (order.id, order_number(order.id))
    before = {kind.name for key in await traces(store, *names) if (kind := kind_of(key)) is not None}
    assert {"order", "in flight", "status", "order number", "orders of a shopper", "events", "holds"} <= before

    await leave(archived, store, await end(archived, order))

    assert await traces(store, *names) == {cart_key(order.cart_id).encode()}
    assert await store.execute("PTTL", cart_key(order.cart_id)) > 0
