"""Taxes on the lines and the shipping of an order, which the prices of a shop include or not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Taxable(NamedTuple):
    """A price, less discounts, in minor units, of a product of this class; the first class has the name ""."""

    tax_class: str
    price: int


class LineTax(NamedTuple):
    """A tax in minor units, at `rate` percent; no rate where there is no tax."""

    amount: int
    rate: str


class Taxed(NamedTuple):
    """The tax of each line, and of shipping. It `is_added` to prices, or they include it."""

    is_added: bool
    lines: Sequence[LineTax]
    shipping: LineTax


class Taxes(Protocol):
    """The taxes of a shop, by the country that goods are shipped to."""

    async def on(self, lines: Sequence[Taxable], *, shipping: int, country: str) -> Taxed:
        """The tax of these lines, and of shipping at this price.

        Raises the errors of an adapter whose service is away: then the checkout is refused, and may be repeated.
        """
        ...
