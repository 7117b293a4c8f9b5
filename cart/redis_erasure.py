"""Deletes the carts of a shopper from Redis or Valkey."""

from __future__ import annotations

import asyncio
from typing import Final

from cart.ids import parse_cart_id
from cart.model import CartId
from cart.stored import cart_key, keys_key, own_cart_key
from store import Store

# Keys that one step of a scan looks at.
PAGE: Final = 1000


class RedisCartErasure:
    """`cart.ports.CartErasure` on a store."""

    def __init__(self, store: Store, *, page: int = PAGE) -> None:
        self._store = store
        self._page = page

    async def delete(self, cart_id: CartId) -> bool:
        """See `CartErasure.delete`."""
        return bool(await self._store.execute("UNLINK", cart_key(cart_id), keys_key(cart_id)))

    async def delete_all_of(self, owner: str) -> int:
        """See `CartErasure.delete_all_of`. Looks at every key of the store."""
        await self._store.execute("UNLINK", own_cart_key(owner))
        cursor, deleted = "0", 0
        while True:
            found = await self._store.execute("SCAN", cursor, "MATCH", "{??}c:*", "COUNT", self._page)
            cursor, keys = found[0].decode(), [key.decode() for key in found[1]]
            owners = await asyncio.gather(*(self._store.execute("HGET", key, "\1w") for key in keys))
            for key, found_owner in zip(keys, owners, strict=True):
                cart_id = parse_cart_id(key.rpartition(":")[2])
                if cart_id is not None and found_owner == owner.encode(errors="surrogatepass"):
                    deleted += await self.delete(cart_id)
            if cursor == "0":
                return deleted
