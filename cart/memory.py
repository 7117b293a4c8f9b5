"""Carts in memory: for tests, and as the reference of the Redis adapter's scripts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from cart import changes
from cart.errors import CartClosed, CartNotFound, ForeignCurrency, VersionMismatch
from cart.model import Cart, CartId, Limits, Line, Sku, Strategy
from cart.ports import Write
from cart.timestamps import unix_ms


class MemoryCarts:
    """A `Carts` in a dict. Nothing here awaits, so every call is one atomic change.

    `by_id` and `replace` serve the fakes of other parts, such as a checkout that closes a cart.
    """

    def __init__(self, *, clock_ms: Callable[[], int] = unix_ms) -> None:
        self.by_id: dict[CartId, Cart] = {}
        self._expires_at: dict[CartId, float] = {}
        self._clock_ms = clock_ms

    async def create(self, cart: Cart, *, limits: Limits) -> None:
        """See `Carts.create`."""
        self._store(cart, limits)

    async def read(self, cart_id: CartId, *, owner: str | None = None) -> Cart:
        """See `Carts.read`."""
        return self._find(cart_id, owner)

    async def add_line(self, cart_id: CartId, line: Line, *, currency: str, write: Write) -> Cart:
        """See `Carts.add_line`."""
        cart = self._open_cart(cart_id, write)
        if currency != cart.currency:
            raise ForeignCurrency(cart.currency)
        return self._store(changes.add_line(cart, line, now=write.now, limits=write.limits), write.limits)

    async def set_lines(self, cart_id: CartId, lines: Sequence[Line], *, currency: str | None, write: Write) -> Cart:
        """See `Carts.set_lines`."""
        cart = self._open_cart(cart_id, write)
        if currency is not None and currency != cart.currency:
            raise ForeignCurrency(cart.currency)
        return self._store(changes.set_lines(cart, lines, now=write.now, limits=write.limits), write.limits)

    async def remove_line(self, cart_id: CartId, sku: Sku, *, write: Write) -> Cart:
        """See `Carts.remove_line`."""
        return self._store(changes.remove_line(self._open_cart(cart_id, write), sku, now=write.now), write.limits)

    async def delete(self, cart_id: CartId, *, write: Write) -> None:
        """See `Carts.delete`."""
        self._open_cart(cart_id, write)
        del self.by_id[cart_id]

    async def merge(self, cart_id: CartId, source_id: CartId, strategy: Strategy, *, write: Write) -> Cart:
        """See `Carts.merge`."""
        source = self._find(source_id, write.owner)
        if source.merged_into == cart_id:
            return self._find(cart_id, write.owner)
        if source.status != "open":
            raise CartClosed(source.order_id)
        target = self._open_cart(cart_id, write)
        if source.currency != target.currency:
            raise ForeignCurrency(target.currency)
        merged = changes.merge_lines(target, source.lines, strategy, now=write.now, limits=write.limits)
        self._store(changes.close_into(source, cart_id, now=write.now), write.limits)
        return self._store(merged, write.limits)

    async def settle(self, cart_id: CartId) -> None:
        """See `Carts.settle`: a merge in memory is never interrupted."""

    def replace(self, cart: Cart) -> None:
        """Put a later state of a cart in place of the stored one; its expiry moves by the time between the two changes."""
        self._expires_at[cart.id] += cart.updated_at - self.by_id[cart.id].updated_at
        self.by_id[cart.id] = cart

    def expires_at(self, cart_id: CartId) -> float:
        """When the cart expires, in Unix milliseconds."""
        return self._expires_at[cart_id]

    def _find(self, cart_id: CartId, owner: str | None) -> Cart:
        cart = self.by_id.get(cart_id)
        if cart is None or cart.owner not in (None, owner):
            raise CartNotFound
        if self._expires_at.get(cart_id, math.inf) <= self._clock_ms():
            raise CartNotFound
        return cart

    def _open_cart(self, cart_id: CartId, write: Write) -> Cart:
        cart = self._find(cart_id, write.owner)
        if cart.status != "open":
            raise CartClosed(cart.order_id)
        if write.if_match not in (None, cart.version):
            raise VersionMismatch(cart.version)
        return cart

    def _store(self, cart: Cart, limits: Limits) -> Cart:
        self.by_id[cart.id] = cart
        self._expires_at[cart.id] = cart.expires_at(limits)
        return cart
