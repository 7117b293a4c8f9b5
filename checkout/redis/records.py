"""The records of orders in Redis or Valkey."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from typing import Final

from cart.ids import partition_of
from cart.model import OrderId
from checkout.archive.archived import Records, fields_of
from checkout.order import Order
from checkout.order_status import OrderStatus
from checkout.ports.archive import ArchivedOrder
from checkout.ports.order_index import OrderIndex
from checkout.ports.records import NONE_KNOWN, StoredRecord
from checkout.stored import (
    ALL_PARTITIONS,
    ended_key,
    in_flight_key,
    order_key,
    outbox_key,
    status_key,
)
from store import Lease, Script, Store

DELETE: Final = Script.from_package("checkout.redis", "scripts/delete_ended.lua")
ENDED_FOR: Final = Script.from_package("checkout.redis", "scripts/ended_for.lua")
POSTPONE: Final = Script.from_package("checkout.redis", "scripts/postpone.lua")
RESTORE: Final = Script.from_package("checkout.redis", "scripts/restore.lua")
LEASE_KEY: Final = "archive:sweeper"
LEASE_MS: Final = 60_000


class RedisOrderRecords:
    """`OrderRecords` on a store."""

    def __init__(self, store: Store, records: Records, index: OrderIndex, *, lease_ms: int = LEASE_MS) -> None:
        self._store = store
        self._records = records
        self._index = index
        self._lease = Lease(store, LEASE_KEY, ttl_ms=lease_ms)

    async def read(
        self, order_ids: Sequence[OrderId], *, known: Mapping[OrderId, Order] = NONE_KNOWN
    ) -> Sequence[StoredRecord]:
        """See `OrderRecords.read`."""
        hashes = await asyncio.gather(*(self._store.execute("HGETALL", order_key(each)) for each in order_ids))
        # A hash without the document is that of no order.
        return [
            StoredRecord(
                *await self._records.of_fields(
                    {name.decode(): value for name, value in fields.items()}, known.get(order_id)
                )
            )
            for order_id, fields in zip(order_ids, hashes, strict=True)
            if b"doc" in fields
        ]

    async def ended(self, *, for_ms: int, limit: int) -> Sequence[OrderId]:
        """See `OrderRecords.ended`. Returns none while another process has the lease."""
        if not await self._lease.acquire():
            return []
        found = await asyncio.gather(
            *(self._store.run(ENDED_FOR, [ended_key(partition)], [for_ms, limit]) for partition in ALL_PARTITIONS)
        )
        return [OrderId(each.decode()) for each in itertools.chain.from_iterable(found)]

    async def delete(self, order: Order) -> bool:
        """See `OrderRecords.delete`."""
        # The index first: an order that is not in it is found in the archive, but an entry without an order stays for good.
        await self._index.leave(order)
        partition = partition_of(order.id)
        keys = [
            order_key(order.id),
            in_flight_key(partition),
            ended_key(partition),
            status_key(partition, order.status),
        ]
        if await self._store.run(DELETE, keys, [order.id, order.revision, order.status.value]):
            return True
        await self._index.enter(order)
        return False

    async def postpone(self, order_id: OrderId) -> None:
        """See `OrderRecords.postpone`."""
        partition = partition_of(order_id)
        await self._store.run(POSTPONE, [order_key(order_id), ended_key(partition)], [order_id])

    async def restore(self, record: ArchivedOrder, message: bytes) -> bool:
        """See `OrderRecords.restore`."""
        fields = fields_of(record)
        order = await self._records.order(record)
        partition = partition_of(record.id)
        is_to_continue = not order.status.has_ended or bool(order.facts)
        is_restored = await self._store.run(
            RESTORE,
            [
                order_key(record.id),
                in_flight_key(partition),
                ended_key(partition),
                outbox_key(partition),
                status_key(partition, order.status),
                *(status_key(partition, other) for other in OrderStatus if other is not order.status),
            ],
            [
                record.id,
                record.revision,
                int(is_to_continue),
                record.updated_at,
                message,
                *(part for name, value in fields.items() for part in (name, value)),
            ],
        )
        # Also of an order that is there: its entries may be lost.
        await self._index.enter(order)
        return bool(is_restored)
