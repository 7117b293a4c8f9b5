"""Carts in Redis or Valkey: reads are one HGETALL, each write is one script, a merge is three."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cart.errors import CartNotFound
from cart.known import KnownCarts
from cart.model import Cart, CartId, Limits, Line, Sku, Strategy
from cart.ports import Write
from cart.redis_merge import TRIES, Merges
from cart.redis_scripts import ADD_LINE, CREATE, DELETE, REMOVE_LINE, SET_LINES, line_args, opening_args, refusal_of
from cart.stored import STATE_FIELDS, cart_from_hash, cart_key, hash_of, is_state_of, new_cart_fields
from store import Script, Store, StoreOverloaded


class RedisCarts:
    """A `Carts` on a store. `known_lines` bounds how many cart lines the process remembers, at some 200 bytes each."""

    def __init__(self, store: Store, *, known_lines: int = 50_000) -> None:
        self._store = store
        self._merges = Merges(store)
        self._known = KnownCarts(max_lines=known_lines)

    async def create(self, cart: Cart, *, limits: Limits) -> None:
        """See `Carts.create`."""
        await self._store.run(CREATE, [cart_key(cart.id)], [cart.expires_at(limits), *new_cart_fields(cart)])
        self._known.put(cart)

    async def read(self, cart_id: CartId, *, owner: str | None = None) -> Cart:
        """See `Carts.read`."""
        key = cart_key(cart_id)
        known = self._known.get(cart_id)
        # Asking whether a cart has changed costs the same however long it is, here and in the store.
        if known is not None and is_state_of(known, await self._store.execute("HMGET", key, *STATE_FIELDS)):
            cart = known
        else:
            cart = await self._read_whole(cart_id, key)
        if cart.owner is not None and cart.owner != owner:
            raise CartNotFound
        return cart

    async def _read_whole(self, cart_id: CartId, key: str) -> Cart:
        cart = cart_from_hash(cart_id, await self._store.execute("HGETALL", key))
        if cart is None:
            self._known.forget(cart_id)
            raise CartNotFound
        cart = await self._merges.as_seen(cart)
        self._known.put(cart)
        return cart

    async def add_line(self, cart_id: CartId, line: Line, *, currency: str, write: Write) -> Cart:
        """See `Carts.add_line`."""
        return await self._change(
            ADD_LINE,
            cart_id,
            write,
            [line.sku, line.quantity, line.quoted, currency],
            lambda known: known.with_added(line, now=write.now, limits=write.limits),
        )

    async def set_lines(self, cart_id: CartId, lines: Sequence[Line], *, currency: str | None, write: Write) -> Cart:
        """See `Carts.set_lines`."""
        return await self._change(
            SET_LINES,
            cart_id,
            write,
            ["" if currency is None else currency, *line_args(lines)],
            lambda known: known.with_set(lines, now=write.now, limits=write.limits),
        )

    async def remove_line(self, cart_id: CartId, sku: Sku, *, write: Write) -> Cart:
        """See `Carts.remove_line`."""
        return await self._change(REMOVE_LINE, cart_id, write, [sku], lambda known: known.without(sku, now=write.now))

    async def delete(self, cart_id: CartId, *, write: Write) -> None:
        """See `Carts.delete`."""
        for _ in range(TRIES):
            reply = await self._store.run(DELETE, [cart_key(cart_id)], opening_args(write))
            if reply[0] == b"deleted":
                self._known.forget(cart_id)
                return
            if reply[0] != b"merging":
                raise refusal_of(reply, write)
            await self.settle(cart_id)
        raise _too_busy()

    async def merge(self, cart_id: CartId, source_id: CartId, strategy: Strategy, *, write: Write) -> Cart:
        """See `Carts.merge`."""
        cart = await self._merges.merge(cart_id, source_id, strategy, write)
        self._known.forget(source_id)
        self._known.put(cart)
        return cart

    async def settle(self, cart_id: CartId) -> None:
        """See `Carts.settle`."""
        await self._merges.settle(cart_id)

    async def _change(
        self,
        script: Script,
        cart_id: CartId,
        write: Write,
        args: Sequence[str | int],
        same_change: Callable[[Cart], Cart],
    ) -> Cart:
        """Run a script that changes the cart; `same_change` does to a cached state the change of the script."""
        for _ in range(TRIES):
            known = self._known.get(cart_id)
            reply = await self._store.run(script, [cart_key(cart_id)], [*opening_args(write, known), *args])
            if reply[0] == b"merging":
                await self.settle(cart_id)
                continue
            cart = None
            if reply[0] == b"known" and known is not None:
                cart = same_change(known)
            elif reply[0] == b"whole":
                cart = cart_from_hash(cart_id, hash_of(reply[1]))
            if cart is None:
                self._known.forget(cart_id)
                raise refusal_of(reply, write)
            self._known.put(cart)
            return cart
        raise _too_busy()


def _too_busy() -> StoreOverloaded:
    return StoreOverloaded("merges of the same cart got in between, again and again")
