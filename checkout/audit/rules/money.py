from __future__ import annotations

from collections.abc import Iterator

from checkout.audit.finding import Bounds, Finding
from checkout.audit.remedies import show
from checkout.order import Order
from checkout.ports.books import Entry


def money(entry: Entry, _bounds: Bounds) -> Iterator[Finding]:
    """Lines have units and prices, discounts are those of the lines, no more is captured than the order's total, and no more refunded than captured."""
    if entry.order is None:
        return
    for detail in _faults(entry.order):
        yield Finding("money", "order", entry.id, detail, show(entry.id))


def _faults(order: Order) -> Iterator[str]:
    if not order.lines:
        yield "it has no lines"
    if any(line.quantity < 1 or line.unit_price < 0 for line in order.lines) or order.shipping < 0:
        yield "a quantity, a price or the shipping is out of range"
    if any(not 0 <= line.discount <= line.total for line in order.lines):
        yield "a discount of a line is out of range"
    off_lines, off_shipping = (
        sum(getattr(discount, part) for discount in order.discounts) for part in ("goods", "shipping")
    )
    if sum(line.discount for line in order.lines) != off_lines:
        yield f"the discounts of its lines are not the {off_lines} of its coupons"
    if not 0 <= off_shipping <= order.shipping:
        yield f"{off_shipping} off a shipping of {order.shipping}"
    paid = order.payment
    if paid is None:
        return
    if paid.refunded > paid.captured:
        yield f"{paid.refunded} refunded of {paid.captured} captured"
    if paid.captured > order.total:
        yield f"{paid.captured} captured of a total of {order.total}"
    if order.refunded > paid.refunded:
        yield f"its history has {order.refunded} refunded, its payment {paid.refunded}"
