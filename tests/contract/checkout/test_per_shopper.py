"""The most units of a product that one shopper may have, for both adapters of `Stock`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from cart.ids import new_cart_id
from cart.model import OrderId
from cart.sku_keys import purchases_key
from checkout.errors import HoldOutcome, OutOfStock, OverLimit, ShopperLimit, Shortage
from checkout.handlers import CheckoutHandlers
from checkout.ports.stock import PER_SHOPPER_MS, StockLine
from checkout.purchase import PlacedOrder
from checkout.redis.stock import RedisStock
from tests.contract.checkout.shop import BOX, MUG, RedisShop, Shop, a_request

ADA, BEN = ("owner of ada", "address of ada"), ("address of ben",)


@pytest.fixture(autouse=True)
async def two_for_each(shop: Shop) -> None:
    await shop.limit_per_shopper(MUG, 2)


def new_order() -> OrderId:
    return OrderId(new_cart_id())


async def hold(
    shop: Shop, mugs: int, shoppers: Sequence[str] = ADA, *, order_id: OrderId | None = None, fence: int = 1
) -> list[HoldOutcome]:
    lines = [StockLine(MUG, mugs)]
    return await shop.stock.hold(order_id or new_order(), lines, fence=fence, shoppers=[*map(name_of, shoppers)])


def name_of(text: str) -> str:
    """A name has no blanks."""
    return text.replace(" ", "-")


async def test_one_shopper_gets_so_many_units_over_all_orders(shop: Shop) -> None:
    assert await hold(shop, 3) == [OverLimit(MUG, 3, 2)]
    assert await hold(shop, 1) == []
    assert await hold(shop, 2) == [OverLimit(MUG, 2, 1)]
    assert await hold(shop, 1) == []
    assert await hold(shop, 1) == [OverLimit(MUG, 1, 0)]
    assert await hold(shop, 2, BEN) == []
    assert (await shop.available(MUG), await shop.taken(MUG)) == (6, 4)


async def test_each_name_of_a_shopper_counts_by_itself(shop: Shop) -> None:
    owner, address = ADA
    assert await hold(shop, 1, [owner, "another address"]) == []
    assert await hold(shop, 1, [address]) == []
    assert await hold(shop, 1, ADA) == []
    assert await hold(shop, 1, [address]) == [OverLimit(MUG, 1, 0)]
    assert await hold(shop, 1, [owner]) == [OverLimit(MUG, 1, 0)]
    assert await hold(shop, 1, ["another address"]) == []


async def test_a_repeated_hold_counts_once(shop: Shop) -> None:
    order_id = new_order()
    for fence, mugs in ((1, 2), (1, 2), (2, 1)):
        assert await hold(shop, mugs, order_id=order_id, fence=fence) == []
    assert await hold(shop, 1) == []
    assert await hold(shop, 1) == [OverLimit(MUG, 1, 0)]


@pytest.mark.parametrize("how", ["release", "cancel", "expire", "cancel a sale"])
async def test_units_that_are_given_back_do_not_count(shop: Shop, how: str) -> None:
    order_id = new_order()
    await hold(shop, 1, BEN)
    await hold(shop, 2, [*ADA, "more"], order_id=order_id)
    match how:
        case "release":
            await shop.stock.release(order_id, [MUG], fence=1)
        case "expire":
            await shop.expire_holds()
            await shop.stock.expire(order_id, [MUG])
        case _:
            if how == "cancel a sale":
                await shop.stock.confirm(order_id, [MUG])
            await shop.stock.cancel(order_id, [MUG])
    assert await hold(shop, 2) == []
    assert await hold(shop, 2, BEN) == [OverLimit(MUG, 2, 1)]


async def test_units_of_a_completed_order_count_for_some_days(shop: Shop) -> None:
    order_id = new_order()
    await hold(shop, 2, order_id=order_id)
    await shop.stock.confirm(order_id, [MUG])
    await shop.stock.complete(order_id, [MUG])
    await shop.age_purchases(MUG, PER_SHOPPER_MS - 60_000)
    assert await hold(shop, 1) == [OverLimit(MUG, 1, 0)]
    await shop.age_purchases(MUG, 60_000)
    assert await hold(shop, 2) == []
    assert await hold(shop, 1) == [OverLimit(MUG, 1, 0)]


async def test_a_shortage_is_named_before_a_limit(shop: Shop) -> None:
    await shop.set_stock(MUG, 1)
    assert await hold(shop, 5) == [Shortage(MUG, 5, 1)]


async def test_products_without_a_limit_are_not_counted(shop: Shop) -> None:
    for _ in range(2):
        assert await shop.stock.hold(new_order(), [StockLine(BOX, 5)], fence=1, shoppers=["one"]) == []
    if isinstance(shop, RedisShop):
        assert not await shop.store.execute("EXISTS", purchases_key(BOX))


async def test_the_record_of_purchases_ends_and_does_not_grow_with_those_outdated(shop: Shop) -> None:
    if not isinstance(shop, RedisShop):
        pytest.skip("memory forgets with the test")
    await shop.set_stock(MUG, 10_000)
    key = purchases_key(MUG)
    for number in range(400):
        await hold(shop, 1, [f"owner-{number}", f"address-{number}"])
        if number % 20 == 19:
            await shop.age_purchases(MUG, PER_SHOPPER_MS)
    # Each of them is three fields.
    assert await shop.store.execute("HLEN", key) < 3 * 100
    assert 0 < await shop.store.execute("PTTL", key) <= PER_SHOPPER_MS


async def test_the_time_that_an_order_counts_is_a_setting(shop: Shop) -> None:
    if not isinstance(shop, RedisShop):
        pytest.skip("memory has the usual time")
    shop.stock = RedisStock(shop.store, per_shopper_ms=1000, lines_per_call=1)
    assert await hold(shop, 2) == []
    await shop.age_purchases(MUG, 1000)
    assert await hold(shop, 2) == []


# Through the checkout


async def test_one_shopper_with_fifty_carts_gets_two_units(shop: Shop) -> None:
    await shop.set_stock(MUG, 100)
    edges = [shop.handlers(), shop.handlers()]
    carts = [await shop.cart({MUG: 1}) for _ in range(50)]
    results = await asyncio.gather(
        *(
            edges[number % 2].place(a_request(cart), idempotency_key=f"key {number}")
            for number, cart in enumerate(carts)
        ),
        return_exceptions=True,
    )
    assert sum(isinstance(result, PlacedOrder) for result in results) == 2
    assert all(isinstance(result, PlacedOrder | ShopperLimit) for result in results)
    assert (await shop.available(MUG), await shop.taken(MUG)) == (98, 2)


async def refusal_of(shop: Shop, handlers: CheckoutHandlers, lines: dict[str, int]) -> Exception:
    cart = await shop.cart(lines)  # type: ignore[arg-type]
    with pytest.raises((OutOfStock, ShopperLimit)) as refused:
        await handlers.place(a_request(cart), idempotency_key="a key")
    assert (await shop.carts.read(cart.id)).status == "open"
    return refused.value


async def test_a_refused_checkout_holds_nothing_and_leaves_the_cart_open(shop: Shop) -> None:
    refused = await refusal_of(shop, shop.handlers(), {MUG: 3, BOX: 1})
    assert isinstance(refused, ShopperLimit)
    assert refused.lines == [OverLimit(MUG, 3, 2)]
    assert (await shop.taken(MUG), await shop.taken(BOX)) == (0, 0)
    assert await shop.claim_gauge.count_claims() == 0


async def test_a_checkout_that_is_short_as_well_is_refused_for_that(shop: Shop) -> None:
    refused = await refusal_of(shop, shop.handlers(), {MUG: 3, BOX: 11})
    assert isinstance(refused, OutOfStock)
    assert refused.lines == [Shortage(BOX, 11, 10)]


async def test_a_shopper_is_known_by_owner_and_by_address(shop: Shop) -> None:
    handlers = shop.handlers()
    cart = await shop.cart({MUG: 2}, owner="ada")
    await handlers.place(a_request(cart), idempotency_key="a key", owner="ada")
    for owner, email in (("ada", "new@example.com"), (None, "ada@example.com")):
        again = await shop.cart({MUG: 1}, owner=owner)
        with pytest.raises(ShopperLimit):
            await handlers.place(a_request(again, email=email), idempotency_key="other", owner=owner)
