"""The contract of `Inventory`, for both adapters."""

from __future__ import annotations

import asyncio

import pytest

from cart.catalog.numbers import STOCK_MAX
from cart.ids import new_cart_id
from cart.model import OrderId, Sku
from checkout.memory.inventory import MemoryInventory
from checkout.ports.inventory import (
    Correction,
    HoldsPage,
    Inventory,
    StockHold,
    StockLevel,
    UnitsOutOfRange,
    UnknownSku,
)
from checkout.ports.stock import StockLine
from checkout.redis.inventory import RedisInventory
from tests.contract.checkout.shop import MUG, MemoryShop, RedisShop, Shop

NONE = Sku("unheard of")
ONE, OTHER = OrderId(new_cart_id()), OrderId(new_cart_id())


def inventory_of(shop: Shop) -> Inventory:
    if isinstance(shop, MemoryShop):
        return MemoryInventory(shop.memory_stock)
    assert isinstance(shop, RedisShop)
    return RedisInventory(shop.store)


async def hold(shop: Shop, order_id: OrderId, mugs: int) -> None:
    assert await shop.stock.hold(order_id, [StockLine(MUG, mugs)], fence=1) == []


async def test_units_are_for_sale_or_held_or_sold(shop: Shop) -> None:
    inventory = inventory_of(shop)
    assert await inventory.level(MUG) == StockLevel(MUG, 10, 0, 0)
    await hold(shop, ONE, 3)
    await hold(shop, OTHER, 2)
    await shop.stock.confirm(OTHER, [MUG])
    assert await inventory.level(MUG) == StockLevel(MUG, 5, 3, 2)
    await shop.stock.complete(OTHER, [MUG])
    assert await inventory.level(MUG) == StockLevel(MUG, 5, 3, 0)


async def test_set_is_what_is_for_sale_beside_holds(shop: Shop) -> None:
    inventory = inventory_of(shop)
    await hold(shop, ONE, 3)
    assert await inventory.set(MUG, 100, key="count") == Correction(7, 100, is_new=True)
    assert await inventory.level(MUG) == StockLevel(MUG, 100, 3, 0)
    await shop.stock.cancel(ONE, [MUG])
    assert (await inventory.level(MUG)).available == 103


async def test_add_takes_away_too_but_never_what_is_not_there(shop: Shop) -> None:
    inventory = inventory_of(shop)
    await hold(shop, ONE, 3)
    assert await inventory.add(MUG, 5, key="1") == Correction(7, 12, is_new=True)
    assert await inventory.add(MUG, -12, key="2") == Correction(12, 0, is_new=True)
    with pytest.raises(UnitsOutOfRange, match="'85123A' has 0 units for sale"):
        await inventory.add(MUG, -1, key="3")
    assert await inventory.level(MUG) == StockLevel(MUG, 0, 3, 0)


async def test_no_more_units_are_for_sale_than_can_be_counted(shop: Shop) -> None:
    inventory = inventory_of(shop)
    await inventory.set(MUG, STOCK_MAX, key="all")
    with pytest.raises(UnitsOutOfRange):
        await inventory.add(MUG, 1, key="one more")
    with pytest.raises(UnitsOutOfRange):
        await inventory.set(MUG, STOCK_MAX + 1, key="one more")
    assert (await inventory.level(MUG)).available == STOCK_MAX


@pytest.mark.parametrize("how", ["set", "add"])
async def test_a_correction_is_made_once_for_each_key(shop: Shop, how: str) -> None:
    inventory = inventory_of(shop)
    correct = inventory.set if how == "set" else inventory.add
    first = await correct(MUG, 4, key="delivery 17")
    await hold(shop, ONE, 1)
    again = await correct(MUG, 4, key="delivery 17")
    assert (first.is_new, again.is_new) == (True, False)
    assert (await inventory.level(MUG)).available == first.after - 1 == again.after


async def test_a_refused_correction_may_be_tried_again_with_its_key(shop: Shop) -> None:
    inventory = inventory_of(shop)
    with pytest.raises(UnitsOutOfRange):
        await inventory.add(MUG, -11, key="broken")
    await inventory.add(MUG, 1, key="found")
    assert (await inventory.add(MUG, -11, key="broken")).after == 0


async def test_corrections_beside_checkouts_lose_and_make_no_unit(shop: Shop) -> None:
    inventory = inventory_of(shop)

    async def check_out(order_id: OrderId) -> int:
        return 0 if await shop.stock.hold(order_id, [StockLine(MUG, 1)], fence=1) else 1

    orders = [OrderId(new_cart_id()) for _ in range(30)]
    held, _ = await asyncio.gather(
        asyncio.gather(*map(check_out, orders)),
        asyncio.gather(*(inventory.add(MUG, 1, key=str(each)) for each in range(20))),
    )
    level = await inventory.level(MUG)
    assert level.held == sum(held)
    assert level.available + level.held == 10 + 20


async def test_what_a_correction_adds_can_be_bought(shop: Shop) -> None:
    await hold(shop, ONE, 10)
    assert await shop.stock.hold(OTHER, [StockLine(MUG, 1)], fence=1)
    await inventory_of(shop).add(MUG, 1, key="found")
    await hold(shop, OTHER, 1)


async def test_an_unknown_sku_has_no_stock_to_correct(shop: Shop) -> None:
    inventory = inventory_of(shop)
    with pytest.raises(UnknownSku, match="'unheard of' is not in the catalogue"):
        await inventory.set(NONE, 1, key="1")
    with pytest.raises(UnknownSku):
        await inventory.add(NONE, 1, key="1")
    with pytest.raises(UnknownSku):
        await inventory.level(NONE)
    with pytest.raises(UnknownSku):
        await inventory.holds(NONE, limit=10)


async def test_the_holds_of_a_sku_are_listed(shop: Shop) -> None:
    inventory = inventory_of(shop)
    assert await inventory.holds(MUG, limit=10) == HoldsPage([], None)
    await hold(shop, ONE, 3)
    await hold(shop, OTHER, 2)
    await shop.stock.confirm(OTHER, [MUG])
    page = await inventory.holds(MUG, limit=10)
    (held,) = (each for each in page.holds if each.order_id == ONE)
    assert page.next_cursor is None
    assert held.quantity == 3
    assert held.until_ms is not None
    assert [each for each in page.holds if each.order_id == OTHER] == [StockHold(OTHER, 2, None)]


async def test_many_holds_are_listed_in_pages(shop: Shop) -> None:
    inventory = inventory_of(shop)
    await inventory.set(MUG, 3_000, key="drop")
    orders = {OrderId(new_cart_id()) for _ in range(1_200)}
    for each in orders:
        await hold(shop, each, 2)
    found: list[OrderId] = []
    cursor: str | None = None
    pages = 0
    while pages == 0 or cursor is not None:
        page = await inventory.holds(MUG, limit=200, cursor=cursor)
        found += (each.order_id for each in page.holds)
        cursor, pages = page.next_cursor, pages + 1
    assert set(found) == orders
    assert pages > 2
    assert await inventory.level(MUG) == StockLevel(MUG, 600, 2_400, 0)


async def test_a_cursor_of_somewhere_else_is_refused(shop: Shop) -> None:
    with pytest.raises(ValueError, match="cursor"):
        await inventory_of(shop).holds(MUG, limit=10, cursor="no number")
