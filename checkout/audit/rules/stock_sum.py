"""The units of a SKU, added up."""

from __future__ import annotations

from collections.abc import Iterator

from checkout.audit.finding import Bounds, Finding
from checkout.audit.remedies import count
from checkout.ports.books import StockRecord


def stock_sum(record: StockRecord, _bounds: Bounds) -> Iterator[Finding]:
    """Units for sale are those imported and adjusted, less those sold and held."""
    book = record.book
    if book is None or (book.available < 0 and not record.is_sold_ahead):
        return  # the rule `stock` names fewer units than none
    if book.available != book.expected:
        detail = (
            f"{book.available} units are for sale, and {book.imported} imported + {book.adjusted} adjusted "
            f"- {book.sold} sold - {book.held} held = {book.expected}"
        )
        yield Finding("stock_sum", "sku", record.sku, detail, count(record.sku))
