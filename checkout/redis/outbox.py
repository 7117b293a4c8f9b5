"""The outbox in Redis or Valkey: a stream for each partition, written by the scripts that commit and cancel orders."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Final, TypeVar

from cart.ids import partition_of
from cart.model import OrderId
from checkout.ports.outbox import OutboxBacklog, OutboxEntry
from checkout.stored import ALL_PARTITIONS, in_flight_key, outbox_key
from store import Lease, Script, Store

T = TypeVar("T")

UNSENT: Final = Script.from_package("checkout.redis", "scripts/unsent.lua")
MARK_SENT: Final = Script.from_package("checkout.redis", "scripts/mark_sent.lua")
LEASE_KEY: Final = "outbox:sweeper"
# Of one script call, during which the server does nothing else.
MAX_SLOTS: Final = 64
# Entries of one look for a message.
PAGE: Final = 500


class RedisOutbox:
    """`Outbox` on a store.

    One process at a time has the lease of the sweep, so that after an outage of the queue not every process sends the
    same entries. The lease expires when its holder has not swept for `lease_ms`.

    A call is about `slots_per_call` partitions or entries. They are in different slots, so on a cluster it is 1.
    """

    def __init__(self, store: Store, *, lease_ms: int = 5_000, slots_per_call: int = MAX_SLOTS) -> None:
        self._store = store
        self._slots_per_call = slots_per_call
        self._lease = Lease(store, LEASE_KEY, ttl_ms=lease_ms)

    async def unsent(self, *, per_partition: int) -> Sequence[OutboxEntry]:
        """See `Outbox.unsent`. Returns none while another process has the lease."""
        if not await self._lease.acquire():
            return []
        replies = await asyncio.gather(
            *(
                self._store.run(UNSENT, [outbox_key(partition) for partition in part], [per_partition])
                for part in self._parts(ALL_PARTITIONS)
            )
        )
        return [
            OutboxEntry(partition, entry_id.decode(), OrderId(fields[1].decode()), fields[3])
            for part, outboxes in zip(self._parts(ALL_PARTITIONS), replies, strict=True)
            for partition, entries in zip(part, outboxes, strict=True)
            for entry_id, fields in entries
        ]

    async def backlog(self) -> OutboxBacklog:
        """See `OutboxGauge.backlog`."""
        lengths = await asyncio.gather(*(self._store.execute("XLEN", outbox_key(each)) for each in ALL_PARTITIONS))
        waiting = [each for each, length in zip(ALL_PARTITIONS, lengths, strict=True) if length]
        if not waiting:
            return OutboxBacklog()
        (seconds, microseconds), *firsts = await asyncio.gather(
            self._store.execute("TIME"),
            *(self._store.execute("XRANGE", outbox_key(each), "-", "+", "COUNT", 1) for each in waiting),
        )
        oldest_ms = min((int(entries[0][0].partition(b"-")[0]) for entries in firsts if entries), default=None)
        now_ms = int(seconds) * 1000 + int(microseconds) // 1000
        age_s = 0.0 if oldest_ms is None else max(0, now_ms - oldest_ms) / 1000
        return OutboxBacklog(sum(lengths), age_s)

    async def has_message_of(self, order_id: OrderId) -> bool:
        """See `WaitingMessages.has_message_of`."""
        key, start = outbox_key(partition_of(order_id)), "-"
        while entries := await self._store.execute("XRANGE", key, start, "+", "COUNT", PAGE):
            if any(fields[1] == order_id.encode() for _, fields in entries):
                return True
            start = f"({entries[-1][0].decode()}"
        return False

    async def mark_sent(self, entries: Sequence[OutboxEntry]) -> None:
        """See `Outbox.mark_sent`."""
        calls = [self._mark(part) for part in self._parts(entries)]
        if len(calls) == 1:
            await calls[0]
        else:
            await asyncio.gather(*calls)

    def _parts(self, several: Sequence[T]) -> list[Sequence[T]]:
        """The part of each call."""
        return [several[first : first + self._slots_per_call] for first in range(0, len(several), self._slots_per_call)]

    def _mark(self, entries: Sequence[OutboxEntry]) -> Awaitable[object]:
        keys: list[str] = []
        ids: list[str] = []
        for entry in entries:
            keys += (outbox_key(entry.partition), in_flight_key(entry.partition))
            ids += (entry.entry_id, entry.order_id)
        return self._store.run(MARK_SENT, keys, ids)
