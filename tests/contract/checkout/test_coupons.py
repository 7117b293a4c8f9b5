"""Coupons at checkout: their uses are held, sold and returned as units of stock are, on both adapters."""

from __future__ import annotations

import asyncio
import os
from types import SimpleNamespace
from typing import Final, cast

import pytest

from cart.coupons import Coupon, CouponFault
from cart.errors import CouponRefused
from cart.ids import order_id_for
from cart.model import Cart, Money, Sku
from checkout.errors import CheckoutInterrupted, IdempotencyKeyInProgress, OutOfStock
from checkout.handlers import CheckoutHandlers
from checkout.order import Order
from checkout.order_status import OrderStatus
from checkout.ports.orders import Claimed
from checkout.ports.stock import StockLine
from checkout.steps.confirm_stock import ConfirmStock
from checkout.steps.step import Services
from checkout.workflow.orders import VERSION_2
from tests.contract.checkout.shop import MUG, Shop, a_claim, a_request, pounds
from tests.contract.checkout.test_races import edges, findings

KEY = "4f1c-key"
HALF: Final = Coupon(percent=5000, is_limited=True)
# A tenth of them is cancelled in between, and those uses are there for others.
USES: Final = 1000 if os.environ.get("PEAKGATE_RACES") else 40
CROWD: Final = 10 * USES
AT_ONCE: Final = 200


async def offered(shop: Shop, uses: int, rule: Coupon = HALF) -> Sku:
    """The SKU of a coupon with so many uses."""
    sku = shop.prices.offer("HALF", rule)
    await shop.set_stock(sku, uses)
    return sku


async def with_coupon(shop: Shop, sku: Sku) -> Cart:
    return await shop.apply(await shop.cart({MUG: 2}), sku)


async def test_an_order_with_a_coupon_costs_less_and_holds_a_use_of_it(shop: Shop) -> None:
    sku = await offered(shop, 3)
    cart = await with_coupon(shop, sku)
    placed = await shop.handlers().place(a_request(cart, expected_total=pounds(255)), idempotency_key=KEY)
    assert (placed.order.total, placed.order.skus, placed.order.workflow) == (255, [MUG, sku], VERSION_2.version)
    assert (await shop.available(sku), await shop.taken(sku)) == (2, 1)
    assert await shop.orders.read(placed.order.id) == placed.order
    replay = await shop.handlers().place(a_request(cart, expected_total=pounds(255)), idempotency_key=KEY)
    assert replay.to_json() == placed.to_json()
    assert await findings(shop) == []


async def test_a_coupon_without_limits_is_not_held(shop: Shop) -> None:
    sku = shop.prices.offer("HALF", Coupon(percent=5000))
    placed = await shop.handlers().place(a_request(await with_coupon(shop, sku)), idempotency_key=KEY)
    assert (placed.order.total, placed.order.skus) == (255, [MUG])


async def test_a_coupon_that_is_used_up_refuses_the_checkout_and_holds_no_goods(shop: Shop) -> None:
    sku = await offered(shop, 0)
    cart = await with_coupon(shop, sku)
    handlers = shop.handlers()
    for _ in range(2):
        with pytest.raises(CouponRefused) as refused:
            await handlers.place(a_request(cart), idempotency_key=KEY)
        assert (refused.value.code, refused.value.fault) == ("HALF", CouponFault.USED_UP)
    assert (await shop.available(MUG), await shop.taken(MUG)) == (10, 0)
    assert await shop.carts.read(cart.id) == cart


async def test_a_coupon_that_is_used_up_refuses_no_order_that_does_not_use_it(shop: Shop) -> None:
    sku = await offered(shop, 0, Coupon(percent=5000, currency="GBP", minimum=500, is_limited=True))
    handlers = shop.handlers()
    with pytest.raises(CouponRefused):
        await handlers.place(a_request(await with_coupon(shop, sku)), idempotency_key=KEY)
    below_minimum = await shop.apply(await shop.cart({MUG: 1}), sku)
    placed = await handlers.place(a_request(below_minimum, expected_total=pounds(255)), idempotency_key="another")
    assert placed.order.discounts == ()


async def test_goods_that_are_short_are_told_before_the_coupon(shop: Shop) -> None:
    cart = await with_coupon(shop, await offered(shop, 0))
    await shop.set_stock(MUG, 1)
    with pytest.raises(OutOfStock) as refused:
        await shop.handlers().place(a_request(cart), idempotency_key=KEY)
    assert [line.sku for line in refused.value.lines] == [MUG]


async def test_a_coupon_that_does_not_count_any_more_is_refused_with_the_total_without_it(shop: Shop) -> None:
    sku = await offered(shop, 3, Coupon(percent=5000, ends_at=shop.now(), is_limited=True))
    cart = await with_coupon(shop, sku)
    with pytest.raises(CouponRefused) as refused:
        await shop.handlers().place(a_request(cart), idempotency_key=KEY)
    assert (refused.value.fault, refused.value.total) == (CouponFault.ENDED, Money(510, "GBP"))
    placed = await shop.handlers().place(a_request(cart, expected_total=pounds(510)), idempotency_key="another")
    assert (placed.order.discounts, placed.order.total, await shop.available(sku)) == ((), 510, 3)


def confirm_stock(shop: Shop) -> ConfirmStock:
    """The step of the workflow, which calls nothing but the stock."""
    return ConfirmStock(cast(Services, SimpleNamespace(stock=shop.stock, low_stock=None)))


async def test_the_use_of_a_cancelled_order_is_there_for_others(shop: Shop) -> None:
    sku = await offered(shop, 1)
    order = (await shop.handlers().place(a_request(await with_coupon(shop, sku)), idempotency_key=KEY)).order
    await confirm_stock(shop).undo(order)
    assert (await shop.available(sku), await shop.taken(sku)) == (1, 0)


async def test_the_use_of_a_completed_order_is_not(shop: Shop) -> None:
    sku = await offered(shop, 1)
    order = (await shop.handlers().place(a_request(await with_coupon(shop, sku)), idempotency_key=KEY)).order
    await confirm_stock(shop).apply(order)
    await confirm_stock(shop).complete(order)
    assert (await shop.available(sku), await shop.taken(sku)) == (0, 0)


async def test_the_use_of_a_checkout_that_died_is_swept(shop: Shop) -> None:
    sku = await offered(shop, 1)
    cart = await with_coupon(shop, sku)
    claimed = await shop.orders.begin(a_claim(cart))
    assert isinstance(claimed, Claimed)
    lines = [StockLine(MUG, 2), StockLine(sku, 1)]
    assert not await shop.stock.hold(order_id_for(cart.id, cart.version), lines, fence=claimed.fence)
    assert (await shop.available(sku), await shop.available(MUG)) == (0, 8)

    await shop.expire_claim(cart.id)
    assert await shop.sweep() == 1
    assert (await shop.available(sku), await shop.available(MUG)) == (1, 10)


async def test_an_order_without_its_use_is_named_by_the_audit(shop: Shop) -> None:
    sku = await offered(shop, 2)
    cart = await with_coupon(shop, sku)
    order = (await shop.handlers().place(a_request(cart), idempotency_key=KEY)).order
    await shop.stock.cancel(order.id, [sku])
    named = [finding.rule for finding in await findings(shop)]
    assert named == ["holds"]


async def place(handlers: CheckoutHandlers, cart: Cart, room: asyncio.Semaphore) -> Order | None:
    """The order; None if the coupon was used up. A checkout that was interrupted is repeated, as clients do."""
    while True:
        try:
            async with room:
                return (await handlers.place(a_request(cart), idempotency_key=cart.id)).order
        except CouponRefused:
            return None
        except (CheckoutInterrupted, IdempotencyKeyInProgress):
            continue


@pytest.mark.slow
async def test_a_crowd_uses_a_coupon_as_often_as_it_may_be_used(shop: Shop) -> None:
    sku = await offered(shop, USES)
    await shop.set_stock(MUG, 2 * CROWD)
    handlers = edges(shop)
    carts = [await with_coupon(shop, sku) for _ in range(CROWD)]

    async def crowd() -> list[Order]:
        room = asyncio.Semaphore(AT_ONCE)
        calls = (place(handlers[number % 2], cart, room) for number, cart in enumerate(carts))
        found = await asyncio.gather(*calls)
        return [order for order in found if order is not None]

    ordered = await crowd()
    assert len(ordered) == USES

    # A tenth of them is cancelled while the rest of the crowd tries again, as long as uses are left.
    cancelled = ordered[::10]
    for order in cancelled:
        assert (await handlers[0].cancel(order.id)).status is OrderStatus.CANCELLED
        await confirm_stock(shop).undo(order)
    gone = {order.cart_id for order in cancelled}
    carts = [cart for cart in carts if cart.id not in gone]
    handlers = edges(shop)  # which remember no refusal
    standing = {order.id for order in await crowd()} | {order.id for order in ordered if order not in cancelled}
    assert len(standing) == USES
    assert (await shop.available(sku), await shop.taken(sku)) == (0, USES)
    assert await findings(shop) == []
