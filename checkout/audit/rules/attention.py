from __future__ import annotations

from collections.abc import Iterator

from checkout.audit.finding import Bounds, Finding
from checkout.audit.remedies import run_again
from checkout.ports.books import Entry


def attention(entry: Entry, _bounds: Bounds) -> Iterator[Finding]:
    """An order that was set aside is among those that need attention, and the reverse."""
    if entry.order is None or (entry.aside is not None) == entry.needs_attention:
        return
    if entry.needs_attention:
        yield Finding(
            "attention",
            "order",
            entry.id,
            "it needs attention, and was not set aside",
            f"peakgate orders retry {entry.id}",
        )
    else:
        remedy = run_again(entry.order)
        yield Finding(
            "attention", "order", entry.id, "it was set aside, and no list says that it needs attention", remedy
        )
