"""The outbox in Redis or Valkey: a stream for each partition, written by the scripts that commit and cancel orders."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from cart.model import OrderId
from checkout.ports.outbox import OutboxEntry
from checkout.stored import ALL_PARTITIONS, outbox_key
from store import Lease, Store

LEASE_KEY: Final = "outbox:sweeper"


class RedisOutbox:
    """`Outbox` on a store. The times of entries are the server's.

    One process at a time has the lease of the sweep, so that after an outage of the queue not every process sends the
    same entries. The lease expires when its holder has not swept for `lease_ms`.
    """

    def __init__(self, store: Store, *, lease_ms: int = 5_000) -> None:
        self._store = store
        self._lease = Lease(store, LEASE_KEY, ttl_ms=lease_ms)

    async def unsent(self, *, before_ms: int, per_partition: int) -> Sequence[OutboxEntry]:
        """See `Outbox.unsent`. Returns none while another process has the lease."""
        if not await self._lease.acquire():
            return []
        replies = await asyncio.gather(
            *(
                self._store.execute("XRANGE", outbox_key(partition), "-", f"({before_ms}-0", "COUNT", per_partition)
                for partition in ALL_PARTITIONS
            )
        )
        return [
            OutboxEntry(partition, entry_id.decode(), OrderId(fields[1].decode()), fields[3])
            for partition, entries in zip(ALL_PARTITIONS, replies, strict=True)
            for entry_id, fields in entries
        ]

    async def mark_sent(self, entries: Sequence[OutboxEntry]) -> None:
        """See `Outbox.mark_sent`."""
        by_partition: dict[str, list[str]] = {}
        for entry in entries:
            by_partition.setdefault(entry.partition, []).append(entry.entry_id)
        await asyncio.gather(
            *(self._store.execute("XDEL", outbox_key(partition), *ids) for partition, ids in by_partition.items())
        )
