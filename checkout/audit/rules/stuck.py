from __future__ import annotations

from collections.abc import Iterator

from checkout.audit.finding import Bounds, Finding
from checkout.audit.remedies import run_again
from checkout.ports.books import Entry


def stuck(entry: Entry, bounds: Bounds) -> Iterator[Finding]:
    """An order in flight shows a sign of life within its bound, unless a worker has it or it waits for a person."""
    if entry.order is None or entry.seen_ms is None or entry.is_set_aside or entry.lease_until_ms > entry.now_ms:
        return
    idle_ms = entry.now_ms - entry.seen_ms
    if idle_ms > bounds.order_ms:
        facts = f", with {len(entry.order.facts)} facts to apply" if entry.order.facts else ""
        detail = f"in flight without a sign of life for {idle_ms // 1000:,} s{facts}"
        yield Finding("stuck", "order", entry.id, detail, run_again(entry.order))
