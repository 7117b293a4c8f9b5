"""The stock of a SKU, and holds without an order."""

from __future__ import annotations

from collections.abc import Iterator

from checkout.audit.finding import Bounds, Finding
from checkout.audit.remedies import count, restore
from checkout.ports.books import StockRecord


def stock(record: StockRecord, _bounds: Bounds) -> Iterator[Finding]:
    """The available units are a number, and not below zero unless the product is sold ahead."""
    if record.available is None:
        return  # a SKU that left the catalogue
    units = record.available.removeprefix("-") if record.is_sold_ahead else record.available
    if not units.isdecimal():
        detail = f"its available stock is {record.available}"
        yield Finding("stock", "sku", record.sku, detail, count(record.sku))


def stray_hold(record: StockRecord, bounds: Bounds) -> Iterator[Finding]:
    """Only orders hold stock, and for a time checkouts: no sale is without an order, and no hold outlives its bound."""
    for order_id, hold in record.strays.items():
        if hold.until_ms is None or record.now_ms - hold.until_ms > bounds.hold_ms:
            detail = f"{hold.quantity} units are {'sold' if hold.until_ms is None else 'held'} for {order_id}, which is no order"
            yield Finding("stray_hold", "sku", record.sku, detail, restore(order_id), part=order_id)
