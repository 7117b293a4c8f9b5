"""Carts with a coupon: the calls that give and take it, and how it is shown."""

from __future__ import annotations

from typing import Any

import pytest

from cart.bodies import MergeCart, PutCoupon, SetLine
from cart.coupons import CouponFault, parse_code
from cart.errors import CartFull, CouponRefused, IdempotencyKeyReused, InvalidBody, VersionMismatch
from cart.model import CartId
from tests.unit.cart.test_handlers import T0, Shop, held, shown


@pytest.fixture
def shop() -> Shop:
    shop = Shop()
    shop.prices.offer("TEN", percent=1000)
    shop.prices.offer("BIG", amount=5000, currency="GBP", minimum=400)
    return shop


async def put(shop: Shop, cart_id: CartId, code: str, **conditions: Any) -> dict[str, Any]:
    return shown(await shop.handlers.put_coupon(cart_id, PutCoupon(code), **conditions))


async def test_a_coupon_is_a_discount_of_the_cart_and_none_of_its_items(shop: Shop) -> None:
    cart_id = await shop.cart(MUG=2, TRAY=1)
    cart = await put(shop, cart_id, " ten ")
    assert cart["discounts"] == [{"code": "TEN", "name": "coupon TEN", "amount": {"amount": 61, "currency": "GBP"}}]
    assert (cart["subtotal"]["amount"], cart["total"]["amount"], cart["item_count"]) == (610, 549, 3)
    assert ([line["sku"] for line in cart["lines"]], "refused_coupon" in cart) == (["MUG", "TRAY"], False)
    assert shown(await shop.handlers.read(cart_id)) == cart


async def test_another_coupon_takes_the_place_of_the_first(shop: Shop) -> None:
    cart_id = await shop.cart(MUG=2)
    await put(shop, cart_id, "TEN")
    cart = await put(shop, cart_id, "BIG")
    assert [(each["code"], each["amount"]["amount"]) for each in cart["discounts"]] == [("BIG", 510)]
    assert cart["total"]["amount"] == 0
    again = await put(shop, cart_id, "BIG")
    assert again["version"] == cart["version"]


async def test_a_coupon_says_why_it_does_not_count_and_counts_once_it_does(shop: Shop) -> None:
    cart_id = await shop.cart(MUG=1)
    cart = await put(shop, cart_id, "BIG")
    assert (cart["discounts"], cart["total"]["amount"]) == ([], 255)
    assert cart["refused_coupon"] == {"code": "BIG", "reason": "below-minimum"}
    cart = shown(await shop.handlers.patch_lines(cart_id, [SetLine("MUG", 2)]))
    assert (len(cart["discounts"]), "refused_coupon" in cart) == (1, False)


async def test_a_discount_is_never_more_than_the_lines_are_shown_at(shop: Shop) -> None:
    cart_id = await shop.cart(MUG=1)
    shop.prices.offer("HALF", percent=5000)
    await put(shop, cart_id, "HALF")
    shop.prices.set("MUG", 50_000, "JPY")
    cart = shown(await shop.handlers.read(cart_id))
    assert (cart["subtotal"]["amount"], cart["total"]["amount"]) == (255, 127)


async def test_a_coupon_that_is_taken_away_is_gone(shop: Shop) -> None:
    cart_id = await shop.cart(MUG=2)
    await put(shop, cart_id, "TEN")
    for _ in range(2):
        cart = shown(await shop.handlers.delete_coupon(cart_id))
        assert (cart["discounts"], cart["total"]["amount"], cart["version"]) == ([], 510, 4)


async def test_a_coupon_ends_at_its_instant_also_in_a_cart_that_was_just_shown(shop: Shop) -> None:
    shop.prices.offer("NOW", percent=5000, starts_at=T0, ends_at=T0 + 10)
    cart_id = await shop.cart(MUG=2)
    assert (await put(shop, cart_id, "NOW"))["total"]["amount"] == 255
    shop.clock.now += 10
    cart = shown(await shop.handlers.read(cart_id))
    assert (cart["total"]["amount"], cart["refused_coupon"]["reason"]) == (510, "ended")


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("NOBODY", CouponFault.UNKNOWN),
        ("no blanks", CouponFault.UNKNOWN),
        ("\2TEN", CouponFault.UNKNOWN),
        ("EARLY", CouponFault.NOT_STARTED),
        ("LATE", CouponFault.ENDED),
    ],
)
async def test_a_code_that_nobody_can_use_now_is_refused(shop: Shop, code: str, fault: CouponFault) -> None:
    shop.prices.offer("EARLY", percent=1, starts_at=T0 + 1)
    shop.prices.offer("LATE", percent=1, ends_at=T0)
    cart_id = await shop.cart(MUG=2)
    with pytest.raises(CouponRefused) as refused:
        await put(shop, cart_id, code)
    assert refused.value.fault is fault
    assert (await shop.handlers.read(cart_id)).version == 2


async def test_a_coupon_cannot_be_added_as_goods(shop: Shop) -> None:
    cart_id = await shop.cart(MUG=2)
    with pytest.raises(InvalidBody):
        await shop.handlers.patch_lines(cart_id, [SetLine("\2TEN", 5)])


async def test_a_coupon_takes_the_place_of_a_line(shop: Shop) -> None:
    shop.prices.set("BOWL", 100)
    cart_id = await shop.cart(MUG=1, TRAY=1, BOWL=1)
    with pytest.raises(CartFull):
        await put(shop, cart_id, "TEN")


async def test_a_coupon_is_put_on_a_condition_and_once_for_each_key(shop: Shop) -> None:
    cart_id = await shop.cart(MUG=2)
    with pytest.raises(VersionMismatch):
        await put(shop, cart_id, "TEN", if_match=1)
    await put(shop, cart_id, "TEN", key="k", if_match=2)
    await shop.handlers.delete_coupon(cart_id)
    assert (await put(shop, cart_id, "TEN", key="k"))["discounts"] == []
    with pytest.raises(IdempotencyKeyReused):
        await put(shop, cart_id, "BIG", key="k")


@pytest.mark.parametrize("strategy", ["sum", "max", "keep"])
async def test_a_merged_cart_has_one_coupon(shop: Shop, strategy: Any) -> None:
    source, target = await shop.cart(MUG=1), await shop.cart(MUG=1)
    await put(shop, source, "TEN")
    await put(shop, target, "TEN")
    cart = await shop.handlers.merge(target, MergeCart(source=source, strategy=strategy))
    assert [each["code"] for each in shown(cart)["discounts"]] == ["TEN"]
    assert set(held(cart)) == {"MUG"}


def test_codes_have_one_spelling() -> None:
    assert [parse_code(text) for text in (" ten ", "Ten-1_0", "", "-TEN", "ZEHN\u00c4", "X" * 33)] == [
        "TEN",
        "TEN-1_0",
        None,
        None,
        None,
        None,
    ]
