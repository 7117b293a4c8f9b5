"""The records of orders in memory, for tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from cart.model import OrderId
from cart.timestamps import unix_ms
from checkout.archive.archived import Records, fields_of
from checkout.memory.orders import MemoryOrders
from checkout.order import Order
from checkout.ports.archive import ArchivedOrder
from checkout.ports.order_index import OrderIndex
from checkout.ports.orders import Receipt
from checkout.ports.records import NONE_KNOWN, StoredRecord
from checkout.stored import encode_fact, encode_order, encode_state


class MemoryOrderRecords:
    """`OrderRecords` of `MemoryOrders`."""

    def __init__(
        self, orders: MemoryOrders, records: Records, index: OrderIndex, *, clock_ms: Callable[[], int] = unix_ms
    ) -> None:
        self._orders = orders
        self._records = records
        self._index = index
        self._clock_ms = clock_ms

    async def read(
        self, order_ids: Sequence[OrderId], *, known: Mapping[OrderId, Order] = NONE_KNOWN
    ) -> Sequence[StoredRecord]:
        """See `OrderRecords.read`."""
        receipts = [self._orders.orders[each] for each in order_ids if each in self._orders.orders]
        return [
            StoredRecord(*await self._records.of_fields(_fields(receipt), known.get(receipt.order.id)))
            for receipt in receipts
        ]

    async def ended(self, *, for_ms: int, limit: int) -> Sequence[OrderId]:
        """See `OrderRecords.ended`."""
        before = self._clock_ms() - for_ms
        return [order_id for order_id, at in self._orders.ended.items() if at <= before][:limit]

    async def delete(self, order: Order) -> bool:
        """See `OrderRecords.delete`."""
        stored = self._orders.orders[order.id].order
        if stored.revision != order.revision or stored.facts or order.id in self._orders.in_flight:
            await self.postpone(order.id)
            return False
        del self._orders.orders[order.id]
        del self._orders.ended[order.id]
        await self._index.leave(order)
        return True

    async def postpone(self, order_id: OrderId) -> None:
        """See `OrderRecords.postpone`."""
        self._orders.ended.pop(order_id, None)
        if order_id in self._orders.orders:
            self._orders.ended[order_id] = self._clock_ms()

    async def restore(self, record: ArchivedOrder, message: bytes) -> bool:
        """See `OrderRecords.restore`."""
        order = await self._records.order(record)
        await self._index.enter(order)
        stored = self._orders.orders.get(record.id)
        if stored is not None and stored.order.revision >= record.revision:
            return False
        fields = fields_of(record)
        self._orders.orders[record.id] = Receipt(
            order, fields["key"].decode(), fields["body"].decode(), is_durable=True
        )
        if order.status.has_ended and not order.facts:
            self._orders.in_flight.pop(order.id, None)
            self._orders.ended[order.id] = record.updated_at
        else:
            self._orders.ended.pop(order.id, None)
            self._orders.in_flight[order.id] = self._clock_ms()
            self._orders.post(order.id, message)
        return True


def _fields(receipt: Receipt) -> dict[str, bytes]:
    order = receipt.order
    fields = {
        "doc": encode_order(msgspec.structs.replace(order.as_accepted(), shipment=None)),
        "status": order.status.value.encode(),
        "key": receipt.key_hash.encode(),
        "body": receipt.fingerprint.encode(),
    }
    if order.revision > 1:
        fields |= {"state": encode_state(order), "revision": str(order.revision).encode()}
    if order.facts:
        fields["facts"] = b"\n".join(b"%b %b" % (fact.id.encode(), encode_fact(fact)) for fact in order.facts)
    return fields
