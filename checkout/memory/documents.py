"""The documents of orders in memory, for tests: plain, as the orders beside them are."""

from __future__ import annotations

import itertools

import msgspec

from cart.ids import parse_order_id
from cart.model import OrderId
from checkout.memory.orders import MemoryOrders
from checkout.order import Order
from checkout.ports.documents import DocumentPage, StoredDocument
from checkout.stored import decode_order, encode_order

PAGE = 3


class MemoryDocuments:
    """`OrderDocuments` of `MemoryOrders`. A page has up to three documents."""

    def __init__(self, orders: MemoryOrders) -> None:
        self._orders = orders

    async def page(self, cursor: str | None = None) -> DocumentPage:
        """See `OrderDocuments.page`."""
        if cursor is not None and parse_order_id(cursor) is None:
            raise ValueError("the cursor is not that of a scan")
        behind = [order_id for order_id in sorted(self._orders.orders) if order_id > (cursor or "")]
        ids = list(itertools.islice(behind, PAGE))
        documents = [StoredDocument(each, encode_order(self._orders.orders[each].order.as_accepted())) for each in ids]
        return DocumentPage(documents, ids[-1] if len(behind) > PAGE else None)

    async def read(self, order_id: OrderId) -> bytes | None:
        """See `OrderDocuments.read`."""
        receipt = self._orders.orders.get(order_id)
        return None if receipt is None else encode_order(receipt.order.as_accepted())

    async def replace(self, order_id: OrderId, before: bytes, after: bytes) -> bool:
        """See `OrderDocuments.replace`."""
        if await self.read(order_id) != before:
            return False
        receipt, new = self._orders.orders[order_id], decode_order(after, None)
        order = msgspec.structs.replace(
            receipt.order,
            email=new.email,
            shipping_address=new.shipping_address,
            payment_token=new.payment_token,
            owner=new.owner,
            erased_at=new.erased_at,
        )
        self._orders.orders[order_id] = msgspec.structs.replace(receipt, order=order)
        return True

    async def erase(self, order: Order, before: bytes, after: bytes) -> bool:
        """See `OrderDocuments.erase`."""
        receipt = self._orders.orders[order.id]
        if order.id in self._orders.in_flight or receipt.order.facts or receipt.order.revision != order.revision:
            return False
        if not await self.replace(order.id, before, after):
            return False
        receipt = self._orders.orders[order.id]
        shipment = receipt.order.shipment
        without = msgspec.structs.replace(receipt.order, shipment=shipment and shipment.without_tracking())
        self._orders.orders[order.id] = msgspec.structs.replace(receipt, order=without, key_hash="", fingerprint="")
        return True
