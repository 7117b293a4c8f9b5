"""The orders in flight in Redis or Valkey: a sorted set for each partition, written by the scripts that change orders."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from typing import Final

from cart.ids import partition_of
from cart.model import OrderId
from checkout.order import Order
from checkout.ports.outbox import OutboxEntry
from checkout.stored import ALL_PARTITIONS, in_flight_key, order_key, outbox_key
from store import Lease, Script, Store

LEASE_KEY: Final = "in-flight:finder"
# Longer than the interval of the finder.
LEASE_MS: Final = 60_000
# With so many messages in the outbox of a partition, the queue is away.
MAX_OUTBOX: Final = 1000

STALLED: Final = Script.from_package("checkout.redis", "scripts/stalled.lua")
SEND_AGAIN: Final = Script.from_package("checkout.redis", "scripts/send_again.lua")


class RedisInFlight:
    """`InFlight` on a store. One process at a time has the lease of the finder, which expires after `lease_ms`."""

    def __init__(self, store: Store, *, lease_ms: int = LEASE_MS) -> None:
        self._store = store
        self._lease = Lease(store, LEASE_KEY, ttl_ms=lease_ms)

    async def stalled(self, *, idle_s: float, limit: int) -> Sequence[OrderId]:
        """See `InFlight.stalled`. Returns none while another process has the lease."""
        if not await self._lease.acquire():
            return []
        replies = await asyncio.gather(
            *(self._store.run(STALLED, [in_flight_key(each)], [_ms(idle_s), limit]) for each in ALL_PARTITIONS)
        )
        found = itertools.islice(itertools.chain.from_iterable(replies), limit)
        return [OrderId(order_id.decode()) for order_id in found]

    async def send_again(self, order: Order, message: bytes, *, idle_s: float) -> OutboxEntry | None:
        """See `InFlight.send_again`."""
        partition = partition_of(order.id)
        keys = [in_flight_key(partition), order_key(order.id), outbox_key(partition)]
        entry_id = await self._store.run(SEND_AGAIN, keys, [order.id, _ms(idle_s), message, MAX_OUTBOX])
        return None if entry_id is None else OutboxEntry(partition, entry_id.decode(), order.id, message)

    async def remove(self, order_id: OrderId) -> None:
        """See `InFlight.remove`."""
        await self._store.execute("ZREM", in_flight_key(partition_of(order_id)), order_id)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
