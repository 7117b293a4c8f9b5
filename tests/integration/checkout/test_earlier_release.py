"""Workers of a release before revisions and this one work on the same orders, while processes are replaced."""

from __future__ import annotations

import msgspec
import pytest

from checkout.order import HistoryEntry, Order
from checkout.order_status import NEXT, CancelReason, OrderStatus
from checkout.stored import order_key
from store import Client
from tests.contract.checkout.shop import MUG, RedisShop, a_request


class EarlierState(msgspec.Struct, omit_defaults=True):
    """The members of an order that changed, as that release stored them."""

    status: OrderStatus
    updated_at: int
    history: tuple[HistoryEntry, ...]
    reason: CancelReason | None = None


@pytest.fixture
async def shop(store: Client) -> RedisShop:
    shop = RedisShop(store)
    await shop.set_stock(MUG, 10)
    return shop


async def move_as_earlier(shop: RedisShop, order: Order, to: OrderStatus) -> None:
    """Move the order as a worker of that release does: by its status, without a revision."""
    history = (*order.history, HistoryEntry(to, shop.now()))
    state = msgspec.json.encode(EarlierState(to, shop.now(), history))
    await shop.store.execute("HSET", order_key(order.id), "status", to.value, "state", state)


async def read(shop: RedisShop, order: Order) -> Order:
    stored = await shop.orders.read(order.id)
    assert stored is not None
    return stored


async def placed(shop: RedisShop) -> Order:
    cart = await shop.cart()
    return (await shop.handlers().place(a_request(cart), idempotency_key=cart.id)).order


@pytest.mark.parametrize("earlier_first", [False, True])
async def test_workers_of_both_releases_move_an_order_by_turns(shop: RedisShop, earlier_first: bool) -> None:
    order = await placed(shop)
    is_earlier = earlier_first
    while (to := NEXT.get(order.status)) is not None:
        if is_earlier:
            await move_as_earlier(shop, order, to)
        else:
            await shop.orders.transition(order, to, at=shop.now())
        order = await read(shop, order)
        is_earlier = not is_earlier

    assert order.status is OrderStatus.COMPLETED
    await shop.orders.settle(order)
    assert order.id not in await shop.in_flight.stalled(idle_s=0.0, limit=10)


async def test_an_order_that_an_earlier_worker_moved_can_be_cancelled(shop: RedisShop) -> None:
    order = await shop.orders.transition(await placed(shop), OrderStatus.STOCK_CONFIRMED, at=shop.now())
    await move_as_earlier(shop, order, OrderStatus.PAYMENT_AUTHORISED)

    cancelled = await shop.handlers().cancel(order.id)

    assert cancelled.reason is CancelReason.REQUESTED
    assert await read(shop, order) == cancelled
