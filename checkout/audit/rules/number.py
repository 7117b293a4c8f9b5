from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from checkout.audit.finding import Bounds, Finding
from checkout.audit.remedies import restore
from checkout.order_status import OrderStatus
from checkout.ports.books import Entry

_BEFORE: Final = frozenset({OrderStatus.ACCEPTED, OrderStatus.CANCELLED})


def number(entry: Entry, _bounds: Bounds) -> Iterator[Finding]:
    """An order is found by its number once its first step is done."""
    order = entry.order
    if order is None or entry.has_number:
        return
    if any(each.status not in _BEFORE for each in order.history):
        remedy = restore(entry.id)
        yield Finding("number", "order", entry.id, f"the number {order.number} does not lead to it", remedy)
