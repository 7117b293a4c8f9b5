"""Messages and claims that wait: none for longer than its bound."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from checkout.audit.finding import Bounds, Finding
from checkout.ports.books import Waiting


def outbox(waiting: Iterable[Waiting], bounds: Bounds) -> Iterator[Finding]:
    """The queue gets every message within its bound."""
    for each in waiting:
        if each.waits_ms > bounds.outbox_ms:
            detail = f"its message has waited in the outbox for {each.waits_ms // 1000:,} s"
            yield Finding(
                "outbox", "outbox", each.name, detail, "see that the queue can be reached, and a gateway runs"
            )


def claim(waiting: Iterable[Waiting], bounds: Bounds) -> Iterator[Finding]:
    """A claim is committed, released or swept within its bound."""
    for each in waiting:
        if each.waits_ms > bounds.claim_ms:
            detail = f"its checkout has been open for {each.waits_ms // 1000:,} s"
            yield Finding("claim", "claim", each.name, detail, "see that a gateway runs: its sweeper closes the claim")
