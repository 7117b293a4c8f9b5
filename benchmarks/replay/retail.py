"""Reader of recorded trade: the baskets of an *Online Retail* CSV, and the catalogue that follows from them.

The file is the UCI Machine Learning Repository's *Online Retail* data set (D. Chen, 2015, doi:10.24432/C5BW33, CC BY 4.0)
or any part of it, plain or gzip-compressed, with the columns `InvoiceNo`, `StockCode`, `Description`, `Quantity`,
`InvoiceDate` (`dd/mm/yyyy hh:mm`), `UnitPrice` (GBP, decimal), `CustomerID` and `Country`.
"""

import csv
import gzip
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from itertools import groupby
from pathlib import Path
from typing import IO, NamedTuple

CURRENCY = "GBP"
COLUMNS = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice")


class RetailFileError(Exception):
    """The file cannot be read as Online Retail trade; the message names the file and the line."""


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
    """Stream the usable baskets of the file at `path` (`.gz` is decompressed) in its order.

    Holds one invoice at a time. Raises `RetailFileError` where a line cannot be read, or where an invoice goes on
    after another one has begun: silently making two baskets of it would falsify every result.
    """
    path = Path(path)
    finished: set[str] = set()
    with _open(path) as file:
        for invoice, rows in groupby(_rows(file, path), key=lambda row: row[1]["InvoiceNo"]):
            if invoice in finished:
                raise RetailFileError(f"{path}: the lines of invoice {invoice} do not follow each other")
            finished.add(invoice)
            basket = _basket(invoice, rows, path)
            if basket is not None:
                yield basket


def catalogue_rule(baskets: Iterable[Basket]) -> list[CatalogueRow]:
    """Derive the catalogue from usable baskets, in the byte order of its SKUs.

    A product for every stock code; its price is the most frequent unit price (a tie: the lowest) in pence, rounded half
    up; its name the most frequent description (a tie: the first in byte order); its stock the units sold.
    """
    prices: defaultdict[str, Counter[Decimal]] = defaultdict(Counter)
    names: defaultdict[str, Counter[str]] = defaultdict(Counter)
    units: Counter[str] = Counter()
    for basket in baskets:
        for line in basket.lines:
            prices[line.sku][line.unit_price] += 1
            names[line.sku][line.description] += 1
            units[line.sku] += line.quantity
    return [
        CatalogueRow(sku, _usual_name(names[sku]), _pence(_usual_price(prices[sku])), units[sku])
        for sku in sorted(units, key=str.encode)
    ]


def _open(path: Path) -> IO[str]:
    # The data set holds descriptions that were damaged before it was published; a broken byte must not end the reading.
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", errors="replace", newline="")
    return path.open(encoding="utf-8-sig", errors="replace", newline="")


def _rows(file: IO[str], path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line number, row) for each record below the header."""
    reader = csv.DictReader(file, restval="")
    try:
        missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
        if missing:
            raise RetailFileError(f"{path}: no Online Retail file, the header lacks {', '.join(missing)}")
        for row in reader:
            yield reader.line_num, row
    except (csv.Error, EOFError, OSError) as fault:
        raise RetailFileError(f"{path}: line {reader.line_num}: {fault}") from fault


def _basket(invoice: str, rows: Iterable[tuple[int, dict[str, str]]], path: Path) -> Basket | None:
    """Make one invoice's basket, or None when it is a cancellation or nothing usable is left of it."""
    lines: list[BasketLine] = []
    invoiced_at: datetime | None = None
    for number, row in rows:
        if invoice.startswith("C"):
            continue
        try:
            quantity, unit_price = int(row["Quantity"]), Decimal(row["UnitPrice"])
            if quantity > 0 and unit_price > 0:
                invoiced_at = invoiced_at or _time(row["InvoiceDate"])
                lines.append(BasketLine(row["StockCode"], row["Description"], quantity, unit_price))
        except (ValueError, InvalidOperation) as fault:
            raise RetailFileError(f"{path}: line {number}: {fault}") from fault
    return Basket(invoice, invoiced_at, tuple(lines)) if invoiced_at else None


def _time(text: str) -> datetime:
    # The shop's time of day has no zone in the file; only the distances between invoices matter.
    return datetime.strptime(text, "%d/%m/%Y %H:%M").replace(tzinfo=UTC)


def _usual_price(counts: Counter[Decimal]) -> Decimal:
    return min(counts, key=lambda price: (-counts[price], price))


def _usual_name(counts: Counter[str]) -> str:
    return min(counts, key=lambda name: (-counts[name], name.encode()))


def _pence(price: Decimal) -> int:
    return int((price * 100).quantize(Decimal(1), ROUND_HALF_UP))
