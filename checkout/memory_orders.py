"""Orders in memory, for tests; the same rules as the Redis scripts, in Python."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import msgspec

from cart.errors import CartClosed
from cart.ids import order_id_for, partition_of
from cart.memory import MemoryCarts
from cart.model import Cart, CartId, OrderId, Sku
from cart.timestamps import unix_ms
from checkout.errors import (
    IdempotencyKeyInProgress,
    IdempotencyKeyReused,
    StatusConflict,
)
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


class _Lease(msgspec.Struct, frozen=True):
    token: str
    version: int
    until_ms: int


class MemoryOrders:
    """`Orders`, `OpenClaims` and `Outbox` in dicts, beside the carts. No call awaits, so each is one atomic change.

    `is_durable`: whether commits are as durable as promised; tests turn it off.
    """

    def __init__(self, carts: MemoryCarts, *, clock_ms: Callable[[], int] = unix_ms) -> None:
        self.orders: dict[OrderId, Receipt] = {}
        self.entries: dict[str, tuple[int, OutboxEntry]] = {}
        self.is_durable = True
        self._carts = carts
        self._clock_ms = clock_ms
        self._keys: dict[str, tuple[str, int]] = {}
        self._leases: dict[CartId, _Lease] = {}
        self._claims: dict[tuple[CartId, int], tuple[int, tuple[Sku, ...]]] = {}
        self._fences = itertools.count(1)
        self._entry_numbers = itertools.count(1)

    # Orders

    async def has_key(self, key_hash: str) -> bool:
        """See `Orders.has_key`."""
        _, until_ms = self._keys.get(key_hash, ("", 0))
        return until_ms > self._clock_ms()

    async def begin(self, claim: Claim) -> Claimed | AlreadyOrdered | MergeUnfinished:
        """See `Orders.begin`."""
        fingerprint, until_ms = self._keys.get(claim.key_hash, ("", 0))
        is_new = until_ms <= self._clock_ms()
        if not is_new and fingerprint != claim.fingerprint:
            raise IdempotencyKeyReused
        begun = self._claim_cart(claim, await self._carts.read(claim.cart_id, owner=claim.owner))
        if is_new and isinstance(begun, Claimed):
            self._keys[claim.key_hash] = (claim.fingerprint, self._clock_ms() + CLAIM_MS)
        return begun

    def _claim_cart(self, claim: Claim, cart: Cart) -> Claimed | AlreadyOrdered | MergeUnfinished:
        if cart.order_id is not None:
            return AlreadyOrdered(cart.order_id)
        if cart.status == "merging":
            return MergeUnfinished()
        if cart.status != "open":
            raise CartClosed
        now = self._clock_ms()
        lease = self._leases.get(cart.id)
        if lease is not None and lease.token != claim.token and lease.until_ms > now:
            raise IdempotencyKeyInProgress
        self._leases[cart.id] = _Lease(claim.token, cart.version, now + CLAIM_MS)
        may_have_holds = (cart.id, cart.version) in self._claims
        self._claims[cart.id, cart.version] = (now, tuple(cart.skus))
        return Claimed(cart, next(self._fences), may_have_holds)

    async def commit(self, claim: Claim, order: Order, *, cart_version: int, message: bytes) -> Committed | None:
        """See `Orders.commit`."""
        cart = self._carts.by_id.get(claim.cart_id)
        if cart is None or cart.status != "open" or cart.version != cart_version or not self._is_in_force(claim):
            return None
        self._carts.replace(_ordered(cart, order))
        self.orders[order.id] = Receipt(order, claim.key_hash, claim.fingerprint, is_durable=self.is_durable)
        self._keys[claim.key_hash] = (claim.fingerprint, self._clock_ms() + KEY_MS)
        del self._leases[cart.id]
        del self._claims[cart.id, cart.version]
        return Committed(self._post(order, message), self.is_durable)

    async def roll_back(self, claim: Claim, order: Order, entry: OutboxEntry) -> bool:
        """See `Orders.roll_back`."""
        if self.orders[order.id].is_durable or entry.entry_id not in self.entries:
            return False
        del self.entries[entry.entry_id]
        del self.orders[order.id]
        self._keys.pop(claim.key_hash, None)
        cart = self._carts.by_id[order.cart_id]
        self._claims[cart.id, cart.version - 1] = (0, tuple(order.skus))
        self._carts.replace(msgspec.structs.replace(cart, status="open", order_id=None, version=cart.version + 1))
        return True

    async def release(self, claim: Claim, *, nothing_held: bool) -> bool:
        """See `Orders.release`."""
        if not self._is_in_force(claim):
            return False
        lease = self._leases.pop(claim.cart_id)
        if nothing_held:
            self._claims.pop((claim.cart_id, lease.version), None)
        fingerprint, until_ms = self._keys.get(claim.key_hash, ("", 0))
        if fingerprint == claim.fingerprint and until_ms <= self._clock_ms() + CLAIM_MS:
            del self._keys[claim.key_hash]
        return True

    async def read(self, order_id: OrderId) -> Order | None:
        """See `Orders.read`."""
        receipt = self.orders.get(order_id)
        return receipt.order if receipt is not None else None

    async def receipt(self, order_id: OrderId) -> Receipt | None:
        """See `Orders.receipt`."""
        receipt = self.orders.get(order_id)
        if receipt is not None and self.is_durable and not receipt.is_durable:
            receipt = self.orders[order_id] = msgspec.structs.replace(receipt, is_durable=True)
        return receipt

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
        receipt = self.orders[order.id]
        if receipt.order.status is not order.status:
            raise StatusConflict(receipt.order.status)
        self.orders[order.id] = msgspec.structs.replace(receipt, order=moved)
        return moved

    async def cancel(self, order: Order, *, at: int, message: bytes) -> tuple[Order, OutboxEntry]:
        """See `Orders.cancel`."""
        cancelled = await self.transition(order, OrderStatus.CANCELLED, at=at, reason=CancelReason.REQUESTED)
        return cancelled, self._post(order, message)

    def _is_in_force(self, claim: Claim) -> bool:
        lease = self._leases.get(claim.cart_id)
        return lease is not None and lease.token == claim.token and lease.until_ms > self._clock_ms()

    def _post(self, order: Order, message: bytes) -> OutboxEntry:
        now = self._clock_ms()
        entry = OutboxEntry(partition_of(order.id), f"{now}-{next(self._entry_numbers)}", order.id, message)
        self.entries[entry.entry_id] = (now, entry)
        return entry

    # Claims

    async def abandoned(self, *, before_ms: int) -> Sequence[AbandonedClaim]:
        """See `OpenClaims.abandoned`."""
        return [
            AbandonedClaim(order_id_for(*key), skus, record=(key, begun_ms))
            for key, (begun_ms, skus) in self._claims.items()
            if begun_ms < before_ms
        ]

    async def delete_claims(self, claims: Sequence[AbandonedClaim]) -> None:
        """See `OpenClaims.delete_claims`."""
        for claim in claims:
            key, begun_ms = claim.record
            if key in self._claims and self._claims[key][0] == begun_ms:
                del self._claims[key]

    # Outbox

    async def unsent(self, *, before_ms: int, per_partition: int) -> Sequence[OutboxEntry]:
        """See `Outbox.unsent`."""
        by_partition: dict[str, list[OutboxEntry]] = {}
        for written_ms, entry in self.entries.values():
            if written_ms < before_ms:
                by_partition.setdefault(entry.partition, []).append(entry)
        return [entry for entries in by_partition.values() for entry in entries[:per_partition]]

    async def mark_sent(self, entries: Sequence[OutboxEntry]) -> None:
        """See `Outbox.mark_sent`."""
        for entry in entries:
            self.entries.pop(entry.entry_id, None)


def _ordered(cart: Cart, order: Order) -> Cart:
    return msgspec.structs.replace(
        cart,
        status="ordered",
        order_id=order.id,
        version=cart.version + 1,
        updated_at=max(cart.updated_at, order.created_at),
    )
