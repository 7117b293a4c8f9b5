from __future__ import annotations

from collections.abc import Iterator

from checkout.audit.finding import Bounds, Finding
from checkout.audit.remedies import restore
from checkout.ports.books import Entry


def document(entry: Entry, _bounds: Bounds) -> Iterator[Finding]:
    """Every order that a list names is in the store, and can be read."""
    remedy = restore(entry.id)
    if entry.fault is not None:
        yield Finding("document", "order", entry.id, f"its record cannot be read: {entry.fault}", remedy)
    elif entry.order is None and entry.is_named:
        yield Finding("document", "order", entry.id, "lists name it, and the store does not have it", remedy)
    elif entry.order is not None and entry.order.id != entry.id:
        yield Finding("document", "order", entry.id, f"its record is that of order {entry.order.id}", remedy)
