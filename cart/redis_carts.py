"""Carts in Redis or Valkey: reads are one HGETALL, each write is one script, a merge is three."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence

from cart import changes
from cart.cart_cache import CartCache
from cart.errors import CartNotFound
from cart.model import Cart, CartId, Limits, Line, Sku, Strategy
from cart.ports import Write
from cart.redis_merge import TRIES, Merges
from cart.redis_scripts import (
    ADD_LINE,
    CREATE,
    CREATE_OWN,
    DELETE,
    REMOVE_LINE,
    SET_LINES,
    refusal_of,
    write_args,
    write_keys,
)
from cart.stored import STATE_FIELDS, cart_from_hash, cart_key, hash_of, is_state_of, new_cart_fields, own_cart_key
from store import Script, Store, StoreError, StoreOverloaded


class RedisCarts:
    """A `Carts` on a store. `cached_lines` bounds the cart lines that the process caches, at some 200 bytes each."""

    def __init__(self, store: Store, *, cached_lines: int = 50_000) -> None:
        self._store = store
        self._merges = Merges(store)
        self._cache = CartCache(max_lines=cached_lines)

    async def create(self, cart: Cart, *, limits: Limits) -> None:
        """See `Carts.create`."""
        await self._store.run(CREATE, [cart_key(cart.id)], [cart.lifetime_ms(limits), *new_cart_fields(cart)])
        self._cache.put(cart.id, cart)

    async def read(self, cart_id: CartId, *, owner: str | None = None) -> Cart:
        """See `Carts.read`."""
        key = cart_key(cart_id)
        cached = self._cache.get(cart_id)
        # The check for a change costs the same for every length of the cart, here and in the store.
        if cached is not None and is_state_of(cached, await self._store.execute("HMGET", key, *STATE_FIELDS)):
            cart = cached
        else:
            cart = await self._read_whole(cart_id, key)
        if cart.owner is not None and cart.owner != owner:
            raise CartNotFound
        return cart

    async def _read_whole(self, cart_id: CartId, key: str) -> Cart:
        cart = cart_from_hash(cart_id, await self._store.execute("HGETALL", key))
        if cart is None:
            self._cache.discard(cart_id)
            raise CartNotFound
        cart = await self._merges.visible_state(cart)
        self._cache.put(cart.id, cart)
        return cart

    async def own(self, new: Cart, *, limits: Limits) -> Cart:
        """See `Carts.own`."""
        assert new.owner is not None
        key, note_ms = own_cart_key(new.owner), 2 * new.lifetime_ms(limits)
        # As a list: compiled code takes the type of two arguments for a tuple, which `gather` does not return.
        asking = [self._store.execute("GET", key), self._store.execute("PTTL", key)]
        known, left_ms = await asyncio.gather(*asking)
        for _ in range(TRIES):
            cart = None if known is None else await self._own_cart(CartId(known.decode()), new.owner)
            if cart is not None:
                if left_ms < note_ms // 2:
                    with contextlib.suppress(StoreError):  # the cart is found; the note is renewed another time
                        await self._store.execute("PEXPIRE", key, note_ms)
                return cart
            known = await self._store.run(
                CREATE_OWN,
                [key, cart_key(new.id)],
                [known or "", new.id, note_ms, new.lifetime_ms(limits), *new_cart_fields(new)],
            )
            if known == new.id.encode():
                self._cache.put(new.id, new)
                return new
            known = known or None
        raise _too_busy()

    async def _own_cart(self, cart_id: CartId, owner: str) -> Cart | None:
        """The cart, if it is open."""
        try:
            cart = await self.read(cart_id, owner=owner)
        except CartNotFound:
            return None
        return cart if cart.status == "open" else None

    async def add_line(self, cart_id: CartId, line: Line, *, currency: str, write: Write) -> Cart:
        """See `Carts.add_line`."""
        return await self._change(
            ADD_LINE,
            cart_id,
            write,
            (line, currency),
            lambda cached: changes.add_line(cached, line, now=write.now, limits=write.limits),
        )

    async def set_lines(self, cart_id: CartId, lines: Sequence[Line], *, currency: str | None, write: Write) -> Cart:
        """See `Carts.set_lines`."""
        return await self._change(
            SET_LINES,
            cart_id,
            write,
            (lines, currency),
            lambda cached: changes.set_lines(cached, lines, now=write.now, limits=write.limits),
        )

    async def remove_line(self, cart_id: CartId, sku: Sku, *, write: Write) -> Cart:
        """See `Carts.remove_line`."""
        return await self._change(
            REMOVE_LINE, cart_id, write, (sku,), lambda cached: changes.remove_line(cached, sku, now=write.now)
        )

    async def delete(self, cart_id: CartId, *, write: Write) -> None:
        """See `Carts.delete`."""
        for _ in range(TRIES):
            reply = await self._store.run(DELETE, write_keys(cart_id, write), [write_args(write)])
            if reply[0] in {b"deleted", b"repeated"}:
                self._cache.discard(cart_id)
                return
            if reply[0] != b"merging":
                raise refusal_of(reply, write)
            await self.settle(cart_id)
        raise _too_busy()

    async def merge(self, cart_id: CartId, source_id: CartId, strategy: Strategy, *, write: Write) -> Cart:
        """See `Carts.merge`."""
        cart = await self._merges.merge(cart_id, source_id, strategy, write)
        self._cache.discard(source_id)
        self._cache.put(cart.id, cart)
        return cart

    async def settle(self, cart_id: CartId) -> None:
        """See `Carts.settle`."""
        await self._merges.settle(cart_id)

    async def _change(
        self,
        script: Script,
        cart_id: CartId,
        write: Write,
        args: tuple[object, ...],
        same_change: Callable[[Cart], Cart],
    ) -> Cart:
        """Run a script that changes the cart; `same_change` does to a cached state the change of the script."""
        for _ in range(TRIES):
            cached = self._cache.get(cart_id)
            # Without a key, a list in place costs least.
            keys = [cart_key(cart_id)] if write.key is None else write_keys(cart_id, write)
            reply = await self._store.run(script, keys, [write_args(write, cached, args)])
            if reply[0] == b"merging":
                await self.settle(cart_id)
                continue
            cart = None
            if reply[0] == b"applied" and cached is not None:
                cart = same_change(cached)
            elif reply[0] in {b"whole", b"repeated"}:
                cart = cart_from_hash(cart_id, hash_of(reply[1]))
            if cart is None:
                self._cache.discard(cart_id)
                raise refusal_of(reply, write)
            self._cache.put(cart.id, cart)
            return cart
        raise _too_busy()


def _too_busy() -> StoreOverloaded:
    return StoreOverloaded("merges of the same cart got in between, again and again")
