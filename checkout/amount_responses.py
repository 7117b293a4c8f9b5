"""Lines, discounts and taxes as the API sends them, of orders and of quotes."""

from __future__ import annotations

from msgspec import UNSET, UnsetType

from cart.model import Money
from cart.responses import Discount as DiscountResponse
from checkout import responses
from checkout.amounts import Amounts, Discount, OrderLine, ShippingTax


def line_response(line: OrderLine, currency: str) -> responses.OrderLine:
    """A line."""
    if not (line.discount or line.tax_rate or line.ahead):  # nearly always
        price, total = Money(line.unit_price, currency), Money(line.total, currency)
        return responses.OrderLine(line.sku, line.name, line.quantity, price, total)
    return responses.OrderLine(
        sku=line.sku,
        name=line.name,
        quantity=line.quantity,
        unit_price=Money(line.unit_price, currency),
        total=Money(line.total, currency),
        discount=Money(line.discount, currency) if line.discount else UNSET,
        tax=Money(line.tax, currency) if line.tax_rate else UNSET,
        tax_rate=line.tax_rate or UNSET,
        ahead=line.ahead or UNSET,
        available_on=line.available_on or UNSET,
    )


def discount_response(discount: Discount, currency: str) -> DiscountResponse:
    """What a coupon takes off."""
    shipping = Money(discount.shipping, currency) if discount.shipping else UNSET
    return DiscountResponse(discount.code, discount.name, Money(discount.amount, currency), shipping)


def tax_response(tax: ShippingTax | None, amounts: Amounts, currency: str) -> responses.Tax | UnsetType:
    """All tax, if there is any."""
    if tax is None:
        return UNSET
    return responses.Tax(Money(amounts.tax, currency), Money(tax.amount, currency), included=not tax.is_added)
