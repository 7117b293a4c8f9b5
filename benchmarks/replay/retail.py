"""Reader of recorded trade: the baskets of an *Online Retail* CSV, and the catalogue that follows from them.

The file is the UCI Machine Learning Repository's *Online Retail* data set (D. Chen, 2015, doi:10.24432/C5BW33, CC BY 4.0),
its successor *Online Retail II* (doi:10.24432/C5CG6D), or any part of one, with prices in GBP. See `retail_file` for its forms.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from benchmarks.replay.retail_file import RetailFile, RetailRow

CURRENCY = "GBP"


class BasketLine(NamedTuple):
    """One usable invoice line, as it was recorded."""

    sku: str
    description: str
    quantity: int
    unit_price: Decimal


class Basket(NamedTuple):
    """One usable invoice: no cancellation, with its lines of a quantity and a price above zero."""

    invoice: str
    invoiced_at: datetime
    lines: tuple[BasketLine, ...]

    def quantities(self) -> dict[str, int]:
        """Units by SKU in the order of their first line: repeated lines of a SKU are one line of a cart."""
        units_by_sku: dict[str, int] = {}
        for line in self.lines:
            units_by_sku[line.sku] = units_by_sku.get(line.sku, 0) + line.quantity
        return units_by_sku

    @property
    def units(self) -> int:
        """Units of all its lines."""
        return sum(line.quantity for line in self.lines)


class CatalogueRow(NamedTuple):
    """A product of the catalogue that real trade implies; `price` is in pence, `stock` in units."""

    sku: str
    name: str
    price: int
    stock: int


def read_baskets(path: str | Path) -> Iterator[Basket]:
    """Stream the usable baskets of the file at `path` (`.gz` is decompressed) in its order; see `baskets_of`."""
    return baskets_of(RetailFile(Path(path)))


def baskets_of(file: RetailFile) -> Iterator[Basket]:
    """Stream the usable baskets of the file in its order.

    Holds one invoice at a time. Raises `RetailFileError` where a line cannot be read, or where an invoice goes on after
    another one has begun: silently making two baskets of it would falsify every result. An invoice that comes again whole
    counts once: the two sheets of *Online Retail II* share the first days of December 2010.
    """
    finished: dict[str, int] = {}
    for invoice, group in groupby(file.rows(), key=lambda row: row.invoice):
        rows = list(group)
        content = hash(tuple(sorted(row[2:] for row in rows)))
        if invoice in finished:
            if finished[invoice] != content:
                raise file.fault(rows[0].line, f"the lines of invoice {invoice} do not follow each other")
            file.repeated_invoices += 1
            continue
        finished[invoice] = content
        basket = _basket(invoice, rows)
        if basket is not None:
            yield basket


def catalogue_rule(baskets: Iterable[Basket]) -> list[CatalogueRow]:
    """Derive the catalogue from usable baskets, in the byte order of its SKUs.

    A product for every stock code; its price is the most frequent unit price (a tie: the lowest) in pence, rounded half
    up; its name the most frequent description (a tie: the first in byte order; none: the stock code); its stock the units
    sold.
    """
    prices: defaultdict[str, Counter[Decimal]] = defaultdict(Counter)
    names: defaultdict[str, Counter[str]] = defaultdict(Counter)
    units: Counter[str] = Counter()
    for basket in baskets:
        for line in basket.lines:
            prices[line.sku][line.unit_price] += 1
            if line.description.strip():
                names[line.sku][line.description] += 1
            units[line.sku] += line.quantity
    return [
        CatalogueRow(sku, _usual_name(names[sku]) if names[sku] else sku, _pence(_usual_price(prices[sku])), units[sku])
        for sku in sorted(units, key=str.encode)
    ]


def _basket(invoice: str, rows: Sequence[RetailRow]) -> Basket | None:
    """Make one invoice's basket, or None when it is a cancellation or nothing usable is left of it."""
    if invoice.upper().startswith("C"):
        return None
    usable = [row for row in rows if row.quantity > 0 and row.unit_price > 0]
    if not usable:
        return None
    lines = tuple(BasketLine(row.sku, row.description, row.quantity, row.unit_price) for row in usable)
    return Basket(invoice, usable[0].invoiced_at, lines)


def _usual_price(counts: Counter[Decimal]) -> Decimal:
    return min(counts, key=lambda price: (-counts[price], price))


def _usual_name(counts: Counter[str]) -> str:
    return min(counts, key=lambda name: (-counts[name], name.encode()))


def _pence(price: Decimal) -> int:
    return int((price * 100).quantize(Decimal(1), ROUND_HALF_UP))
