"""The price of an order, and the shopper's consent to it."""

from __future__ import annotations

from collections.abc import Mapping

from cart.model import Cart, Money, Product, Sku
from checkout.errors import ChangedPrice, OutOfStock, PriceChanged, Shortage, TotalMismatch
from checkout.order import OrderLine
from checkout.request import ExpectedTotal


def order_lines(cart: Cart, products: Mapping[Sku, Product]) -> tuple[OrderLine, ...]:
    """The lines of a cart with current names and prices.

    Raises `OutOfStock` if some products are no longer sold, or not in the cart's currency.
    """
    sold = {line.sku: product for line in cart.lines if (product := _sold(line.sku, cart, products)) is not None}
    missing = [Shortage(line.sku, line.quantity, 0) for line in cart.lines if line.sku not in sold]
    if missing:
        raise OutOfStock(missing)
    return tuple(OrderLine(line.sku, sold[line.sku].name, line.quantity, sold[line.sku].price) for line in cart.lines)


def require_price_consent(
    cart: Cart, lines: tuple[OrderLine, ...], *, shipping: int, expected: ExpectedTotal | None
) -> None:
    """Check that the shopper consents to the current prices.

    An `expected` total that equals the current one is consent. Otherwise the prices must be the ones quoted when the
    lines were written. Raises `PriceChanged`, or `TotalMismatch` if no price changed.
    """
    total = Money(sum(line.total for line in lines) + shipping, cart.currency)
    if expected is not None and (expected.amount, expected.currency) == (total.amount, total.currency):
        return
    changed = [
        ChangedPrice(line.sku, was=Money(cart_line.quoted, cart.currency), now=Money(line.unit_price, cart.currency))
        for cart_line, line in zip(cart.lines, lines, strict=True)
        if cart_line.quoted != line.unit_price
    ]
    if changed:
        raise PriceChanged(changed, total)
    if expected is not None:
        raise TotalMismatch(total)


def _sold(sku: Sku, cart: Cart, products: Mapping[Sku, Product]) -> Product | None:
    product = products.get(sku)
    return product if product is not None and product.currency == cart.currency else None
