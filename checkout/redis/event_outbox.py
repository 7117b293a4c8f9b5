"""An event outbox in Redis or Valkey: a stream for each partition, written by the scripts that change orders."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from typing import Any, Final

from cart.model import OrderId
from checkout.ports.events import EventBacklog, EventEntry
from checkout.stored import ALL_PARTITIONS, event_claim_key, events_key
from store import Lease, Script, Store

# Longer than a relay gives its sink. A killed process delays the events of the partitions that it had claimed by it.
CLAIM_MS: Final = 10_000
PAGE: Final = 100
# Longer than the interval of the sweep.
LEASE_MS: Final = 5_000

CLAIM: Final = Script.from_package("checkout.redis", "scripts/claim_events.lua")
RELEASE: Final = Script.from_package("checkout.redis", "scripts/release_events.lua")


class RedisEventOutbox:
    """`EventOutbox` of the sink `sink` on a store. One process at a time has the lease of the sweep."""

    def __init__(
        self, store: Store, sink: str, *, claim_ms: int = CLAIM_MS, lease_ms: int = LEASE_MS, page: int = PAGE
    ) -> None:
        self._store = store
        self._sink = sink
        self._claim_ms = claim_ms
        self._page = page
        self._holder = secrets.token_hex(8)
        self._lease = Lease(store, f"events:{sink}:sweeper", ttl_ms=lease_ms)

    async def claim(self, partition: str) -> Sequence[EventEntry] | None:
        """See `EventOutbox.claim`."""
        return await self.proceed(partition, ())

    async def proceed(
        self, partition: str, taken: Sequence[EventEntry], *, after: EventEntry | None = None
    ) -> Sequence[EventEntry] | None:
        """See `EventOutbox.proceed`."""
        entries = await self._store.run(
            CLAIM,
            self._keys(partition),
            [
                self._holder,
                self._claim_ms,
                self._page,
                "" if after is None else after.entry_id,
                *(entry.entry_id for entry in taken),
            ],
        )
        return None if entries is None else [_entry(partition, *each) for each in entries]

    async def release(self, partition: str) -> None:
        """See `EventOutbox.release`."""
        await self._store.run(RELEASE, self._keys(partition)[1:], [self._holder])

    async def backlog(self) -> Sequence[EventBacklog]:
        """See `EventOutbox.backlog`. Returns none while another process has the lease."""
        if not await self._lease.acquire():
            return []
        lengths = await asyncio.gather(
            *(self._store.execute("XLEN", events_key(partition, self._sink)) for partition in ALL_PARTITIONS)
        )
        waiting = {partition: length for partition, length in zip(ALL_PARTITIONS, lengths, strict=True) if length}
        return await asyncio.gather(*(self._backlog_of(partition, length) for partition, length in waiting.items()))

    async def _backlog_of(self, partition: str, waiting: int) -> EventBacklog:
        oldest, (seconds, micros) = await asyncio.gather(
            self._store.execute("XRANGE", events_key(partition, self._sink), "-", "+", "COUNT", 1),
            self._store.execute("TIME"),
        )
        now_ms = int(seconds) * 1000 + int(micros) // 1000
        oldest_ms = int(oldest[0][0].partition(b"-")[0]) if oldest else now_ms
        return EventBacklog(partition, waiting, max(now_ms - oldest_ms, 0) / 1000)

    def _keys(self, partition: str) -> list[str]:
        return [events_key(partition, self._sink), event_claim_key(partition, self._sink)]


def _entry(partition: str, entry_id: bytes, fields: Sequence[Any]) -> EventEntry:
    return EventEntry(partition, entry_id.decode(), OrderId(fields[1].decode()), int(fields[3]))
