"""An event outbox in memory, for tests."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from typing import Final

from cart.ids import partition_of
from cart.model import OrderId
from checkout.ports.events import EventBacklog, EventEntry

CLAIM_S: Final = 10.0
PAGE: Final = 100


class MemoryEvents:
    """The entries of one sink, which several outboxes read as several processes would; `clock` gives seconds."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.entries: dict[str, EventEntry] = {}
        self.written_at: dict[str, float] = {}
        # The holder of each claimed partition, and when the claim expires.
        self.claims: dict[str, tuple[object, float]] = {}
        self._numbers = itertools.count(1)

    def append(self, order_id: OrderId, number: int) -> None:
        """Add event `number` of an order, as the change of an order does."""
        entry = EventEntry(partition_of(order_id), f"{next(self._numbers)}-0", order_id, number)
        self.entries[entry.entry_id] = entry
        self.written_at[entry.entry_id] = self.clock()


class MemoryEventOutbox:
    """`EventOutbox` of one process. No call awaits, so each is one atomic change."""

    def __init__(self, events: MemoryEvents, *, claim_s: float = CLAIM_S, page: int = PAGE) -> None:
        self._events = events
        self._claim_s = claim_s
        self._page = page

    async def claim(self, partition: str) -> Sequence[EventEntry] | None:
        """See `EventOutbox.claim`."""
        return await self.proceed(partition, ())

    async def proceed(
        self, partition: str, taken: Sequence[EventEntry], *, after: EventEntry | None = None
    ) -> Sequence[EventEntry] | None:
        """See `EventOutbox.proceed`."""
        for entry in taken:
            self._events.entries.pop(entry.entry_id, None)
        now = self._events.clock()
        holder, until = self._events.claims.get(partition, (self, 0.0))
        if holder is not self and until > now:
            return None
        entries = [
            entry
            for entry in self._events.entries.values()
            if entry.partition == partition and (after is None or _sequence(entry) > _sequence(after))
        ][: self._page]
        if entries:
            self._events.claims[partition] = (self, now + self._claim_s)
        else:
            self._events.claims.pop(partition, None)
        return entries

    async def release(self, partition: str) -> None:
        """See `EventOutbox.release`."""
        if self._events.claims.get(partition, (None, 0.0))[0] is self:
            del self._events.claims[partition]

    async def backlog(self) -> Sequence[EventBacklog]:
        """See `EventOutbox.backlog`."""
        waiting: dict[str, list[EventEntry]] = {}
        for entry in self._events.entries.values():
            waiting.setdefault(entry.partition, []).append(entry)
        now = self._events.clock()
        return [
            EventBacklog(partition, len(entries), now - self._events.written_at[entries[0].entry_id])
            for partition, entries in waiting.items()
        ]


def _sequence(entry: EventEntry) -> int:
    return int(entry.entry_id.partition("-")[0])
