"""Deletes the carts of a shopper in memory, for tests."""

from __future__ import annotations

from cart.memory import MemoryCarts
from cart.model import CartId


class MemoryCartErasure:
    """`cart.ports.CartErasure` of `MemoryCarts`."""

    def __init__(self, carts: MemoryCarts) -> None:
        self._carts = carts

    async def delete(self, cart_id: CartId) -> bool:
        """See `CartErasure.delete`."""
        return self._carts.by_id.pop(cart_id, None) is not None

    async def delete_all_of(self, owner: str) -> int:
        """See `CartErasure.delete_all_of`."""
        self._carts.own_ids.pop(owner, None)
        found = [cart.id for cart in self._carts.by_id.values() if cart.owner == owner]
        return sum([await self.delete(cart_id) for cart_id in found])
