from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from checkout.audit.finding import Bounds, Finding
from checkout.audit.remedies import show
from checkout.order import Order
from checkout.order_status import OrderStatus, may_move
from checkout.ports.books import Entry


def history(entry: Entry, _bounds: Bounds) -> Iterator[Finding]:
    """The history of an order begins with `accepted`, has existing transitions only, in time, and ends with its status."""
    if entry.order is None:
        return
    for detail in _faults(entry.order, entry.status):
        yield Finding("history", "order", entry.id, detail, show(entry.id))


def _faults(order: Order, status: str) -> Iterator[str]:
    if status != order.status:
        yield f"its record says {order.status}, its index field {status or 'nothing'}"
    entries = order.history
    if not entries or entries[0].status is not OrderStatus.ACCEPTED:
        yield "its history does not begin with accepted"
    elif entries[-1].status is not order.status:
        yield f"it is {order.status}, and its history ends with {entries[-1].status}"
    for before, after in pairwise(entries):
        if before.status is not after.status and not may_move(before.status, after.status):
            yield f"its history goes from {before.status} to {after.status}"
        if after.at < before.at:
            yield f"its history goes back in time at {after.status}"
    if (order.reason is not None) != (order.status is OrderStatus.CANCELLED):
        yield "a cancelled order has a reason, and no other has"
