"""The stock of an order that is restored from the archive before a worker has confirmed it."""

from __future__ import annotations

import pytest

from checkout.archive.restoration import hold_again
from checkout.errors import StockNotHeld
from checkout.order import Order
from tests.contract.checkout.shop import MUG, Shop, a_request
from tests.contract.checkout.test_coupons import offered, with_coupon

KEY = "4f1c-key"


async def lost(shop: Shop) -> Order:
    """An accepted order of two mugs whose stock the store has lost."""
    order = (await shop.handlers().place(a_request(await shop.cart({MUG: 2})), idempotency_key=KEY)).order
    await shop.stock.cancel(order.id, order.skus)
    return order


async def test_its_units_are_held_again_and_those_that_were_sold_ahead(shop: Shop) -> None:
    await shop.set_stock(MUG, 1)
    await shop.sell_ahead(MUG, limit=10)
    order = await lost(shop)
    await hold_again(shop.stock, order)
    await shop.stock.confirm(order.id, order.skus)
    assert await shop.taken(MUG) == 2


async def test_a_limit_of_its_shopper_that_is_lower_now_does_not_count(shop: Shop) -> None:
    order = await lost(shop)
    await shop.limit_per_shopper(MUG, 1)
    await hold_again(shop.stock, order)
    await shop.stock.confirm(order.id, order.skus)


async def test_its_use_of_a_coupon_is_held_again(shop: Shop) -> None:
    sku = await offered(shop, 1)
    order = (await shop.handlers().place(a_request(await with_coupon(shop, sku)), idempotency_key=KEY)).order
    await shop.stock.cancel(order.id, order.skus)
    await hold_again(shop.stock, order)
    assert (await shop.available(sku), await shop.taken(sku)) == (0, 1)


async def test_a_shortage_leaves_nothing_held(shop: Shop) -> None:
    order = await lost(shop)
    await shop.set_stock(MUG, 1)
    await hold_again(shop.stock, order)
    assert (await shop.available(MUG), await shop.taken(MUG)) == (1, 0)
    with pytest.raises(StockNotHeld):
        await shop.stock.confirm(order.id, order.skus)
