"""Carts in memory: for tests, and as the reference of the Redis adapter's scripts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from cart import changes
from cart.errors import CartClosed, CartNotFound, ForeignCurrency, IdempotencyKeyReused, VersionMismatch
from cart.model import Cart, CartId, Limits, Line, Sku, Strategy
from cart.ports import DIGEST_CHARS, KEY_MS, KNOWN_KEYS, Write
from cart.timestamps import unix_ms


class MemoryCarts:
    """A `Carts` in a dict. Nothing here awaits, so every call is one atomic change.

    `by_id`, `own_ids` and `replace` serve the fakes of other parts, such as a checkout that closes a cart.
    """

    def __init__(self, *, clock_ms: Callable[[], int] = unix_ms) -> None:
        self.by_id: dict[CartId, Cart] = {}
        self._expires_at: dict[CartId, float] = {}
        self._done: dict[CartId, _DoneWrites] = {}
        self.own_ids: dict[str | None, CartId] = {}
        self._clock_ms = clock_ms

    async def create(self, cart: Cart, *, limits: Limits) -> None:
        """See `Carts.create`."""
        self._store(cart, limits)

    async def read(self, cart_id: CartId, *, owner: str | None = None) -> Cart:
        """See `Carts.read`."""
        return self._find(cart_id, owner)

    async def own(self, new: Cart, *, limits: Limits) -> Cart:
        """See `Carts.own`."""
        cart = self.by_id.get(self.own_ids.get(new.owner, new.id))
        if cart is not None and cart.status == "open" and self._expires_at[cart.id] > self._clock_ms():
            return cart
        self.own_ids[new.owner] = new.id
        return self._store(new, limits)

    async def add_line(self, cart_id: CartId, line: Line, *, currency: str, write: Write) -> Cart:
        """See `Carts.add_line`."""
        if (repeated := self._repeated(cart_id, write)) is not None:
            return repeated
        cart = self._open_cart(cart_id, write)
        if currency != cart.currency:
            raise ForeignCurrency(cart.currency)
        return self._write(changes.add_line(cart, line, now=write.now, limits=write.limits), write)

    async def set_lines(self, cart_id: CartId, lines: Sequence[Line], *, currency: str | None, write: Write) -> Cart:
        """See `Carts.set_lines`."""
        if (repeated := self._repeated(cart_id, write)) is not None:
            return repeated
        cart = self._open_cart(cart_id, write)
        if currency is not None and currency != cart.currency:
            raise ForeignCurrency(cart.currency)
        return self._write(changes.set_lines(cart, lines, now=write.now, limits=write.limits), write)

    async def remove_line(self, cart_id: CartId, sku: Sku, *, write: Write) -> Cart:
        """See `Carts.remove_line`."""
        if (repeated := self._repeated(cart_id, write)) is not None:
            return repeated
        return self._write(changes.remove_line(self._open_cart(cart_id, write), sku, now=write.now), write)

    async def delete(self, cart_id: CartId, *, write: Write) -> None:
        """See `Carts.delete`."""
        if write.key is not None and cart_id not in self.by_id and self._done_write(cart_id, write) == _write_of(write):
            return
        if self._repeated(cart_id, write) is None:
            self._open_cart(cart_id, write)
            self._record(cart_id, write)
            del self.by_id[cart_id]

    async def merge(self, cart_id: CartId, source_id: CartId, strategy: Strategy, *, write: Write) -> Cart:
        """See `Carts.merge`."""
        if (repeated := self._repeated(cart_id, write)) is not None:
            return repeated
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
        return self._write(merged, write)

    async def settle(self, cart_id: CartId) -> None:
        """See `Carts.settle`: a merge in memory is never interrupted."""

    def replace(self, cart: Cart, *, lives_ms: int = 0) -> None:
        """Put a later state of a cart in place of the stored one. It lives for this time from now at least."""
        self._expires_at[cart.id] = max(self._expires_at[cart.id], self._clock_ms() + lives_ms)
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

    def _repeated(self, cart_id: CartId, write: Write) -> Cart | None:
        """The cart, if a write with the same idempotency key was done before."""
        if write.key is None:
            return None
        cart = self._find(cart_id, write.owner)
        done = self._done_write(cart_id, write)
        if done is None:
            return None
        if done != _write_of(write):
            raise IdempotencyKeyReused
        return cart

    def _done_write(self, cart_id: CartId, write: Write) -> str | None:
        """The digest of the write that was done with the key of this one."""
        done = self._done.get(cart_id)
        if done is None or write.key is None or done.expires_at <= self._clock_ms():
            return None
        return done.by_key.get(write.key[:DIGEST_CHARS])

    def _record(self, cart_id: CartId, write: Write) -> None:
        if write.key is None:
            return
        done = self._done.setdefault(cart_id, _DoneWrites())
        if done.expires_at <= self._clock_ms():
            done.by_key.clear()
        done.by_key[write.key[:DIGEST_CHARS]] = write.key[DIGEST_CHARS:]
        done.expires_at = self._clock_ms() + KEY_MS
        if len(done.by_key) > KNOWN_KEYS:
            del done.by_key[next(iter(done.by_key))]

    def _write(self, cart: Cart, write: Write) -> Cart:
        self._record(cart.id, write)
        return self._store(cart, write.limits)

    def _store(self, cart: Cart, limits: Limits) -> Cart:
        self.by_id[cart.id] = cart
        self._expires_at[cart.id] = cart.expires_at(limits)
        return cart


class _DoneWrites:
    """The writes of a cart that had an idempotency key: their digests by that of their key, the oldest first."""

    def __init__(self) -> None:
        self.by_key: dict[str, str] = {}
        self.expires_at = 0


def _write_of(write: Write) -> str | None:
    return None if write.key is None else write.key[DIGEST_CHARS:]
