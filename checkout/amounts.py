"""The amounts of an order, and the only sum of them. All are integers, minor units of the order's currency."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from cart.model import Sku


class OrderLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """A quantity of a SKU, at its unit price when the order was accepted.

    `discount` is the share of the order's discounts that is taken off this line, and `tax`, at `tax_rate` percent, its tax.
    `ahead` of its units were sold before the shop has them, which is about `available_on`, a date of ISO 8601, empty if unknown.
    """

    sku: Sku
    name: str
    quantity: int
    unit_price: int
    discount: int = 0
    tax: int = 0
    tax_rate: str = ""
    ahead: int = 0
    available_on: str = ""

    @property
    def total(self) -> int:
        """Price of the line before discounts, in minor units."""
        return self.quantity * self.unit_price


class Discount(msgspec.Struct, frozen=True, omit_defaults=True):
    """A coupon's reduction: of `goods` in all, and of `shipping`. Lines have their shares of `goods`."""

    code: str
    name: str
    goods: int = 0
    shipping: int = 0
    # Whether a use of the coupon is held, and returned if the order is cancelled.
    is_counted: bool = False

    @property
    def amount(self) -> int:
        """All that it takes off."""
        return self.goods + self.shipping


class ShippingTax(msgspec.Struct, frozen=True, omit_defaults=True):
    """The tax of an order that has some. Lines have theirs; `amount`, at `rate` percent, is that of shipping.

    Prices include all of it, or it is added to them if it `is_added`.
    """

    is_added: bool
    amount: int = 0
    rate: str = ""


class Amounts(msgspec.Struct, frozen=True):
    """The sum: subtotal and shipping, less the reductions of coupons, and the tax on top if it `is_tax_added`."""

    subtotal: int
    off_goods: int
    shipping: int
    off_shipping: int
    tax: int
    is_tax_added: bool
    # To be paid by the shopper.
    total: int

    @property
    def goods(self) -> int:
        """The price of the goods, without tax that is added."""
        return self.subtotal - self.off_goods


def amounts_of(
    lines: Sequence[OrderLine], shipping: int, discounts: Sequence[Discount] = (), tax: ShippingTax | None = None
) -> Amounts:
    """The amounts of an order or of a quote; `shipping` is the price of its shipping method."""
    subtotal = 0
    for line in lines:
        subtotal += line.quantity * line.unit_price
    if tax is None and not discounts:
        return Amounts(subtotal, 0, shipping, 0, 0, is_tax_added=False, total=subtotal + shipping)
    off_goods = sum([discount.goods for discount in discounts])
    off_shipping = sum([discount.shipping for discount in discounts])
    of_tax = 0 if tax is None else tax.amount + sum([line.tax for line in lines])
    is_tax_added = tax is not None and tax.is_added
    total = subtotal - off_goods + shipping - off_shipping + (of_tax if is_tax_added else 0)
    return Amounts(subtotal, off_goods, shipping, off_shipping, of_tax, is_tax_added=is_tax_added, total=total)
