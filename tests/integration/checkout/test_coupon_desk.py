"""The desk of coupons over a store, where a coupon is a product with stock."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from cart.catalog.redis_catalog import RedisCatalog, RedisPriceBook
from cart.coupons import MARK, Coupon
from cart.model import OrderId, Sku
from checkout.coupon_desk import CouponDesk, CouponInvalid, CouponNotFound, CouponOffer
from checkout.ports.inventory import UnitsOutOfRange
from checkout.ports.stock import StockLine
from checkout.redis.coupon_codes import RedisCouponCodes
from checkout.redis.inventory import RedisInventory
from checkout.redis.stock import RedisStock
from store import Store

SKU = Sku(MARK + "TEN")
TEN = Coupon(percent=1000)


def an_offer(**changes: Any) -> CouponOffer:
    return msgspec.structs.replace(CouponOffer(code="ten", name="ten off", rule=TEN), **changes)


@pytest.fixture
def desk(store: Store) -> CouponDesk:
    return CouponDesk(RedisCatalog(store), RedisInventory(store), RedisCouponCodes(store))


async def test_a_coupon_is_offered_shown_and_listed(desk: CouponDesk, store: Store) -> None:
    put = await desk.put(an_offer(per_shopper=1), uses=1000)
    assert (put.left, put.held, put.in_orders, put.offer.code, put.offer.per_shopper) == (1000, 0, 0, "TEN", 1)
    assert put == await desk.show(" ten ")
    assert await desk.page(limit=10) == [put]
    product = (await RedisPriceBook(store).products([SKU]))[SKU]
    assert (product.name, product.terms.coupon) == ("ten off", Coupon(percent=1000, is_limited=True))


async def test_a_changed_coupon_keeps_its_uses(desk: CouponDesk, store: Store) -> None:
    await desk.put(an_offer(), uses=10)
    stock = RedisStock(store)
    await stock.hold(OrderId("one"), [StockLine(SKU, 1)], fence=1)
    await stock.hold(OrderId("two"), [StockLine(SKU, 1)], fence=1)
    await stock.confirm(OrderId("two"), [SKU])
    for uses in (10, None):
        state = await desk.put(an_offer(rule=Coupon(percent=500)), uses=uses)
        assert (state.left, state.held, state.in_orders) == (8, 1, 1)
        assert state.offer.rule == Coupon(percent=500, is_limited=True)


async def test_a_coupon_without_a_limit_has_no_uses_to_change(desk: CouponDesk) -> None:
    assert (await desk.put(an_offer())).left is None
    with pytest.raises(CouponInvalid, match="no limit"):
        await desk.set_uses("TEN", 5, key="k")
    with pytest.raises(CouponInvalid, match="no limit"):
        await desk.put(an_offer(), uses=5)


async def test_uses_are_changed_once_for_each_key_and_never_those_that_are_promised(desk: CouponDesk) -> None:
    await desk.put(an_offer(), uses=10)
    assert (await desk.set_uses("TEN", 3, key="a")).after == 3
    for is_new in (True, False):
        assert (await desk.add_uses("TEN", 2, key="b")).is_new is is_new
    assert (await desk.show("TEN")).left == 5
    with pytest.raises(UnitsOutOfRange):
        await desk.add_uses("TEN", -6, key="c")


async def test_a_removed_coupon_is_gone_and_may_be_offered_again(desk: CouponDesk, store: Store) -> None:
    await desk.put(an_offer(), uses=10)
    await desk.remove("TEN")
    for act in (desk.show, desk.remove):
        with pytest.raises(CouponNotFound):
            await act("TEN")
    assert (await desk.page(limit=10), await RedisPriceBook(store).products([SKU])) == ([], {})
    assert (await desk.put(an_offer(), uses=4)).left == 4


@pytest.mark.parametrize(
    "changes",
    [
        {"code": "-TEN"},
        {"code": "a b"},
        {"name": " "},
        {"name": "x" * 201},
        {"rule": Coupon()},
        {"rule": Coupon(percent=1000, amount=100, currency="GBP")},
        {"rule": Coupon(percent=10_001)},
        {"rule": Coupon(amount=100)},
        {"rule": Coupon(amount=-100, currency="GBP")},
        {"rule": Coupon(percent=1000, minimum=100)},
        {"rule": Coupon(percent=1000, currency="GBX", minimum=1)},
        {"rule": Coupon(percent=1000, starts_at=5, ends_at=5)},
        {"rule": Coupon(percent=1000, skus=("A",) * 1001)},
        {"per_shopper": -1},
    ],
)
async def test_a_coupon_that_cannot_be_is_refused(desk: CouponDesk, changes: dict[str, Any]) -> None:
    with pytest.raises(CouponInvalid):
        await desk.put(an_offer(**changes))
    assert await desk.page(limit=10) == []


@pytest.mark.parametrize(
    "rule",
    [
        Coupon(free_shipping=True),
        Coupon(percent=1250, free_shipping=True),
        Coupon(amount=500, currency="GBP", free_shipping=True),
        Coupon(percent=10_000, starts_at=1, ends_at=2, skus=("A",)),
    ],
)
async def test_a_coupon_takes_off_goods_or_shipping_or_both(desk: CouponDesk, rule: Coupon) -> None:
    assert (await desk.put(an_offer(rule=rule))).offer.rule == rule
