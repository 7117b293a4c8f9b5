"""Crowds that check out at the same time: one order for each unit, and nothing held by anybody else.

`PEAKGATE_RACES=1000` runs so many rounds instead of a few.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from typing import Final

import pytest

from cart.model import Cart, CartId, Sku
from checkout.audit.audit import Audit
from checkout.audit.finding import Finding
from checkout.errors import OutOfStock
from checkout.handlers import CheckoutHandlers
from checkout.redis.stock import RedisStock
from checkout.sold_out import SoldOut
from tests.contract.checkout.shop import BOX, MUG, RedisShop, Shop, a_request
from tests.contract.checkout.test_books import books_of

ROUNDS: Final = int(os.environ.get("PEAKGATE_RACES") or 5)
CROWD: Final = 50
CARTS: Final = 200


async def check_out(handlers: CheckoutHandlers, cart: Cart) -> CartId | None:
    """The cart if it was ordered, None if it was out of stock."""
    try:
        await handlers.place(a_request(cart), idempotency_key=cart.id)
    except OutOfStock:
        return None
    return cart.id


def edges(shop: Shop) -> tuple[CheckoutHandlers, CheckoutHandlers]:
    """Two processes, of which each remembers what it refused; on a cluster they ask for each SKU by itself."""
    stock = RedisStock(shop.store, lines_per_call=1) if isinstance(shop, RedisShop) else shop.stock
    return shop.handlers(stock=stock, sold_out=SoldOut()), shop.handlers(stock=stock, sold_out=SoldOut())


async def findings(shop: Shop) -> list[Finding]:
    async def no_time(_seconds: float) -> None: ...

    return list((await Audit(books_of(shop), sleep=no_time).run()).findings)


@pytest.mark.slow
async def test_a_crowd_gets_the_last_unit_once(shop: Shop) -> None:
    for _ in range(ROUNDS):
        await shop.set_stock(MUG, 1)
        handlers = edges(shop)
        carts = [await shop.cart({MUG: 1}) for _ in range(CROWD)]
        before = await shop.taken(MUG)

        results = await asyncio.gather(*(check_out(handlers[number % 2], cart) for number, cart in enumerate(carts)))

        (ordered,) = (cart_id for cart_id in results if cart_id is not None)
        assert ordered in {cart.id for cart in carts}
        assert (await shop.available(MUG), await shop.taken(MUG)) == (0, before + 1)
    assert await shop.taken(MUG) == ROUNDS
    assert await findings(shop) == []


@pytest.mark.slow
async def test_carts_with_the_same_skus_in_opposite_orders_leave_no_unit_behind(shop: Shop) -> None:
    handlers = edges(shop)
    units = CARTS // 4
    for sku in (MUG, BOX):
        await shop.set_stock(sku, units)
    wanted: list[tuple[Sku, Sku]] = [(MUG, BOX), (BOX, MUG)]
    carts = [await shop.cart(dict.fromkeys(wanted[number % 2], 1)) for number in range(CARTS)]

    results = await asyncio.gather(*(check_out(handlers[number % 2], cart) for number, cart in enumerate(carts)))

    ordered = Counter(result is not None for result in results)[True]
    for sku in (MUG, BOX):
        assert (await shop.available(sku), await shop.taken(sku)) == (units - ordered, ordered)
    # Those that refused each other twice left the units free, and the next shopper gets them.
    for _ in range(units - ordered):
        assert await check_out(shop.handlers(), await shop.cart({MUG: 1, BOX: 1})) is not None
    assert (await shop.available(MUG), await shop.available(BOX)) == (0, 0)
    assert await findings(shop) == []
