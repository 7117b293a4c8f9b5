"""Merging two carts in two hash slots: a kill at any instruction loses no line and doubles none.

Three steps, each a script of its own: **begin** turns the source to `merging`, and nothing may change it; **absorb** takes its
lines into the target and sets a marker there, in one go; **finish** turns the source to `merged`. A call that finds a cart left
`merging` settles it: the marker says whether its lines have arrived. If they have, the merge is finished. If not, a *fence*
on the marker makes sure that this attempt never will be absorbed, however late it comes, and then the source is *reopened*.
So at every instant the lines belong to exactly one cart that a shopper can use: the source until absorb, the target from then on.

Two merges that stand in each other's way would undo each other for ever. They have an order, by the ids of their sources and
then of their targets: the first undoes the other at once; the other undoes itself and waits, each time longer, with jitter.
A merge that is still there after the wait was cut short, and is undone.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from cart.errors import CartNotFound
from cart.model import DAY_MS, Cart, CartId, Strategy
from cart.ports import Write
from cart.redis_scripts import (
    MERGE_ABSORB,
    MERGE_BEGIN,
    MERGE_CHECK,
    MERGE_FENCE,
    MERGE_FINISH,
    MERGE_REOPEN,
    refusal_of,
    write_args,
    write_keys,
)
from cart.stored import cart_from_hash, cart_key, hash_of, marker_key
from primitives.backoff import Backoff
from store import PinnedStore, Store, StoreError, StoreOverloaded

# A call that loses this many races in a row against others about the same cart gives up. With the waits between, six lost
# races in a row were the most of 18 simultaneous merges among three carts.
TRIES = 16
# The rest of a merge takes some store calls of a millisecond each.
FIRST_WAIT_S = 0.004
MAX_WAIT_S = 0.1

# An absorbed marker must outlast a source left in `merging`, by so much. Once the source is closed, and for a fence from the
# start, the marker only has to outlast calls in flight.
_FINISHED_MS = DAY_MS


class Attempt(NamedTuple):
    """A merge that has begun; a merge of the same carts that begins later has a higher number."""

    source: CartId
    target: CartId
    number: int


class Merges:
    """The steps of a merge on a store, the whole of it, and the completion of one that was cut short.

    They are pinned to one connection: no cart is closed because of lines in another that the store has lost meanwhile.

    `chance` gives the jitter of the waits, numbers from 0 to 1.
    """

    def __init__(self, store: Store, *, chance: Callable[[], float] = random.random) -> None:
        self._store = PinnedStore(store)
        self._chance = chance

    async def merge(self, target: CartId, source: CartId, strategy: Strategy, write: Write) -> Cart:
        """See `Carts.merge`."""
        return await self._store.run_pinned(self._merge(target, source, strategy, write))

    async def _merge(self, target: CartId, source: CartId, strategy: Strategy, write: Write) -> Cart:
        if write.key is not None and await self._is_repeated(target, write):
            return await self._target(target, write)
        contest = _Contest(source, target, Backoff(FIRST_WAIT_S, MAX_WAIT_S, chance=self._chance))
        for _ in range(TRIES):
            reply = await self.begin(target, source, write)
            if reply[0] == b"merging":
                if not await self._clear(source, contest):
                    await contest.wait()
                continue
            if reply[0] == b"closed" and reply[2] == target.encode():
                return await self._target(target, write)
            if reply[0] != b"begun":
                raise refusal_of(reply, write)
            attempt = reply[1]
            absorbed = await self.absorb(target, source, attempt, hash_of(reply[2]), strategy=strategy, write=write)
            if absorbed[0] == b"whole":
                return await self._finished(target, source, absorbed[1])
            if absorbed[0] == b"merging" and await self._clear(target, contest):
                continue
            if await self.undo(target, source, attempt):
                return await self._target(target, write)
            # Settled means fenced by another call about the source: try again with its new state.
            if absorbed[0] not in {b"merging", b"settled"}:
                raise refusal_of(absorbed, write)
            await contest.wait()
        raise StoreOverloaded("other calls about the same carts got in between, again and again")

    async def _is_repeated(self, target: CartId, write: Write) -> bool:
        """Whether the merge was done before, by a call with the same idempotency key."""
        reply = await self._store.run(MERGE_CHECK, write_keys(target, write), [write_args(write)])
        if reply[0] not in {b"new", b"repeated"}:
            raise refusal_of(reply, write)
        return bool(reply[0] == b"repeated")

    async def _clear(self, cart_id: CartId, contest: _Contest) -> bool:
        """Undo the merge of this cart into another, if there is one; False if that one goes first."""
        rival = await self.running(cart_id)
        if rival is None:
            return True
        if contest.must_wait_for(rival):
            return False
        await self.undo(rival.target, rival.source, rival.number)
        return True

    async def _finished(self, target: CartId, source: CartId, fields: Sequence[bytes]) -> Cart:
        """The target as it was when it had taken in the lines. The merge is done, even where the store fails now."""
        with contextlib.suppress(StoreError):  # the next call about the source finishes it
            await self.finish(target, source)
        cart = cart_from_hash(target, hash_of(fields))
        assert cart is not None
        return cart

    async def settle(self, source: CartId) -> None:
        """See `Carts.settle`."""
        await self._store.run_pinned(self._settle(source))

    async def _settle(self, source: CartId) -> None:
        rival = await self.running(source)
        if rival is not None:
            await self.undo(rival.target, rival.source, rival.number)

    async def running(self, source: CartId) -> Attempt | None:
        """The merge of this cart into another that has begun and has not ended."""
        status, target, attempt = await self._store.execute("HMGET", cart_key(source), "\1s", "\1m", "\1a")
        return Attempt(source, CartId(target.decode()), int(attempt)) if status == b"merging" else None

    async def visible_state(self, cart: Cart) -> Cart:
        """The state of a merging cart that shoppers see: open or merged.

        A read sets no fence, because a fence would make a running merge fail: until absorb, the lines are in the source.
        """
        if cart.status != "merging" or cart.merged_into is None:
            return cart
        return await self._store.run_pinned(self._settled_state(cart, cart.merged_into))

    async def _settled_state(self, cart: Cart, target: CartId) -> Cart:
        marker = await self._store.execute("GET", marker_key(target, cart.id))
        if marker is None or not marker.startswith(b"absorbed"):
            return msgspec.structs.replace(cart, status="open", merged_into=None)
        await self.finish(target, cart.id)
        finished = cart_from_hash(cart.id, await self._store.execute("HGETALL", cart_key(cart.id)))
        if finished is None:
            raise CartNotFound
        return finished

    async def begin(self, target: CartId, source: CartId, write: Write) -> Any:
        """Step 1, at the source; the reply is that of `merge_begin.lua`."""
        owner = "" if write.owner is None else f"={write.owner}"
        lifetimes = write.limits.anonymous_ttl_ms, write.limits.owned_ttl_ms
        return await self._store.run(MERGE_BEGIN, [cart_key(source)], [owner, target, write.now, *lifetimes])

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
        unfinished_ms = max(write.limits.anonymous_ttl_ms, write.limits.owned_ttl_ms) + _FINISHED_MS
        return await self._store.run(
            MERGE_ABSORB,
            write_keys(target, write, marker_key(target, source)),
            [write_args(write, None, (cart.lines, cart.currency, attempt, strategy, unfinished_ms))],
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


class _Contest:
    """Which of two merges goes first, and how long the other waits."""

    def __init__(self, source: CartId, target: CartId, backoff: Backoff) -> None:
        self._order = (source, target)
        self._backoff = backoff
        self._waited_for: Attempt | None = None

    def must_wait_for(self, rival: Attempt) -> bool:
        """Whether the rival goes first; one that has not ended during a wait was cut short, and does not."""
        if self._order < (rival.source, rival.target) or rival == self._waited_for:
            return False
        self._waited_for = rival
        return True

    async def wait(self) -> None:
        """Give others the time to end."""
        await asyncio.sleep(self._backoff.next_delay_s())
