"""Orders in Redis or Valkey: begin, commit and roll back are one script each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, Final

from cart.errors import CartClosed, CartNotFound
from cart.ids import order_id_for, partition_of
from cart.model import CartId, OrderId, Sku
from cart.stored import cart_from_hash, cart_key, hash_of
from checkout.durability import Durability, OnReply
from checkout.errors import IdempotencyKeyInProgress, IdempotencyKeyReused, StatusConflict
from checkout.order import Order
from checkout.order_status import CancelReason, OrderStatus
from checkout.ports.orders import (
    CLAIM_MS,
    KEY_MS,
    AbandonedClaim,
    AlreadyOrdered,
    Claim,
    Claimed,
    Committed,
    MergeUnfinished,
    Receipt,
)
from checkout.ports.outbox import OutboxEntry
from checkout.stored import (
    ALL_PARTITIONS,
    claim_key,
    decode_order,
    encode_order,
    encode_state,
    fence_key,
    idempotency_key,
    open_claims_key,
    order_key,
    outbox_key,
)
from store import Lease, Script, Store


def _script(name: str) -> Script:
    return Script.from_package("checkout", f"scripts/{name}.lua")


LEASE_KEY: Final = "claims:sweeper"
# Longer than the interval of the stock sweeper.
LEASE_MS: Final = 20_000

BEGIN: Final = _script("begin")
COMMIT: Final = _script("commit")
ROLL_BACK: Final = _script("roll_back")
RELEASE: Final = _script("release")
DELETE_KEY: Final = _script("delete_key")
DELETE_CLAIM: Final = _script("delete_claim")
MARK_DURABLE: Final = _script("mark_durable")
TOUCH: Final = _script("touch")
TRANSITION: Final = _script("transition")


class RedisOrders:
    """`Orders` and `OpenClaims` on a store; without `durability`, an order is durable on reply.

    A checkout takes two round trips: `begin` and the claim of the idempotency key, then `commit` and its renewal.
    """

    def __init__(self, store: Store, *, durability: Durability | None = None, lease_ms: int = LEASE_MS) -> None:
        self._store = store
        self._durability = durability or OnReply(store)
        self._sweep_lease = Lease(store, LEASE_KEY, ttl_ms=lease_ms)

    # A checkout

    async def has_key(self, key_hash: str) -> bool:
        """See `Orders.has_key`."""
        return bool(await self._store.execute("EXISTS", idempotency_key(key_hash)))

    async def begin(self, claim: Claim) -> Claimed | AlreadyOrdered | MergeUnfinished:
        """See `Orders.begin`."""
        key = idempotency_key(claim.key_hash)
        # Both are sent in one write. The key is first, so that of two bodies with the same key only one continues.
        stored, reply = await asyncio.gather(
            self._store.execute("SET", key, claim.fingerprint, "NX", "GET", "PX", CLAIM_MS),
            self._claim_cart(claim),
        )
        is_claimed = reply[0] == b"claimed"
        is_reused = stored is not None and stored != claim.fingerprint.encode()
        if is_claimed and is_reused:
            await self._release_cart(claim, nothing_held=not reply[2])
        elif not is_claimed and stored is None:
            await self._delete_key(claim, CLAIM_MS)
        if is_reused:
            raise IdempotencyKeyReused
        return _result_of_begin(claim.cart_id, reply)

    def _claim_cart(self, claim: Claim) -> Awaitable[Any]:
        partition = partition_of(claim.cart_id)
        return self._store.run(
            BEGIN,
            [cart_key(claim.cart_id), claim_key(claim.cart_id), open_claims_key(partition), fence_key(partition)],
            [claim.token, CLAIM_MS, claim.owner or "", claim.cart_id],
        )

    async def commit(self, claim: Claim, order: Order, *, cart_version: int, message: bytes) -> Committed | None:
        """See `Orders.commit`."""
        partition = partition_of(order.id)
        is_enough = self._durability.reply_is_durable
        committing = self._durability.write(
            COMMIT,
            [
                cart_key(claim.cart_id),
                claim_key(claim.cart_id),
                open_claims_key(partition),
                order_key(order.id),
                outbox_key(partition),
            ],
            [
                claim.token,
                cart_version,
                order.created_at,
                claim.cart_id,
                order.id,
                encode_order(order),
                claim.key_hash,
                claim.fingerprint,
                int(is_enough),
                message,
            ],
        )
        storing_key = self._store.execute("SET", idempotency_key(claim.key_hash), claim.fingerprint, "PX", KEY_MS)
        (entry_id, is_durable), _ = await asyncio.gather(committing, storing_key)
        if entry_id is None:
            await self._store.execute("PEXPIRE", idempotency_key(claim.key_hash), CLAIM_MS)
            return None
        if is_durable and not is_enough:
            is_durable = await self._mark_durable(order.id)
        return Committed(OutboxEntry(partition, entry_id.decode(), order.id, message), is_durable)

    async def roll_back(self, claim: Claim, order: Order, entry: OutboxEntry) -> bool:
        """See `Orders.roll_back`."""
        partition = partition_of(order.id)
        is_undone = await self._store.run(
            ROLL_BACK,
            [cart_key(order.cart_id), order_key(order.id), open_claims_key(partition), outbox_key(partition)],
            [order.cart_id, order.id, entry.entry_id, "\n".join(order.skus)],
        )
        if is_undone:
            await self._delete_key(claim, KEY_MS)
        return bool(is_undone)

    async def release(self, claim: Claim, *, nothing_held: bool) -> bool:
        """See `Orders.release`."""
        is_released, is_key_deleted = await asyncio.gather(
            self._release_cart(claim, nothing_held=nothing_held), self._delete_key(claim, CLAIM_MS)
        )
        if is_released and not is_key_deleted:
            # The commit of this claim was lost, but the write of its key for a day was not.
            await self._delete_key(claim, KEY_MS)
        return bool(is_released)

    def _release_cart(self, claim: Claim, *, nothing_held: bool) -> Awaitable[Any]:
        keys = [claim_key(claim.cart_id), open_claims_key(partition_of(claim.cart_id))]
        return self._store.run(RELEASE, keys, [claim.token, claim.cart_id, int(nothing_held)])

    def _delete_key(self, claim: Claim, max_ttl_ms: int) -> Awaitable[Any]:
        """Delete the idempotency key if it expires within `max_ttl_ms`; that of an accepted order expires after `CLAIM_MS`."""
        return self._store.run(DELETE_KEY, [idempotency_key(claim.key_hash)], [claim.fingerprint, max_ttl_ms])

    # Orders

    async def read(self, order_id: OrderId) -> Order | None:
        """See `Orders.read`."""
        doc, state = await self._store.execute("HMGET", order_key(order_id), "doc", "state")
        return None if doc is None else decode_order(doc, state)

    async def receipt(self, order_id: OrderId) -> Receipt | None:
        """See `Orders.receipt`."""
        doc, state, key_hash, fingerprint, durable = await self._store.execute(
            "HMGET", order_key(order_id), "doc", "state", "key", "body", "durable"
        )
        if doc is None:
            return None
        return Receipt(
            decode_order(doc, state),
            key_hash.decode(),
            fingerprint.decode(),
            is_durable=durable == b"1" or await self._make_durable(order_id),
        )

    async def _make_durable(self, order_id: OrderId) -> bool:
        """Make an order durable whose checkout is still waiting for that, or died while it waited."""
        _, is_durable = await self._durability.write(TOUCH, [order_key(order_id)], [])
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
        moved = order.moved(to, at=at, detail=detail, reason=reason)
        await self._move(order, moved, [order_key(order.id)])
        return moved

    async def cancel(self, order: Order, *, at: int, message: bytes) -> tuple[Order, OutboxEntry]:
        """See `Orders.cancel`."""
        partition = partition_of(order.id)
        moved = order.moved(OrderStatus.CANCELLED, at=at, reason=CancelReason.REQUESTED)
        entry_id = await self._move(order, moved, [order_key(order.id), outbox_key(partition)], order.id, message)
        return moved, OutboxEntry(partition, entry_id.decode(), order.id, message)

    async def _move(self, order: Order, moved: Order, keys: Sequence[str], *post: str | bytes) -> Any:
        args = [order.status.value, moved.status.value, encode_state(moved), *post]
        is_moved, stored = (*await self._store.run(TRANSITION, keys, args), None)[:2]
        if not is_moved:
            raise StatusConflict(stored.decode())
        return stored

    # Claims

    async def abandoned(self, *, before_ms: int) -> Sequence[AbandonedClaim]:
        """See `OpenClaims.abandoned`. Returns none while another process has the lease."""
        if not await self._sweep_lease.acquire():
            return []
        notes = await asyncio.gather(
            *(self._store.execute("HGETALL", open_claims_key(partition)) for partition in ALL_PARTITIONS)
        )
        claims = [_abandoned_claim(name, note) for by_name in notes for name, note in by_name.items()]
        return [claim for begun_ms, claim in claims if begun_ms < before_ms]

    async def delete_claims(self, claims: Sequence[AbandonedClaim]) -> None:
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
        case _:
            raise CartNotFound


def _abandoned_claim(name: bytes, note: bytes) -> tuple[int, AbandonedClaim]:
    """The time of the claim, and the claim itself."""
    cart_id, version = name.decode().split(" ")
    begun_ms, *skus = note.decode().split("\n")
    order_id = order_id_for(CartId(cart_id), int(version))
    return int(begun_ms), AbandonedClaim(order_id, tuple(map(Sku, skus)), record=(name, note))
