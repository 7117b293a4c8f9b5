"""Quotes: the price of an order of a cart as of now, with every shipping method that it can have."""

from __future__ import annotations

import msgspec
from msgspec import UNSET

from cart.errors import CartClosed, CartNotFound, InvalidBody
from cart.ids import parse_cart_id
from cart.model import Cart, Money
from cart.ports import Carts
from cart.responses import RefusedCoupon
from checkout import responses
from checkout.amount_responses import discount_response, line_response, tax_response
from checkout.countries import COUNTRIES
from checkout.priced_cart import PricedCart
from checkout.pricing import Pricing
from checkout.tariff.tariff import TariffInForce


class Quote(msgspec.Struct, frozen=True):
    """A priced cart, with the shipping method that it is priced with."""

    cart: Cart
    priced: PricedCart
    shipping_method: str

    def to_json(self) -> bytes:
        """The quote as the API sends it."""
        priced, currency = self.priced, self.cart.currency
        amounts, refused = priced.amounts, priced.refused_coupon
        return msgspec.json.encode(
            responses.Quote(
                cart_id=self.cart.id,
                lines=[line_response(line, currency) for line in priced.lines],
                subtotal=Money(amounts.subtotal, currency),
                discounts=[discount_response(discount, currency) for discount in priced.discounts],
                refused_coupon=UNSET if refused is None else RefusedCoupon(refused.code, refused.fault),
                shipping_methods=[
                    responses.ShippingOption(option.name, option.title, Money(option.price, currency))
                    for option in priced.options
                ],
                shipping_method=self.shipping_method,
                shipping=Money(priced.shipping, currency),
                tax=tax_response(priced.tax, amounts, currency),
                total=Money(amounts.total, currency),
            )
        )


class QuoteHandlers:
    """The calls for quotes."""

    def __init__(self, carts: Carts, pricing: Pricing, tariff: TariffInForce) -> None:
        self._carts = carts
        self._pricing = pricing
        self._tariff = tariff

    async def quote(
        self, cart_id: str, *, country: str, shipping_method: str | None = None, owner: str | None = None
    ) -> Quote:
        """The price of an order of the cart, shipped to this country (ISO 3166-1 alpha-2) by this method or the default one.

        Raises `CartNotFound`, `CartClosed`, `InvalidBody` that names the parameter, `CartEmpty`, `OutOfStock` if products are no
        longer sold, and `ShippingNotOffered`.
        """
        parsed = parse_cart_id(cart_id)
        if parsed is None:
            raise CartNotFound
        country, methods = country.upper(), self._tariff.now.methods
        method = shipping_method or self._tariff.now.default
        faults = []
        if country not in COUNTRIES:
            faults.append(("/country", "must be a country code of ISO 3166-1 alpha-2, such as GB"))
        if method not in methods:
            faults.append(("/shipping_method", f"must be one of: {', '.join(methods)}"))
        if faults:
            raise InvalidBody(faults)
        cart = await self._carts.read(parsed, owner=owner)
        if cart.status != "open":
            raise CartClosed(cart.order_id)
        priced = await self._pricing.price(cart, method=method, country=country, is_quote=True)
        return Quote(cart, priced, method)
