"""A priced cart, and its lines and conditions on the way there. Compiled modules make no classes of these kinds (docs/compiled.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from cart.coupons import CouponFault
from cart.model import Product, Sku
from checkout.amounts import Amounts, Discount, OrderLine, ShippingTax, amounts_of
from checkout.tariff.shipping_methods import ShippingOption


class RefusedCoupon(msgspec.Struct, frozen=True):
    """The coupon of a cart that takes off nothing, and why."""

    code: str
    fault: CouponFault


class PricedCart(msgspec.Struct, frozen=True, kw_only=True):
    """A cart at the prices of now. `options` are the shipping methods that it can have; only a quote has them.

    `is_limited`: one shopper may have only so many of some of its products, or so many uses of its coupon.
    """

    lines: tuple[OrderLine, ...]
    shipping: int = 0
    discounts: tuple[Discount, ...] = ()
    tax: ShippingTax | None = None
    refused_coupon: RefusedCoupon | None = None
    options: Sequence[ShippingOption] = ()
    is_limited: bool = False

    @property
    def amounts(self) -> Amounts:
        """Its amounts and their sum."""
        return amounts_of(self.lines, self.shipping, self.discounts, self.tax)


class Conditions(NamedTuple):
    """The conditions of pricing a cart."""

    products: Mapping[Sku, Product]
    currency: str
    now: int
    method: str
    country: str
    is_quote: bool


class CartLines(NamedTuple):
    """The lines of a cart, and the SKU of its coupon: the last one, if there are more.

    Some `is_scheduled`: it has scheduled prices; some `is_limited` for one shopper.
    """

    lines: tuple[OrderLine, ...]
    is_scheduled: bool
    is_limited: bool
    coupon: Sku | None
