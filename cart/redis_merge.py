"""Merging two carts in two hash slots: a kill at any instruction loses no line and doubles none.

Three steps, each a script of its own: **begin** turns the source to `merging`, and nothing may change it; **absorb** takes its
lines into the target and sets a marker there, in one go; **finish** turns the source to `merged`. A call that finds a cart left
`merging` settles it: the marker says whether its lines have arrived. If they have, the merge is finished. If not, a *fence*
on the marker makes sure that this attempt never will be absorbed, however late it comes, and then the source is *reopened*.
So at every instant the lines belong to exactly one cart that a shopper can use: the source until absorb, the target from then on.
"""

from __future__ import annotations

from typing import Any

import msgspec

from cart.errors import CartNotFound
from cart.model import DAY_MS, Cart, CartId, Strategy
from cart.ports import Write
from cart.redis_scripts import (
    MERGE_ABSORB,
    MERGE_BEGIN,
    MERGE_FENCE,
    MERGE_FINISH,
    MERGE_REOPEN,
    refusal_of,
    write_args,
)
from cart.stored import cart_from_hash, cart_key, hash_of, marker_key
from store import Store, StoreOverloaded

# A call that loses this many races in a row against others about the same cart gives up. Three lost races were never observed.
TRIES = 16

# An absorbed marker must outlast a source left in `merging`. Once the source is closed, and for a fence from the start, the
# marker only has to outlast calls in flight.
_UNFINISHED_MS = 365 * DAY_MS
_FINISHED_MS = DAY_MS


class Merges:
    """The steps of a merge on a store, the whole of it, and the completion of one that was cut short."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def merge(self, target: CartId, source: CartId, strategy: Strategy, write: Write) -> Cart:
        """See `Carts.merge`."""
        for _ in range(TRIES):
            reply = await self.begin(target, source, write)
            if reply[0] == b"merging":
                await self.settle(source)
                continue
            if reply[0] == b"closed" and reply[2] == target.encode():
                return await self._target(target, write)
            if reply[0] != b"begun":
                raise refusal_of(reply, write)
            attempt = reply[1]
            absorbed = await self.absorb(target, source, attempt, hash_of(reply[2]), strategy=strategy, write=write)
            if absorbed[0] == b"merging":  # the target itself is being merged into a third cart
                await self.settle(target)
                continue
            if absorbed[0] == b"whole":
                await self.finish(target, source)
                return await self._target(target, write)
            if await self.undo(target, source, attempt):
                return await self._target(target, write)
            # Settled means fenced by a call that wanted to change the source: try again with the new state.
            if absorbed[0] != b"settled":
                raise refusal_of(absorbed, write)
        raise StoreOverloaded("other calls about the same carts got in between, again and again")

    async def settle(self, source: CartId) -> None:
        """See `Carts.settle`."""
        status, target, attempt = await self._store.execute("HMGET", cart_key(source), "\1s", "\1m", "\1a")
        if status == b"merging":
            await self.undo(CartId(target.decode()), source, int(attempt))

    async def visible_state(self, cart: Cart) -> Cart:
        """The state of a merging cart that shoppers see: open or merged.

        A read sets no fence, because a fence would make a running merge fail: until absorb, the lines are in the source.
        """
        if cart.status != "merging" or cart.merged_into is None:
            return cart
        marker = await self._store.execute("GET", marker_key(cart.merged_into, cart.id))
        if marker is None or not marker.startswith(b"absorbed"):
            return msgspec.structs.replace(cart, status="open", merged_into=None)
        await self.finish(cart.merged_into, cart.id)
        finished = cart_from_hash(cart.id, await self._store.execute("HGETALL", cart_key(cart.id)))
        if finished is None:
            raise CartNotFound
        return finished

    async def begin(self, target: CartId, source: CartId, write: Write) -> Any:
        """Step 1, at the source; the reply is that of `merge_begin.lua`."""
        return await self._store.run(MERGE_BEGIN, [cart_key(source)], [write.owner or "", target, write.now])

    async def absorb(
        self,
        target: CartId,
        source: CartId,
        attempt: int,
        fields: dict[bytes, bytes],
        *,
        strategy: Strategy,
        write: Write,
    ) -> Any:
        """Step 2, at the target; the reply is that of `merge_absorb.lua`."""
        cart = cart_from_hash(source, fields)
        if cart is None:
            raise CartNotFound
        return await self._store.run(
            MERGE_ABSORB,
            [cart_key(target), marker_key(target, source)],
            [write_args(write, None, (cart.lines, cart.currency, attempt, strategy, _UNFINISHED_MS))],
        )

    async def finish(self, target: CartId, source: CartId) -> None:
        """Step 3, at the source; done already, it does nothing."""
        await self._store.run(MERGE_FINISH, [cart_key(source)], [target])
        await self._store.execute("PEXPIRE", marker_key(target, source), _FINISHED_MS)

    async def undo(self, target: CartId, source: CartId, attempt: int) -> bool:
        """Undo an attempt; if its lines are already in the target, finish it and return True."""
        outcome = await self._store.run(MERGE_FENCE, [marker_key(target, source)], [attempt, _FINISHED_MS])
        if outcome == b"absorbed":
            await self.finish(target, source)
            return True
        await self._store.run(MERGE_REOPEN, [cart_key(source)], [attempt])
        return False

    async def _target(self, target: CartId, write: Write) -> Cart:
        cart = cart_from_hash(target, await self._store.execute("HGETALL", cart_key(target)))
        if cart is None or cart.owner not in (None, write.owner):
            raise CartNotFound
        return await self.visible_state(cart)
