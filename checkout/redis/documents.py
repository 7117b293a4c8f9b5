"""The documents of orders in Redis or Valkey."""

from __future__ import annotations

import asyncio
import re
from typing import Final

from cart.ids import parse_order_id, partition_of
from cart.model import OrderId
from checkout.order import Order
from checkout.ports.documents import DocumentPage, StoredDocument
from checkout.redis.agent_sessions import session_key
from checkout.stored import encode_state, in_flight_key, order_key, without_tracking
from store import Script, Store

# Keys that one step of a scan looks at.
PAGE: Final = 500
# On a cluster a scan's cursor names the server that it belongs to.
_CURSOR: Final = re.compile(r"[0-9]+(@[^@\s]+:[0-9]+)?")
REPLACE: Final = Script.from_package("checkout.redis", "scripts/replace_document.lua")
ERASE: Final = Script.from_package("checkout.redis", "scripts/erase.lua")


class RedisDocuments:
    """`OrderDocuments` on a store."""

    def __init__(self, store: Store, *, page: int = PAGE) -> None:
        self._store = store
        self._page = page

    async def page(self, cursor: str | None = None) -> DocumentPage:
        """See `OrderDocuments.page`."""
        if cursor is not None and _CURSOR.fullmatch(cursor) is None:
            raise ValueError("the cursor is not that of a scan")
        found = await self._store.execute("SCAN", cursor or "0", "MATCH", "{??}o:*", "COUNT", self._page)
        following, keys = found[0].decode(), [key.decode() for key in found[1]]
        ids = [order_id for key in keys if (order_id := parse_order_id(key.rpartition(":")[2])) is not None]
        documents = await asyncio.gather(*map(self.read, ids))
        return DocumentPage(
            [StoredDocument(*pair) for pair in zip(ids, documents, strict=True) if pair[1] is not None],  # type: ignore[arg-type]
            None if following == "0" else following,
        )

    async def read(self, order_id: OrderId) -> bytes | None:
        """See `OrderDocuments.read`."""
        document: bytes | None = await self._store.execute("HGET", order_key(order_id), "doc")
        return document

    async def replace(self, order_id: OrderId, before: bytes, after: bytes) -> bool:
        """See `OrderDocuments.replace`."""
        return bool(await self._store.run(REPLACE, [order_key(order_id)], [before, after]))

    async def erase(self, order: Order, before: bytes, after: bytes) -> bool:
        """See `OrderDocuments.erase`."""
        keys = [order_key(order.id), in_flight_key(partition_of(order.id)), session_key(order.cart_id)]
        return bool(
            await self._store.run(
                ERASE, keys, [order.id, order.revision, before, after, _state_without_tracking(order)]
            )
        )


def _state_without_tracking(order: Order) -> bytes:
    """The state to store; empty where it stays."""
    return b"" if order.shipment is None else without_tracking(encode_state(order))
