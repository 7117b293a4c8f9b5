"""The contract of `Stock`, for both adapters."""

from __future__ import annotations

import pytest

from cart.ids import new_cart_id
from cart.model import OrderId, Sku
from cart.sku_keys import restocked_key
from cart.timestamps import unix_ms
from checkout.errors import HoldOutcome, IdempotencyKeyInProgress, Shortage, StockNotHeld
from checkout.ports.stock import StockLine
from checkout.redis.stock import RedisStock
from tests.contract.checkout.shop import BOX, MUG, RedisShop, Shop

ONE, OTHER = OrderId(new_cart_id()), OrderId(new_cart_id())


async def hold(shop: Shop, order_id: OrderId = ONE, *, mugs: int = 3, fence: int = 1) -> list[HoldOutcome]:
    return await shop.stock.hold(order_id, [StockLine(MUG, mugs)], fence=fence)


async def counts(shop: Shop) -> tuple[int, int]:
    """How many mugs are available, and how many taken."""
    return await shop.available(MUG), await shop.taken(MUG)


async def test_held_stock_is_not_available(shop: Shop) -> None:
    assert await shop.stock.hold(ONE, [StockLine(MUG, 3), StockLine(BOX, 10)], fence=1) == []
    assert await counts(shop) == (7, 3)
    assert await shop.available(BOX) == 0


async def test_a_repeated_hold_holds_once(shop: Shop) -> None:
    for fence in (1, 1, 2):
        assert await hold(shop, fence=fence) == []
    assert await counts(shop) == (7, 3)


async def test_a_hold_may_take_the_last_one_and_no_more(shop: Shop) -> None:
    assert await hold(shop, mugs=10) == []
    assert await hold(shop, OTHER, mugs=1) == [Shortage(MUG, 1, 0)]
    assert await counts(shop) == (0, 10)


async def test_a_shortage_names_the_available_quantity(shop: Shop) -> None:
    lines = [StockLine(BOX, 10), StockLine(MUG, 11), StockLine(Sku("unheard of"), 2)]
    assert await shop.stock.hold(ONE, lines, fence=1) == [
        Shortage(MUG, 11, 10),
        Shortage(Sku("unheard of"), 2, 0),
    ]
    await shop.stock.release(ONE, [BOX], fence=1)
    assert (await shop.available(MUG), await shop.available(BOX)) == (10, 10)


async def test_a_later_claim_takes_over_the_holds_of_an_earlier_one(shop: Shop) -> None:
    await hold(shop, fence=1)
    await hold(shop, fence=2)
    await shop.stock.release(ONE, [MUG], fence=1)
    assert await counts(shop) == (7, 3)
    with pytest.raises(IdempotencyKeyInProgress):
        await hold(shop, fence=1)
    await shop.stock.release(ONE, [MUG], fence=2)
    assert await counts(shop) == (10, 0)


async def test_a_later_claim_may_release_the_holds_of_an_earlier_one(shop: Shop) -> None:
    await hold(shop, fence=1)
    await shop.stock.release(ONE, [MUG, BOX], fence=5)
    assert await counts(shop) == (10, 0)


async def test_a_repeated_release_returns_stock_once(shop: Shop) -> None:
    await hold(shop)
    for _ in range(2):
        await shop.stock.release(ONE, [MUG], fence=1)
    assert await counts(shop) == (10, 0)


async def test_a_sale_neither_expires_nor_is_released(shop: Shop) -> None:
    await hold(shop)
    for _ in range(2):
        await shop.stock.confirm(ONE, [MUG])
    await shop.expire_holds()
    assert not await shop.stock.expire(ONE, [MUG])
    await shop.stock.release(ONE, [MUG], fence=9)
    assert await counts(shop) == (7, 3)
    with pytest.raises(IdempotencyKeyInProgress):
        await hold(shop, fence=9)


async def test_a_confirmation_says_how_many_units_are_left(shop: Shop) -> None:
    await shop.set_stock(BOX, 3)
    await shop.stock.hold(ONE, [StockLine(MUG, 3), StockLine(BOX, 3)], fence=1)
    for _ in range(2):
        assert await shop.stock.confirm(ONE, [MUG, BOX], reads_units_left=True) == {MUG: 7, BOX: 0}
    assert await shop.stock.confirm(ONE, [], reads_units_left=True) == {}
    assert await shop.stock.confirm(ONE, [MUG, BOX]) == {}


async def test_stock_that_is_not_held_cannot_be_confirmed(shop: Shop) -> None:
    await hold(shop)
    with pytest.raises(StockNotHeld) as missing:
        await shop.stock.confirm(ONE, [MUG, BOX])
    assert missing.value.skus == [BOX]


@pytest.mark.parametrize("sold", [True, False])
async def test_a_repeated_cancel_returns_stock_once(shop: Shop, sold: bool) -> None:
    await hold(shop)
    if sold:
        await shop.stock.confirm(ONE, [MUG])
    for _ in range(2):
        await shop.stock.cancel(ONE, [MUG, BOX])
    assert await counts(shop) == (10, 0)


async def test_the_sale_of_a_completed_order_is_deleted(shop: Shop) -> None:
    await hold(shop)
    await shop.stock.complete(ONE, [MUG])
    assert await counts(shop) == (7, 3)
    await shop.stock.confirm(ONE, [MUG])
    for _ in range(2):
        await shop.stock.complete(ONE, [MUG, BOX])
    assert await counts(shop) == (7, 0)


async def test_what_an_order_returns_is_put_back_once(shop: Shop) -> None:
    lines = [StockLine(MUG, 3), StockLine(BOX, 1)]
    await shop.stock.hold(ONE, lines, fence=1)
    await shop.stock.confirm(ONE, [MUG, BOX])
    await shop.stock.complete(ONE, [MUG, BOX])
    for _ in range(2):
        await shop.stock.restock(ONE, lines, report="carrier:1")
    assert await counts(shop) == (10, 0)
    assert await shop.available(BOX) == 10


async def test_what_each_order_returns_is_put_back(shop: Shop) -> None:
    for order_id in (ONE, OTHER, OrderId(new_cart_id())):
        await hold(shop, order_id, mugs=2)
        await shop.stock.confirm(order_id, [MUG])
        await shop.stock.complete(order_id, [MUG])
        await shop.stock.restock(order_id, [StockLine(MUG, 2)], report="carrier:1")
    assert await counts(shop) == (10, 0)


async def test_each_report_on_an_order_puts_its_goods_back_once(shop: Shop) -> None:
    await hold(shop)
    await shop.stock.confirm(ONE, [MUG])
    await shop.stock.complete(ONE, [MUG])
    for report, mugs in (("desk:1", 1), ("desk:2", 2), ("desk:1", 1), ("desk:2", 2)):
        await shop.stock.restock(ONE, [StockLine(MUG, mugs)], report=report)
    assert await counts(shop) == (10, 0)


async def test_an_order_that_an_earlier_version_put_back_has_nothing_left(shop: Shop) -> None:
    if not isinstance(shop, RedisShop):
        pytest.skip("memory has no records of earlier versions")
    await hold(shop)
    await shop.store.execute("ZADD", restocked_key(MUG), unix_ms(), ONE)
    await shop.stock.restock(ONE, [StockLine(MUG, 3)], report="carrier:1")
    assert await shop.available(MUG) == 7


async def test_a_hold_expires_and_not_before(shop: Shop) -> None:
    await hold(shop)
    assert not await shop.stock.expire(ONE, [MUG])
    assert await counts(shop) == (7, 3)
    await shop.expire_holds()
    for _ in range(2):
        assert await shop.stock.expire(ONE, [MUG, BOX])
    assert await counts(shop) == (10, 0)


async def test_a_hold_that_is_taken_again_does_not_expire(shop: Shop) -> None:
    await hold(shop, fence=1)
    await shop.expire_holds()
    await hold(shop, fence=2)
    assert not await shop.stock.expire(ONE, [MUG])
    assert await counts(shop) == (7, 3)


async def test_orders_do_not_touch_each_others_holds(shop: Shop) -> None:
    await hold(shop, ONE)
    await hold(shop, OTHER, mugs=2)
    await shop.stock.cancel(ONE, [MUG])
    assert await counts(shop) == (8, 2)


@pytest.mark.parametrize("lines_per_call", [1, 3, 64])
async def test_the_lines_of_an_order_are_independent_however_many_a_call_has(shop: Shop, lines_per_call: int) -> None:
    if isinstance(shop, RedisShop):
        shop.needs_calls_of(lines_per_call)
        shop.stock = RedisStock(shop.store, lines_per_call=lines_per_call)
    skus = [Sku(f"mug {number}") for number in range(7)]
    for sku in skus:
        await shop.set_stock(sku, 2)
    lines = [StockLine(sku, 1 + number % 2 * 4) for number, sku in enumerate(skus)]
    short = [Shortage(sku, 5, 2) for sku in skus[1::2]]
    assert await shop.stock.hold(ONE, lines, fence=1) == short
    await shop.stock.release(ONE, skus[::2], fence=1)
    assert [await shop.available(sku) for sku in skus] == [2] * 7
    assert await shop.stock.hold(ONE, lines[::2], fence=2) == []
    assert [await shop.available(sku) for sku in skus] == [1, 2, 1, 2, 1, 2, 1]
    with pytest.raises(StockNotHeld) as refused:
        await shop.stock.confirm(ONE, skus)
    assert refused.value.skus == skus[1::2]
    await shop.stock.complete(ONE, skus[:1])
    await shop.stock.cancel(ONE, skus)
    assert [await shop.available(sku) for sku in skus] == [1, 2, 2, 2, 2, 2, 2]
