"""Products that are sold beyond their stock, for both adapters of `Stock`."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from cart.ids import new_cart_id
from cart.model import OrderId, Sku
from checkout.audit.finding import DEFAULT_BOUNDS
from checkout.audit.rules import SKU_RULES
from checkout.errors import HoldOutcome, OutOfStock, Shortage, SoldAhead
from checkout.message import order_accepted, order_accepted_schema
from checkout.ports.inventory import UnitsOutOfRange
from checkout.ports.stock import StockLine
from checkout.purchase import PlacedOrder
from checkout.sold_out import SoldOut
from tests.contract.checkout.shop import BOX, MUG, Shop, a_request
from tests.contract.checkout.test_books import books_of
from tests.contract.checkout.test_inventory import inventory_of

DATE = "2026-12-20"


@pytest.fixture(autouse=True)
async def five_beyond_two(shop: Shop) -> None:
    await shop.set_stock(MUG, 2)
    await shop.sell_ahead(MUG, limit=5, available_on=DATE)


async def hold(shop: Shop, mugs: int, *, order_id: OrderId | None = None, fence: int = 1) -> list[HoldOutcome]:
    return await shop.stock.hold(order_id or OrderId(new_cart_id()), [StockLine(MUG, mugs)], fence=fence)


async def findings(shop: Shop) -> list[str]:
    """The rules of the audit that the stock of mugs breaks."""
    return await _findings(shop, MUG)


async def _findings(shop: Shop, sku: Sku) -> list[str]:
    return [
        finding.rule
        async for record in books_of(shop).stock(sku)
        for rule in SKU_RULES
        for finding in rule(record, DEFAULT_BOUNDS)
    ]


async def test_units_beyond_the_stock_are_sold_up_to_the_limit(shop: Shop) -> None:
    assert await hold(shop, 1) == []
    assert await hold(shop, 3) == [SoldAhead(MUG, 2, DATE)]
    assert await hold(shop, 2) == [SoldAhead(MUG, 2, DATE)]
    assert await hold(shop, 2) == [Shortage(MUG, 2, 1)]
    assert await hold(shop, 1) == [SoldAhead(MUG, 1, DATE)]
    assert await hold(shop, 1) == [Shortage(MUG, 1, 0)]
    assert (await shop.available(MUG), await shop.taken(MUG)) == (-5, 7)
    assert await findings(shop) == []


async def test_without_a_limit_all_are_sold_and_the_date_may_be_unknown(shop: Shop) -> None:
    await shop.sell_ahead(MUG)
    assert await hold(shop, 10_000) == [SoldAhead(MUG, 9_998)]


async def test_a_product_that_is_not_sold_ahead_is_not(shop: Shop) -> None:
    await shop.set_stock(BOX, 1)
    assert await shop.stock.hold(OrderId(new_cart_id()), [StockLine(BOX, 2)], fence=1) == [Shortage(BOX, 2, 1)]


async def test_a_later_claim_takes_over_units_ahead(shop: Shop) -> None:
    order_id = OrderId(new_cart_id())
    await hold(shop, 4, order_id=order_id)
    await hold(shop, 3)
    await shop.sell_ahead(MUG, limit=1)
    assert await hold(shop, 4, order_id=order_id, fence=2) == [SoldAhead(MUG, 4)]
    assert await hold(shop, 5, order_id=order_id, fence=3) == [Shortage(MUG, 5, 0)]
    assert await hold(shop, 3, order_id=order_id, fence=4) == [SoldAhead(MUG, 3)]
    assert await shop.available(MUG) == -4


async def test_units_ahead_go_through_the_states_of_an_order(shop: Shop) -> None:
    sold, cancelled = OrderId(new_cart_id()), OrderId(new_cart_id())
    await hold(shop, 4, order_id=sold)
    await hold(shop, 3, order_id=cancelled)
    assert await shop.stock.confirm(sold, [MUG], reads_units_left=True) == {MUG: -5}
    await shop.stock.complete(sold, [MUG])
    await shop.stock.cancel(cancelled, [MUG])
    assert (await shop.available(MUG), await shop.taken(MUG)) == (-2, 0)
    assert await findings(shop) == []


async def test_a_delivery_is_added_to_fewer_than_none(shop: Shop) -> None:
    inventory = inventory_of(shop)
    await hold(shop, 7)
    assert (await inventory.level(MUG)).available == -5
    assert (await inventory.add(MUG, 3, key="a part")).after == -2
    with pytest.raises(UnitsOutOfRange):
        await inventory.add(MUG, -1, key="breakage")
    assert (await inventory.add(MUG, 6, key="the rest")).after == 4
    assert await findings(shop) == []


async def test_a_count_of_fewer_than_none_balances_the_books(shop: Shop) -> None:
    await hold(shop, 7)
    await inventory_of(shop).set(MUG, 0, key="a count")
    assert await shop.available(MUG) == 0
    assert await findings(shop) == []


async def test_units_below_none_of_any_other_product_are_a_fault(shop: Shop) -> None:
    await shop.set_stock(BOX, 1)
    await shop.spoil_stock(BOX, -2)
    assert await _findings(shop, BOX) == ["stock"]


async def test_the_order_and_its_message_say_what_comes_when(shop: Shop) -> None:
    cart = await shop.cart({BOX: 1, MUG: 3})
    order = (await shop.handlers().place(a_request(cart), idempotency_key="a key")).order
    box, mug = msgspec.json.decode(order.to_json())["lines"]
    assert (mug["ahead"], mug["available_on"]) == (1, DATE)
    assert "ahead" not in box
    assert await shop.orders.read(order.id) == order
    box, mug = msgspec.json.decode(order_accepted(order))["data"]["lines"]
    assert (mug["ahead"], mug["available_on"]) == (1, DATE)
    of_line = order_accepted_schema()["properties"]["data"]["properties"]["lines"]["items"]["properties"]
    assert mug.keys() == of_line.keys()
    assert box.keys() == of_line.keys() - {"ahead", "available_on"}


async def test_a_crowd_gets_the_stock_and_the_units_ahead_and_no_more(shop: Shop) -> None:
    edges = [shop.handlers(sold_out=SoldOut()), shop.handlers(sold_out=SoldOut())]
    carts = [await shop.cart({MUG: 1}) for _ in range(30)]
    results = await asyncio.gather(
        *(edges[number % 2].place(a_request(cart), idempotency_key=cart.id) for number, cart in enumerate(carts)),
        return_exceptions=True,
    )
    placed = [result.order.lines[0].ahead for result in results if isinstance(result, PlacedOrder)]
    assert sorted(placed) == [0, 0, 1, 1, 1, 1, 1]
    assert sum(isinstance(result, OutOfStock) for result in results) == 23
    assert (await shop.available(MUG), await shop.taken(MUG)) == (-5, 7)
