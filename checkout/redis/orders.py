"""Orders in Redis or Valkey: begin, commit and roll back are one script each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from cart.errors import CartClosed, CartNotFound, IdempotencyKeyReused
from cart.ids import order_id_for, partition_of
from cart.model import CartId, Limits, OrderId, Sku
from cart.stored import cart_from_hash, cart_key, hash_of
from checkout.errors import (
    ChangeNotDurable,
    IdempotencyKeyInProgress,
    OrderNotFound,
    OutOfStock,
    Shortage,
    StatusConflict,
    TooManyFacts,
)
from checkout.events.sinks import EventSinks
from checkout.facts import MAX_FACTS, Fact
from checkout.order import Order
from checkout.order_status import CancelReason, OrderStatus
from checkout.ports.order_observer import OrderObserver, UnobservedOrders
from checkout.ports.orders import (
    CLAIM_MS,
    NOTHING_SHORT,
    AlreadyOrdered,
    Claim,
    Claimed,
    Committed,
    MergeUnfinished,
    OpenClaim,
    Receipt,
)
from checkout.ports.outbox import OutboxEntry
from checkout.privacy.order_codec import OrderCodec
from checkout.redis.durability import Durability, OnReply
from checkout.stored import (
    ALL_PARTITIONS,
    claim_key,
    encode_fact,
    encode_state,
    ended_key,
    events_key,
    fence_key,
    in_flight_key,
    open_claims_key,
    order_key,
    outbox_key,
    status_key,
)
from store import Lease, Script, Store


def _script(name: str) -> Script:
    return Script.from_package("checkout.redis", f"scripts/{name}.lua")


DEFAULT_LIMITS: Final = Limits()
PLAIN: Final = OrderCodec()
LEASE_KEY: Final = "claims:sweeper"
# Longer than the interval of the stock sweeper.
LEASE_MS: Final = 20_000

BEGIN: Final = _script("begin")
COMMIT: Final = _script("commit")
ROLL_BACK: Final = _script("roll_back")
RELEASE: Final = _script("release")
DELETE_CLAIM: Final = _script("delete_claim")
MARK_DURABLE: Final = _script("mark_durable")
SETTLE: Final = _script("settle")
TOUCH: Final = _script("touch")
APPEND_FACT: Final = _script("append_fact")
UPDATE: Final = _script("update")


class RedisOrders:
    """`Orders` and `OpenClaims` on a store; without `durability`, an order is durable on reply. `limits` are those of carts.

    Each change of an order is an event for the sinks in `events`. `codec` seals the personal data of orders; only tests go
    without. So all calls that read or store a whole order raise `KeysUnavailable` too. Carts know an owner by `owner_name`.

    A checkout takes two round trips besides its stock: `begin`, then `commit`.
    """

    def __init__(
        self,
        store: Store,
        *,
        durability: Durability | None = None,
        codec: OrderCodec = PLAIN,
        owner_name: Callable[[str], str] = str,
        limits: Limits = DEFAULT_LIMITS,
        events: EventSinks | None = None,
        observer: OrderObserver | None = None,
        lease_ms: int = LEASE_MS,
    ) -> None:
        self._store = store
        self._events = events or EventSinks()
        self._observer = observer or UnobservedOrders()
        self._durability = durability or OnReply(store)
        self._codec = codec
        self._owner_name = owner_name
        self._limits = limits
        self._sweep_lease = Lease(store, LEASE_KEY, ttl_ms=lease_ms)

    # A checkout

    async def has_key(self, cart_id: CartId, key_hash: str) -> bool:
        """See `Orders.has_key`. Most checkouts have neither claim nor order, which one round trip shows."""
        # The claim first: a commit between the two reads deletes it and writes the order.
        calls = [
            self._store.execute("GET", claim_key(cart_id)),
            self._store.execute("HGET", cart_key(cart_id), "\1o"),
        ]
        claim, order_id = await asyncio.gather(*calls)
        key = _key_of_claim(claim)
        if key is None and order_id is not None:
            key = await self._store.execute("HGET", order_key(OrderId(order_id.decode())), "key")
        return bool(key == key_hash.encode())

    async def begin(
        self, claim: Claim, *, units_left: Mapping[Sku, int] = NOTHING_SHORT
    ) -> Claimed | AlreadyOrdered | MergeUnfinished:
        """See `Orders.begin`."""
        owner = "" if claim.owner is None else self._owner_name(claim.owner)
        partition = partition_of(claim.cart_id)
        reply = await self._store.run(
            BEGIN,
            [cart_key(claim.cart_id), claim_key(claim.cart_id), open_claims_key(partition), fence_key(partition)],
            [
                *(claim.token, CLAIM_MS, owner, claim.cart_id, claim.key_hash, claim.fingerprint),
                *(word for short in units_left.items() for word in short),
            ],
        )
        return _result_of_begin(claim.cart_id, reply)

    async def commit(self, claim: Claim, order: Order, *, cart_version: int, message: bytes) -> Committed | None:
        """See `Orders.commit`."""
        partition = partition_of(order.id)
        is_enough = self._durability.reply_is_durable
        document = await self._codec.encode(order)
        entry_id, is_durable = await self._durability.write(
            COMMIT,
            [
                cart_key(claim.cart_id),
                claim_key(claim.cart_id),
                open_claims_key(partition),
                order_key(order.id),
                outbox_key(partition),
                in_flight_key(partition),
                status_key(partition, OrderStatus.ACCEPTED),
                *self._event_keys(partition),
            ],
            [
                claim.token,
                cart_version,
                order.created_at,
                claim.cart_id,
                order.id,
                document,
                claim.key_hash,
                claim.fingerprint,
                int(is_enough),
                message,
                self._limits.anonymous_ttl_ms,
                self._limits.owned_ttl_ms,
            ],
        )
        if entry_id is None:
            return None
        if is_durable and not is_enough:
            is_durable = await self._mark_durable(order.id)
        if is_durable:
            self._events.notice(order.id)
            self._observer.accepted(order)
        entry = OutboxEntry(partition, entry_id.decode(), order.id, message)
        return Committed(entry, is_durable, self._durability.undo_is_safe)

    def _event_keys(self, partition: str) -> Sequence[str]:
        return [events_key(partition, sink) for sink in self._events.names]

    async def roll_back(self, order: Order, entry: OutboxEntry) -> bool:
        """See `Orders.roll_back`."""
        partition = partition_of(order.id)
        is_undone = await self._store.run(
            ROLL_BACK,
            [
                cart_key(order.cart_id),
                order_key(order.id),
                open_claims_key(partition),
                outbox_key(partition),
                in_flight_key(partition),
                status_key(partition, OrderStatus.ACCEPTED),
            ],
            [order.cart_id, order.id, entry.entry_id, "\n".join(order.skus)],
        )
        return bool(is_undone)

    async def release(self, claim: Claim, *, nothing_held: bool) -> bool:
        """See `Orders.release`."""
        keys = [claim_key(claim.cart_id), open_claims_key(partition_of(claim.cart_id))]
        return bool(await self._store.run(RELEASE, keys, [claim.token, claim.cart_id, int(nothing_held)]))

    # Orders

    async def read(self, order_id: OrderId) -> Order | None:
        """See `Orders.read`."""
        doc, state, facts = await self._store.execute("HMGET", order_key(order_id), "doc", "state", "facts")
        return None if doc is None else await self._codec.decode(doc, state, facts, order_id=order_id)

    async def receipt(self, order_id: OrderId) -> Receipt | None:
        """See `Orders.receipt`."""
        doc, state, facts, key_hash, fingerprint, durable = await self._store.execute(
            "HMGET", order_key(order_id), "doc", "state", "facts", "key", "body", "durable"
        )
        if doc is None:
            return None
        return Receipt(
            await self._codec.decode(doc, state, facts, order_id=order_id),
            key_hash.decode(),
            fingerprint.decode(),
            is_durable=durable == b"1" or await self._make_durable(order_id),
        )

    async def _make_durable(self, order_id: OrderId) -> bool:
        """Make an order durable whose checkout is still waiting for that, or died while it waited."""
        _, is_durable = await self._durability.write(TOUCH, [order_key(order_id)], [""])
        return is_durable and await self._mark_durable(order_id)

    async def _mark_durable(self, order_id: OrderId) -> bool:
        return bool(await self._store.run(MARK_DURABLE, [order_key(order_id)]))

    async def transition(
        self,
        order: Order,
        to: OrderStatus,
        *,
        at: int,
        detail: str | None = None,
        reason: CancelReason | None = None,
    ) -> Order:
        """See `Orders.transition`."""
        return await self.update(order, order.moved(to, at=at, detail=detail, reason=reason))

    async def update(self, before: Order, after: Order, *, applied: Fact | None = None) -> Order:
        """See `Orders.update`."""
        # Not by `Durability`: that a step is repeated after a crash is harmless, and `settle` waits for all of them.
        # Without another entry in the history, it is no event.
        events = self._event_keys(partition_of(before.id)) if len(after.history) > len(before.history) else ()
        keys = [*_keys_of_update(before, after), *events]
        _stored_by(await self._store.run(UPDATE, keys, _update(before, after, applied)))
        self._events.notice(before.id)
        self._observer.changed(before, after)
        return after if applied is None else after.without(applied)

    async def append_fact(self, order_id: OrderId, fact: Fact, *, message: bytes) -> OutboxEntry | None:
        """See `Orders.append_fact`."""
        partition = partition_of(order_id)
        keys = [order_key(order_id), in_flight_key(partition), outbox_key(partition)]
        args: list[str | bytes | int] = [fact.id, encode_fact(fact), order_id, message, MAX_FACTS]
        reply, is_durable = await self._durability.write(APPEND_FACT, keys, args)
        if reply == _NO_ORDER:
            raise OrderNotFound
        if reply == _FULL:
            raise TooManyFacts
        if not is_durable:
            raise ChangeNotDurable
        return OutboxEntry(partition, reply.decode(), order_id, message) if reply else None

    async def cancel(self, order: Order, *, at: int, message: bytes) -> tuple[Order, OutboxEntry]:
        """See `Orders.cancel`."""
        partition = partition_of(order.id)
        moved = order.moved(OrderStatus.CANCELLED, at=at, reason=CancelReason.REQUESTED)
        keys = [*_keys_of_update(order, moved), outbox_key(partition), *self._event_keys(partition)]
        reply, is_durable = await self._durability.write(UPDATE, keys, [*_update(order, moved, None), message])
        entry_id = _stored_by(reply)
        self._events.notice(order.id)
        self._observer.changed(order, moved)
        if not is_durable:
            raise ChangeNotDurable
        return moved, OutboxEntry(partition, entry_id.decode(), order.id, message)

    async def make_durable(self, order: Order) -> None:
        """See `Orders.make_durable`."""
        if self._durability.reply_is_durable:
            return
        is_stored, is_durable = await self._durability.write(TOUCH, [order_key(order.id)], [order.status.value])
        if not (is_stored and is_durable):
            raise ChangeNotDurable

    async def settle(self, order: Order) -> bool:
        """See `Orders.settle`."""
        partition = partition_of(order.id)
        keys = [order_key(order.id), in_flight_key(partition), ended_key(partition)]
        reply, is_durable = await self._durability.write(SETTLE, keys, [order.id, order.status.value, order.revision])
        if not (reply and is_durable):
            raise ChangeNotDurable
        return bool(reply == _SETTLED)

    # Claims

    async def open_claims(self) -> Sequence[OpenClaim]:
        """See `OpenClaims.open_claims`. Returns none while another process has the lease."""
        if not await self._sweep_lease.acquire():
            return []
        notes = await asyncio.gather(
            *(self._store.execute("HGETALL", open_claims_key(partition)) for partition in ALL_PARTITIONS)
        )
        return [_open_claim(name, note) for by_name in notes for name, note in by_name.items()]

    async def count_claims(self) -> int:
        """See `ClaimGauge.count_claims`."""
        return sum(
            await asyncio.gather(*(self._store.execute("HLEN", open_claims_key(each)) for each in ALL_PARTITIONS))
        )

    async def delete_claims(self, claims: Sequence[OpenClaim]) -> None:
        """See `OpenClaims.delete_claims`."""
        await asyncio.gather(
            *(
                self._store.run(DELETE_CLAIM, [open_claims_key(partition_of(claim.order_id))], claim.record)
                for claim in claims
            )
        )


def _result_of_begin(cart_id: CartId, reply: Sequence[Any]) -> Claimed | AlreadyOrdered | MergeUnfinished:
    match reply:
        case [b"claimed", fence, may_have_holds, fields]:
            cart = cart_from_hash(cart_id, hash_of(fields))
            assert cart is not None
            return Claimed(cart, fence, bool(may_have_holds))
        case [b"ordered", order_id]:
            return AlreadyOrdered(OrderId(order_id.decode()))
        case [b"merging", *_]:
            return MergeUnfinished()
        case [b"merged", *_]:
            raise CartClosed
        case [b"in-progress"]:
            raise IdempotencyKeyInProgress
        case [b"reused"]:
            raise IdempotencyKeyReused
        case [b"short", *lines]:
            rows = zip(lines[::3], lines[1::3], lines[2::3], strict=True)
            raise OutOfStock([Shortage(Sku(sku.decode()), quantity, left) for sku, quantity, left in rows])
        case _:
            raise CartNotFound


def _key_of_claim(claim: bytes | None) -> bytes | None:
    """The hash of the idempotency key of a running checkout."""
    parts = (claim or b"").split(b" ")
    return parts[2] if len(parts) > 2 else None


# The replies of `append_fact.lua` that are no entry.
_NO_ORDER: Final = -1
_FULL: Final = -2
# The reply of `settle.lua` if the order is not in flight any more.
_SETTLED: Final = 1


def _keys_of_update(before: Order, after: Order) -> list[str]:
    partition = partition_of(before.id)
    return [
        order_key(before.id),
        in_flight_key(partition),
        status_key(partition, before.status),
        status_key(partition, after.status),
    ]


def _update(before: Order, after: Order, applied: Fact | None) -> list[str | bytes | int]:
    """The arguments of an update."""
    return [
        before.status.value,
        before.revision,
        after.status.value,
        encode_state(after),
        before.id,
        "" if applied is None else applied.id,
        len(after.history),
    ]


def _stored_by(reply: Sequence[Any]) -> Any:
    """The outbox entry of an update, if any. Raises `StatusConflict`."""
    is_moved, stored = (*reply, None)[:2]
    if not is_moved:
        raise StatusConflict(stored.decode())
    return stored


def _open_claim(name: bytes, note: bytes) -> OpenClaim:
    cart_id, version = name.decode().split(" ")
    _, *skus = note.decode().split("\n")
    order_id = order_id_for(CartId(cart_id), int(version))
    return OpenClaim(order_id, tuple(map(Sku, skus)), record=(name, note))
