"""The outbox in Redis or Valkey: a stream per partition, written by the scripts that commit and cancel orders."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from cart.model import OrderId
from checkout.ports.outbox import OutboxEntry
from checkout.redis_turn import RedisTurn
from checkout.stored import ALL_PARTITIONS, outbox_key
from store import Store

TURN_KEY: Final = "outbox:sweeper"


class RedisOutbox:
    """`Outbox` on a store. Entries carry the time of the server that wrote them.

    One process has the turn of sweeping, until it has not sweep for `turn_ms`: else every process would send again what
    a queue that was away left in the outbox.
    """

    def __init__(self, store: Store, *, turn_ms: int = 5_000) -> None:
        self._store = store
        self._turn = RedisTurn(store, TURN_KEY, turn_ms=turn_ms)

    async def unsent(self, *, before_ms: int, per_partition: int) -> Sequence[OutboxEntry]:
        """See `Outbox.unsent`. None while another process has the turn."""
        if not await self._turn.take():
            return []
        found = await asyncio.gather(
            *(
                self._store.execute("XRANGE", outbox_key(partition), "-", f"({before_ms}-0", "COUNT", per_partition)
                for partition in ALL_PARTITIONS
            )
        )
        return [
            OutboxEntry(partition, entry_id.decode(), OrderId(fields[1].decode()), fields[3])
            for partition, entries in zip(ALL_PARTITIONS, found, strict=True)
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
