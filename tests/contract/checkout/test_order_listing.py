"""The contract of `OrderListing`, for both adapters."""

from __future__ import annotations

import pytest

from cart.model import OrderId
from checkout.errors import OrderNotDurable
from checkout.order import Order
from checkout.order_status import CancelReason, OrderStatus
from checkout.ports.order_listing import Listed
from checkout.redis.order_listing import RedisOrderListing
from checkout.stored import ALL_PARTITIONS
from tests.contract.checkout.shop import MUG, RedisShop, Shop, a_request, switchable_shop

HOUR_MS = 3_600_000


@pytest.fixture(params=["memory", "redis"])
def bare_shop(request: pytest.FixtureRequest) -> Shop:
    """A shop whose durability a test can switch off."""
    return switchable_shop(request)


async def ordered(shop: Shop) -> Order:
    cart = await shop.cart({MUG: 1})
    return (await shop.handlers().place(a_request(cart), idempotency_key=cart.id)).order


async def moved(shop: Shop, order: Order, *statuses: OrderStatus) -> Order:
    for status in statuses:
        reason = CancelReason.REQUESTED if status is OrderStatus.CANCELLED else None
        order = await shop.orders.transition(order, status, at=shop.now(), reason=reason)
    return order


async def ids(shop: Shop, *statuses: OrderStatus, **selection: object) -> list[OrderId]:
    page = await shop.listing.page(statuses, **{"limit": 100, **selection})  # type: ignore[arg-type]
    return [each.order_id for each in page]


async def test_an_order_is_listed_in_its_status_and_in_no_other(shop: Shop) -> None:
    waiting, paid, cancelled = await ordered(shop), await ordered(shop), await ordered(shop)
    await moved(shop, paid, OrderStatus.STOCK_CONFIRMED, OrderStatus.PAYMENT_AUTHORISED)
    await moved(shop, cancelled, OrderStatus.CANCELLED)

    assert await ids(shop, OrderStatus.ACCEPTED) == [waiting.id]
    assert await ids(shop, OrderStatus.STOCK_CONFIRMED) == []
    assert await ids(shop, OrderStatus.PAYMENT_AUTHORISED) == [paid.id]
    assert await ids(shop, OrderStatus.CANCELLED) == [cancelled.id]
    counts = await shop.listing.counts()
    assert set(counts) == set(OrderStatus)
    assert (counts[OrderStatus.ACCEPTED], counts[OrderStatus.CANCELLED], counts[OrderStatus.COMPLETED]) == (1, 1, 0)


@pytest.mark.parametrize("is_cluster", [False, True])
async def test_each_order_is_counted_once_however_many_calls_it_takes(shop: Shop, is_cluster: bool) -> None:
    listing = shop.listing
    if isinstance(shop, RedisShop):
        shop.needs_calls_of(1 if is_cluster else len(ALL_PARTITIONS))
        listing = RedisOrderListing(shop.store, is_cluster=is_cluster)
    for _ in range(5):
        await ordered(shop)
    assert (await listing.counts())[OrderStatus.ACCEPTED] == 5


async def test_a_change_within_a_status_does_not_move_the_order(shop: Shop) -> None:
    first = await moved(shop, await ordered(shop), *list(OrderStatus)[1:5])
    await shop.age_status(first, 1_000)
    second = await moved(shop, await ordered(shop), *list(OrderStatus)[1:5])
    await shop.orders.update(first, first.noted(at=shop.now(), refunded=100))
    assert await ids(shop, OrderStatus.COMPLETED) == [first.id, second.id]


async def test_an_order_that_is_cancelled_at_request_is_listed_as_cancelled(shop: Shop) -> None:
    order = await ordered(shop)
    await shop.orders.cancel(order, at=shop.now(), message=b"{}")
    assert await ids(shop, OrderStatus.ACCEPTED) == []
    assert await ids(shop, OrderStatus.CANCELLED) == [order.id]


async def test_an_order_that_is_rolled_back_is_in_no_list(shop: Shop) -> None:
    shop.set_durable(False)
    cart = await shop.cart({MUG: 1})
    with pytest.raises(OrderNotDurable):
        await shop.handlers().place(a_request(cart), idempotency_key="key")
    assert await ids(shop, *OrderStatus) == []


async def test_orders_are_selected_by_the_time_in_their_status(shop: Shop) -> None:
    old = await ordered(shop)
    await shop.age_status(old, HOUR_MS)
    new = await ordered(shop)

    assert await ids(shop, OrderStatus.ACCEPTED) == [old.id, new.id]
    assert await ids(shop, OrderStatus.ACCEPTED, newest_first=True) == [new.id, old.id]
    assert await ids(shop, OrderStatus.ACCEPTED, older_s=1800) == [old.id]
    assert await ids(shop, OrderStatus.ACCEPTED, younger_s=1800) == [new.id]
    assert await ids(shop, OrderStatus.ACCEPTED, older_s=1800, younger_s=3000) == []


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("gap_ms", [0, 1_000])
async def test_pages_hold_every_order_once_and_in_sequence(shop: Shop, newest_first: bool, gap_ms: int) -> None:
    orders = []
    for _ in range(7):
        orders.append(await ordered(shop))
        for order in orders if gap_ms else ():
            await shop.age_status(order, gap_ms)
    await moved(shop, orders[3], OrderStatus.STOCK_CONFIRMED)
    statuses = (OrderStatus.ACCEPTED, OrderStatus.STOCK_CONFIRMED)

    found: list[Listed] = []
    while page := await shop.listing.page(
        statuses, limit=2, after=found[-1] if found else None, newest_first=newest_first
    ):
        assert len(page) <= 2
        found += page

    assert {each.order_id for each in found} == {order.id for order in orders}
    assert len(found) == 7
    positions = [(each.at, each.order_id) for each in found]
    assert positions == sorted(positions, reverse=newest_first)
