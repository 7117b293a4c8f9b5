from __future__ import annotations

from collections.abc import Iterator

from checkout.audit.finding import Bounds, Finding
from checkout.audit.remedies import move
from checkout.ports.books import Entry


def listing(entry: Entry, _bounds: Bounds) -> Iterator[Finding]:
    """An order is in the list of its status, and in no other. Orders from before there were lists may be in none."""
    order = entry.order
    if order is None or (not order.workflow and not entry.listed):
        return
    if entry.listed != (order.status,):
        listed = ", ".join(entry.listed) or "no status"
        remedy = move(order, entry.listed)
        yield Finding("listing", "order", entry.id, f"it is {order.status}, and listed under {listed}", remedy)
