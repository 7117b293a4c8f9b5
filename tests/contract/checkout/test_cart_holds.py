"""The contract of `CartHolds`, for both adapters, and its hand-over to a checkout."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from cart.ids import new_cart_id
from cart.model import CartId, OrderId, Terms
from cart.ports import LineHold
from checkout.cart_hold_sweeper import CartHoldSweeper
from checkout.errors import HoldOutcome, OutOfStock, Shortage
from checkout.ports.stock import StockLine
from tests.contract.checkout.shop import BOX, MUG, Shop, a_request
from tests.contract.checkout.test_books import findings

ONE, OTHER = new_cart_id(), new_cart_id()
LIFE_S = 600
# The server and the test have different clocks.
MARGIN_MS = 30_000


@pytest.fixture(autouse=True)
async def held_at_carts(shop: Shop) -> None:
    await shop.hold_at_cart(MUG, LIFE_S)


async def held(shop: Shop, cart_id: CartId = ONE) -> int:
    """The mugs that the cart holds."""
    hold = (await shop.cart_holds.read(cart_id, [MUG])).get(MUG)
    return 0 if hold is None else hold.quantity


async def hold_of(shop: Shop) -> LineHold:
    return (await shop.cart_holds.read(ONE, [MUG]))[MUG]


async def counts(shop: Shop) -> tuple[int, int]:
    return await shop.available(MUG), await shop.taken(MUG)


async def order(shop: Shop, mugs: int, order_id: OrderId, *, fence: int = 1) -> list[HoldOutcome]:
    return await shop.stock.hold(order_id, [StockLine(MUG, mugs)], fence=fence, cart_id=ONE)


def new_order() -> OrderId:
    return OrderId(new_cart_id())


async def test_units_of_a_line_are_held_for_some_time(shop: Shop) -> None:
    await shop.cart_holds.set(ONE, {MUG: 3, BOX: 2})
    hold = await hold_of(shop)
    assert (hold.quantity, hold.is_extended) == (3, False)
    assert abs(hold.until - shop.now() - LIFE_S * 1000) < MARGIN_MS
    assert await counts(shop) == (7, 3)
    assert await shop.cart_holds.read(ONE, [MUG, BOX]) == {MUG: hold}
    assert await shop.cart_holds.read(OTHER, [MUG]) == {}
    assert await shop.available(BOX) == 10


async def test_a_hold_follows_its_line_and_keeps_its_end(shop: Shop) -> None:
    await shop.cart_holds.set(ONE, {MUG: 3})
    await shop.age_cart_holds(MUG, 1000)
    until = (await hold_of(shop)).until
    for mugs in (5, 5, 2):
        await shop.cart_holds.set(ONE, {MUG: mugs})
        assert await hold_of(shop) == LineHold(mugs, until, is_extended=False)
        assert await counts(shop) == (10 - mugs, mugs)
    for _ in range(2):
        await shop.cart_holds.set(ONE, {MUG: 0})
        assert await held(shop) == 0
        assert await counts(shop) == (10, 0)


async def test_units_that_are_not_there_are_not_held(shop: Shop) -> None:
    await shop.cart_holds.set(ONE, {MUG: 8})
    await shop.cart_holds.set(OTHER, {MUG: 3})
    assert await held(shop, OTHER) == 0
    await shop.cart_holds.set(OTHER, {MUG: 2})
    await shop.cart_holds.set(OTHER, {MUG: 3})
    assert (await held(shop), await held(shop, OTHER)) == (8, 2)
    assert await counts(shop) == (0, 10)


async def test_a_cart_holds_no_more_than_one_shopper_may_order(shop: Shop) -> None:
    await shop.limit_per_shopper(MUG, 2)
    for mugs, units in ((1, 1), (5, 2), (3, 2), (1, 1)):
        await shop.cart_holds.set(ONE, {MUG: mugs})
        assert await held(shop) == units
    assert await counts(shop) == (9, 1)


async def test_held_units_are_nobody_elses(shop: Shop) -> None:
    await shop.cart_holds.set(ONE, {MUG: 8})
    assert await shop.stock.hold(new_order(), [StockLine(MUG, 3)], fence=1, cart_id=OTHER) == [Shortage(MUG, 3, 2)]


async def test_a_hold_is_extended_once(shop: Shop) -> None:
    assert not await shop.cart_holds.extend(ONE, MUG)
    await shop.cart_holds.set(ONE, {MUG: 3})
    until = (await hold_of(shop)).until
    assert await shop.cart_holds.extend(ONE, MUG)
    assert await hold_of(shop) == LineHold(3, until + LIFE_S * 1000, is_extended=True)
    assert not await shop.cart_holds.extend(ONE, MUG)
    await shop.cart_holds.set(ONE, {MUG: 4})
    assert not await shop.cart_holds.extend(ONE, MUG)
    assert (await hold_of(shop)).until == until + LIFE_S * 1000


async def test_a_hold_ends_and_its_units_are_freed(shop: Shop) -> None:
    await shop.cart_holds.set(ONE, {MUG: 3})
    sweeper = CartHoldSweeper(shop.cart_holds)
    await sweeper.sweep()
    assert await held(shop) == 3
    await shop.age_cart_holds(MUG, LIFE_S * 1000)
    assert await held(shop) == 0
    assert not await shop.cart_holds.extend(ONE, MUG)
    for _ in range(2):
        await sweeper.sweep()
        assert await counts(shop) == (10, 0)


async def test_a_cart_holds_again_after_its_hold_has_ended(shop: Shop) -> None:
    await shop.cart_holds.set(ONE, {MUG: 9})
    await shop.cart_holds.extend(ONE, MUG)
    await shop.age_cart_holds(MUG, 2 * LIFE_S * 1000)
    await shop.cart_holds.set(ONE, {MUG: 10})
    hold = await hold_of(shop)
    assert (hold.quantity, hold.is_extended) == (10, False)
    assert await counts(shop) == (0, 10)


async def test_a_cart_takes_over_the_holds_of_the_one_merged_into_it(shop: Shop) -> None:
    await shop.cart_holds.set(OTHER, {MUG: 4})
    await shop.age_cart_holds(MUG, 60_000)
    await shop.cart_holds.set(ONE, {MUG: 6})
    until = (await hold_of(shop)).until
    assert await counts(shop) == (0, 10)
    for _ in range(2):
        await shop.cart_holds.set(ONE, {MUG: 10}, merged=OTHER)
        assert await hold_of(shop) == LineHold(10, until, is_extended=False)
        assert await held(shop, OTHER) == 0
        assert await counts(shop) == (0, 10)
    await shop.cart_holds.set(ONE, {MUG: 6}, merged=OTHER)
    assert await counts(shop) == (4, 6)


@pytest.mark.parametrize(("mugs", "left"), [(7, 0), (5, 2)])
async def test_an_order_takes_over_the_units_of_its_cart(shop: Shop, mugs: int, left: int) -> None:
    await shop.set_stock(MUG, 7)
    await shop.cart_holds.set(ONE, {MUG: 7})
    order_id = new_order()
    for fence in (1, 2):
        assert await order(shop, mugs, order_id, fence=fence) == []
        assert await held(shop) == 0
        assert await counts(shop) == (left, mugs)
    await shop.age_cart_holds(MUG, LIFE_S * 1000)
    await CartHoldSweeper(shop.cart_holds).sweep()
    assert await counts(shop) == (left, mugs)


async def test_an_order_may_have_more_than_its_cart_holds(shop: Shop) -> None:
    await shop.cart_holds.set(ONE, {MUG: 7})
    await shop.cart_holds.set(OTHER, {MUG: 1})
    assert await order(shop, 10, new_order()) == [Shortage(MUG, 10, 9)]
    assert await held(shop) == 7
    assert await order(shop, 9, new_order()) == []
    assert await counts(shop) == (0, 10)


async def test_a_released_checkout_gives_the_units_back_to_the_cart(shop: Shop) -> None:
    await shop.cart_holds.set(ONE, {MUG: 10})
    until = (await hold_of(shop)).until
    order_id = new_order()
    await order(shop, 10, order_id)
    for _ in range(2):
        await shop.stock.release(order_id, [MUG], fence=1, cart_id=ONE)
        assert await hold_of(shop) == LineHold(10, until, is_extended=True)
        assert await counts(shop) == (0, 10)
    await order(shop, 10, order_id, fence=2)
    await shop.age_cart_holds(MUG, LIFE_S * 1000)
    await shop.stock.release(order_id, [MUG], fence=2, cart_id=ONE)
    assert (await held(shop), *await counts(shop)) == (0, 10, 0)


@pytest.mark.parametrize("how", ["cancel", "expire"])
async def test_an_order_that_ends_otherwise_gives_its_units_to_everyone(shop: Shop, how: str) -> None:
    await shop.cart_holds.set(ONE, {MUG: 10})
    order_id = new_order()
    await order(shop, 10, order_id)
    if how == "cancel":
        await shop.stock.cancel(order_id, [MUG])
    else:
        await shop.expire_holds()
        await shop.stock.expire(order_id, [MUG])
    assert (await held(shop), *await counts(shop)) == (0, 10, 0)


async def test_the_audit_knows_holds_of_carts(shop: Shop) -> None:
    await shop.cart_holds.set(ONE, {MUG: 3})
    await shop.cart_holds.set(OTHER, {MUG: 1})
    await shop.cart_holds.extend(ONE, MUG)
    assert await findings(shop) == set()


# Through the checkout


async def test_a_refused_checkout_leaves_the_cart_its_units(shop: Shop) -> None:
    cart = await shop.cart({MUG: 10, BOX: 11})
    await shop.cart_holds.set(cart.id, {MUG: 10})
    with pytest.raises(OutOfStock) as refused:
        await shop.handlers().place(a_request(cart), idempotency_key="a key")
    assert refused.value.lines == [Shortage(BOX, 11, 10)]
    assert await held(shop, cart.id) == 10
    assert await counts(shop) == (0, 10)


async def test_in_a_crowd_those_whose_carts_hold_units_get_them(shop: Shop) -> None:
    sold = shop.prices.sold
    held = msgspec.structs.replace(sold[MUG], terms=Terms(hold_at_cart=LIFE_S))
    shop.prices.sold = sold | {MUG: held}
    carts = [await shop.cart({MUG: 1}) for _ in range(30)]
    for cart in carts[20:]:
        await shop.cart_holds.set(cart.id, {MUG: 1})
    handlers = shop.handlers()
    results = await asyncio.gather(
        *(handlers.place(a_request(cart), idempotency_key=cart.id) for cart in carts), return_exceptions=True
    )
    assert [isinstance(result, OutOfStock) for result in results] == [True] * 20 + [False] * 10
    assert await counts(shop) == (0, 10)
