"""The price of an order, and the shopper's consent to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from cart.model import Cart, Money, Product, Sku
from checkout.errors import ChangedPrice, OutOfStock, PriceChanged, Shortage, TotalMismatch
from checkout.order import OrderLine
from checkout.request import ExpectedTotal

# Clocks of the hosts differ by less: a shopper who was shown a price by one of them pays no more to another.
CLOCK_SKEW_MS: Final = 1000


def order_lines(
    cart: Cart, products: Mapping[Sku, Product], now: int, *, shipping: int, expected: ExpectedTotal | None
) -> tuple[OrderLine, ...]:
    """The lines of a cart with current names and with the prices of the instant `now`, in Unix milliseconds.

    Within `CLOCK_SKEW_MS` of a scheduled change they have the lower price, unless another total is `expected`. Raises
    `OutOfStock` if some products are no longer sold, or not in the cart's currency.
    """
    lines = _lines(cart, products, lambda product: product.at(now).price)
    if not any(products[line.sku].terms.scheduled_prices for line in lines):
        return lines
    start, until = now - CLOCK_SKEW_MS, now + CLOCK_SKEW_MS
    lowest = _lines(cart, products, lambda product: product.lowest_price(start, until))
    total = shipping + sum(line.quantity * line.unit_price for line in lowest)
    return lowest if expected is None or expected.amount == total else lines


def _lines(cart: Cart, products: Mapping[Sku, Product], price_of: Callable[[Product], int]) -> tuple[OrderLine, ...]:
    """The lines at these prices.

    Raises `OutOfStock` if some products are no longer sold, or not in the cart's currency.
    """
    lines: list[OrderLine] = []
    missing: list[Shortage] = []
    for line in cart.lines:
        product = products.get(line.sku)
        if product is None or product.currency != cart.currency:
            missing.append(Shortage(line.sku, line.quantity, 0))
        else:
            lines.append(OrderLine(line.sku, product.name, line.quantity, price_of(product)))
    if missing:
        raise OutOfStock(missing)
    return tuple(lines)


def require_price_consent(
    cart: Cart, lines: tuple[OrderLine, ...], *, shipping: int, expected: ExpectedTotal | None
) -> None:
    """Check that the shopper consents to the current prices.

    An `expected` total that equals the current one is consent. Otherwise the prices must be the ones quoted when the
    lines were written. Raises `PriceChanged`, or `TotalMismatch` if no price changed.
    """
    amount = shipping
    changed: list[ChangedPrice] = []
    for cart_line, line in zip(cart.lines, lines, strict=True):
        amount += line.quantity * line.unit_price
        if cart_line.quoted != line.unit_price:
            was, now = Money(cart_line.quoted, cart.currency), Money(line.unit_price, cart.currency)
            changed.append(ChangedPrice(line.sku, was=was, now=now))
    if expected is not None and expected.amount == amount and expected.currency == cart.currency:
        return
    if changed:
        raise PriceChanged(changed, Money(amount, cart.currency))
    if expected is not None:
        raise TotalMismatch(Money(amount, cart.currency))
