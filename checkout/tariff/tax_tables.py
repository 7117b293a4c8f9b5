"""Taxes from a table: one adapter for prices that include the tax, one for prices that it is added to.

Each amount is rounded half to even, for each line and for shipping; the tax of an order is their sum.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from checkout.ports.taxes import LineTax, Taxable, Taxed
from primitives.rounding import half_even

# Rates are in millionths: 20 % is 200,000.
MILLION: Final = 1_000_000
FIRST_CLASS: Final = "standard"
NO_TAX: Final = LineTax(0, "")

# By country and tax class.
Rates = Mapping[tuple[str, str], int]


class InclusiveTaxes:
    """`Taxes` that prices include: of a price p at the rate r, p * r / (1 + r)."""

    def __init__(self, rates: Rates, *, shipping_class: str = FIRST_CLASS) -> None:
        self._rates = rates
        self._shipping_class = shipping_class

    async def on(self, lines: Sequence[Taxable], *, shipping: int, country: str) -> Taxed:
        """See `Taxes.on`."""

        def tax(price: int, rate: int) -> int:
            return half_even(price * rate, MILLION + rate)

        return _taxed(self._rates, lines, Taxable(self._shipping_class, shipping), country, tax, is_added=False)


class ExclusiveTaxes:
    """`Taxes` that are added to prices: of a price p at the rate r, p * r."""

    def __init__(self, rates: Rates, *, shipping_class: str = FIRST_CLASS) -> None:
        self._rates = rates
        self._shipping_class = shipping_class

    async def on(self, lines: Sequence[Taxable], *, shipping: int, country: str) -> Taxed:
        """See `Taxes.on`."""

        def tax(price: int, rate: int) -> int:
            return half_even(price * rate, MILLION)

        return _taxed(self._rates, lines, Taxable(self._shipping_class, shipping), country, tax, is_added=True)


def _taxed(
    rates: Rates,
    lines: Sequence[Taxable],
    shipping: Taxable,
    country: str,
    tax: Callable[[int, int], int],
    *,
    is_added: bool,
) -> Taxed:
    def of(line: Taxable) -> LineTax:
        rate = rates.get((country, line.tax_class or FIRST_CLASS))
        return NO_TAX if rate is None else LineTax(tax(line.price, rate), percent_text(rate))

    return Taxed(is_added, [of(line) for line in lines], of(shipping))


def percent_text(rate: int) -> str:
    """A rate in percent: "20", "8.875"."""
    whole, rest = divmod(rate, MILLION // 100)
    return f"{whole}.{rest:04d}".rstrip("0").rstrip(".")
