from __future__ import annotations

from collections.abc import Iterator

from checkout.audit.finding import Bounds, Finding
from checkout.audit.remedies import run_again
from checkout.order import Order
from checkout.order_status import OrderStatus
from checkout.ports.books import Entry


def holds(entry: Entry, _bounds: Bounds) -> Iterator[Finding]:
    """An order holds its lines, and a use of a coupon, until it has ended: sold from `stock_confirmed` on. A finished one holds nothing."""
    order = entry.order
    if order is None:
        return
    if not order.status.has_ended:
        remedy = f"peakgate orders cancel {entry.id}"
        for detail in _missing(order, entry):
            yield Finding("holds", "order", entry.id, detail, remedy)
    elif entry.seen_ms is None and entry.is_finished:
        for sku in entry.holds:
            detail = f"it is {order.status}, and still holds {entry.holds[sku].quantity} of {sku}"
            yield Finding("holds", "order", entry.id, detail, run_again(order))


def _missing(order: Order, entry: Entry) -> Iterator[str]:
    for line in order.held:
        hold = entry.holds.get(line.sku)
        if hold is None:
            yield f"it holds nothing of {line.sku}, of which it has {line.quantity}"
        elif hold.quantity != line.quantity:
            yield f"it holds {hold.quantity} of {line.sku}, of which it has {line.quantity}"
        elif hold.until_ms is not None and order.status is not OrderStatus.ACCEPTED:
            yield f"it is {order.status}, and its hold of {line.sku} is not sold"
