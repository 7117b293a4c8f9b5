"""The price of an order, and the shopper's consent to it.

In this order: the lines; the coupon's reduction of them; shipping, by the price of the goods after that; the coupon's reduction
of shipping; and taxes on both as they are then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from cart.coupons import CouponFault, Goods, code_of, is_coupon
from cart.errors import CouponRefused
from cart.model import NO_TERMS, Cart, Line, Money, Product, Sku
from cart.ports import PriceBook
from checkout.amounts import Discount, OrderLine, ShippingTax
from checkout.errors import (
    CartEmpty,
    ChangedPrice,
    OutOfStock,
    PriceChanged,
    ShippingNotOffered,
    Shortage,
    TotalMismatch,
)
from checkout.ports.taxes import Taxable, Taxes
from checkout.priced_cart import CartLines, Conditions, PricedCart, RefusedCoupon
from checkout.request import ExpectedTotal
from checkout.tariff.shipping_methods import Parcel, ShippingOption
from checkout.tariff.tariff import TariffInForce

# Clocks of the hosts differ by less: a shopper who was shown a price by one of them pays no more to another.
CLOCK_SKEW_MS: Final = 1000


class Pricing:
    """Prices carts with the price book, the coupons that they have, and the tariff in force."""

    def __init__(self, prices: PriceBook, tariff: TariffInForce, *, clock_ms: Callable[[], int]) -> None:
        self._prices = prices
        self._tariff = tariff
        self._clock_ms = clock_ms

    async def price(
        self, cart: Cart, *, method: str, country: str, expected: ExpectedTotal | None = None, is_quote: bool = False
    ) -> PricedCart:
        """The cart with this shipping method, to an address in this country.

        Within `CLOCK_SKEW_MS` of a scheduled change it has the lower total, unless the other one is `expected`. Raises
        `CartEmpty`, `OutOfStock` if some products are no longer sold, and `ShippingNotOffered`.
        """
        products = await self._prices.products(cart.skus)
        now = self._clock_ms()
        read = order_lines(cart, products, now)
        if not read.lines:
            raise CartEmpty
        tariff = self._tariff.now
        is_plain = read.coupon is None and not read.is_scheduled and tariff.is_plain
        if is_plain and not is_quote and method in tariff.methods:
            # Nearly every order of a shop without any of that: nothing has to be looked up.
            return PricedCart(lines=read.lines, shipping=tariff.flat_price, is_limited=read.is_limited)
        terms = Conditions(products, cart.currency, now, method, country, is_quote)
        priced = await self._charged(read.lines, read, terms)
        lowest_lines = _at_lowest(read.lines, products, now) if read.is_scheduled else read.lines
        if lowest_lines == read.lines:  # no change is near
            return priced
        try:
            lowest = await self._charged(lowest_lines, read, terms)
        except ShippingNotOffered:  # for goods of so low a price
            return priced
        if expected is not None:
            return lowest if expected.amount == lowest.amounts.total else priced
        # With lower prices a coupon may miss its minimum, or shipping be no longer free.
        return min(lowest, priced, key=lambda each: each.amounts.total)

    def is_held_at_carts(self, sku: Sku) -> bool:
        """Whether carts hold units of the product, or may: it is not in the price book now."""
        product = self._prices.current.get(sku)
        return product is None or product.terms.hold_at_cart > 0

    async def _charged(self, lines: tuple[OrderLine, ...], read: CartLines, terms: Conditions) -> PricedCart:
        """These lines with discounts, shipping and taxes."""
        tariff = self._tariff.now
        priced = PricedCart(lines=lines, is_limited=read.is_limited)
        is_free = False
        if read.coupon is not None:
            priced, is_free = _with_coupon(priced, read.coupon, terms)
        weight = tariff.weight_of([terms.products[line.sku] for line in lines])
        parcel = Parcel(terms.country, terms.currency, priced.amounts.goods, weight)
        priced = _with_shipping(
            priced,
            tariff.price_of(terms.method, parcel),
            is_free=is_free,
            options=tariff.options(parcel) if terms.is_quote else (),
        )
        return priced if tariff.taxes is None else await _with_taxes(priced, tariff.taxes, terms)


def order_lines(cart: Cart, products: Mapping[Sku, Product], now: int) -> CartLines:
    """The lines of a cart with current names and with the prices of the instant `now`, in Unix milliseconds.

    Raises `OutOfStock` if some products are no longer sold, or not in the cart's currency.
    """
    lines: list[OrderLine] = []
    missing: list[Shortage] = []
    coupon: Sku | None = None
    is_scheduled = is_limited = False
    for line in cart.lines:
        product = products.get(line.sku)
        if product is not None and product.currency == cart.currency:
            if product.terms is not NO_TERMS:
                is_limited = is_limited or product.terms.per_shopper > 0
                if product.terms.scheduled_prices:
                    product = product.at(now)
                    is_scheduled = True
            lines.append(OrderLine(line.sku, product.name, line.quantity, product.price))
        elif is_coupon(line.sku):  # which is in no currency
            coupon = line.sku
        else:
            missing.append(Shortage(line.sku, line.quantity, 0))
    if missing:
        raise OutOfStock(missing)
    return CartLines(tuple(lines), is_scheduled, is_limited, coupon)


def _at_lowest(lines: Sequence[OrderLine], products: Mapping[Sku, Product], now: int) -> tuple[OrderLine, ...]:
    """The lines at the lowest prices that any host has shown around this instant."""
    start, until = now - CLOCK_SKEW_MS, now + CLOCK_SKEW_MS
    lowest = [products[line.sku].lowest_price(start, until) for line in lines]
    return tuple([msgspec.structs.replace(line, unit_price=price) for line, price in zip(lines, lowest, strict=True)])


def require_price_consent(cart: Cart, priced: PricedCart, *, expected: ExpectedTotal | None) -> None:
    """Check that the shopper consents to the current prices.

    An `expected` total that equals the current one is consent. Otherwise the prices must be the ones quoted when the
    lines were written, and the coupon of the cart must count. Raises `PriceChanged`, `CouponRefused`, or `TotalMismatch` if
    neither is wrong.
    """
    changed: list[ChangedPrice] = []
    goods: Sequence[Line] = cart.lines
    if len(goods) > len(priced.lines):
        goods = [line for line in goods if not is_coupon(line.sku)]
    for cart_line, line in zip(goods, priced.lines, strict=True):
        if cart_line.quoted != line.unit_price:
            was, now = Money(cart_line.quoted, cart.currency), Money(line.unit_price, cart.currency)
            changed.append(ChangedPrice(line.sku, was=was, now=now))
    if expected is None and not changed and priced.refused_coupon is None:
        return
    total = Money(priced.amounts.total, cart.currency)
    if expected is not None and expected.amount == total.amount and expected.currency == total.currency:
        return
    if changed:
        raise PriceChanged(changed, total)
    if priced.refused_coupon is not None:
        raise CouponRefused(priced.refused_coupon.code, priced.refused_coupon.fault, total)
    raise TotalMismatch(total)


def _with_coupon(priced: PricedCart, sku: Sku, terms: Conditions) -> tuple[PricedCart, bool]:
    """The cart with the reductions of its coupon, or the reason why there are none; and whether shipping is free."""
    product = terms.products.get(sku)
    coupon = None if product is None else product.terms.coupon
    goods = [Goods(line.sku, line.total) for line in priced.lines]
    fault = CouponFault.UNKNOWN if coupon is None else coupon.fault(goods, currency=terms.currency, now=terms.now)
    if product is None or coupon is None or fault is not None:
        refused = RefusedCoupon(code_of(sku), fault or CouponFault.UNKNOWN)
        return msgspec.structs.replace(priced, refused_coupon=refused), False
    reductions = coupon.reductions(goods)
    lines = [
        msgspec.structs.replace(line, discount=reduction)
        for line, reduction in zip(priced.lines, reductions, strict=True)
    ]
    has_limit = product.terms.per_shopper > 0
    is_counted = coupon.is_limited or has_limit
    discount = Discount(code_of(sku), product.name, goods=sum(reductions), is_counted=is_counted)
    priced = msgspec.structs.replace(
        priced, lines=tuple(lines), discounts=(discount,), is_limited=priced.is_limited or has_limit
    )
    return priced, coupon.free_shipping


def _with_shipping(
    priced: PricedCart, shipping: int, *, is_free: bool, options: Sequence[ShippingOption]
) -> PricedCart:
    discounts = priced.discounts
    if is_free:
        discounts = tuple([msgspec.structs.replace(discount, shipping=shipping) for discount in discounts])
    return msgspec.structs.replace(priced, shipping=shipping, discounts=discounts, options=options)


async def _with_taxes(priced: PricedCart, taxes: Taxes, terms: Conditions) -> PricedCart:
    taxed = await taxes.on(
        [Taxable(terms.products[line.sku].terms.tax_class, line.total - line.discount) for line in priced.lines],
        shipping=priced.shipping - sum([discount.shipping for discount in priced.discounts]),
        country=terms.country,
    )
    lines = [
        msgspec.structs.replace(line, tax=tax.amount, tax_rate=tax.rate)
        for line, tax in zip(priced.lines, taxed.lines, strict=True)
    ]
    shipping = ShippingTax(taxed.is_added, taxed.shipping.amount, taxed.shipping.rate)
    return msgspec.structs.replace(priced, lines=tuple(lines), tax=shipping)
