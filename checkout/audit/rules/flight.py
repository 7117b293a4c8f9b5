from __future__ import annotations

from collections.abc import Iterator

from checkout.audit.finding import Bounds, Finding
from checkout.audit.remedies import run_again
from checkout.ports.books import Entry


def flight(entry: Entry, _bounds: Bounds) -> Iterator[Finding]:
    """An order is in flight, set aside, or finished at its end: accepted = ended + in flight + set aside."""
    order = entry.order
    if order is None or entry.seen_ms is not None or entry.is_set_aside:
        return
    remedy = run_again(order)
    if order.facts:
        yield Finding("flight", "order", entry.id, "facts wait to be applied, and it is not in flight", remedy)
    elif not order.status.has_ended:
        yield Finding("flight", "order", entry.id, f"it is {order.status}, neither in flight nor set aside", remedy)
    elif not entry.is_finished and order.workflow:
        yield Finding("flight", "order", entry.id, f"it is {order.status}, and not among those that ended", remedy)
