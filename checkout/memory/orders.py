"""Orders in memory, for tests; the same rules as the Redis scripts, in Python."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import msgspec

from cart.errors import CartClosed, IdempotencyKeyReused
from cart.ids import order_id_for, partition_of
from cart.memory import MemoryCarts
from cart.model import Cart, CartId, Limits, OrderId, Sku
from cart.timestamps import unix_ms
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
from checkout.memory.event_outbox import MemoryEvents
from checkout.order import Order
from checkout.order_status import CancelReason, OrderStatus
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
from checkout.ports.outbox import OutboxBacklog, OutboxEntry

DEFAULT_LIMITS: Final = Limits()


class _Lease(msgspec.Struct, frozen=True):
    claim: Claim
    version: int
    until_ms: int


class MemoryOrders:
    """`Orders`, `OrderChanges`, `OpenClaims` and `Outbox` in dicts, beside the carts. No call awaits, so each is one atomic change.

    Each change of an order is an event for the sinks in `events`.

    `is_durable`: whether commits are as durable as promised; tests turn it off.
    """

    def __init__(
        self,
        carts: MemoryCarts,
        *,
        limits: Limits = DEFAULT_LIMITS,
        events: EventSinks | None = None,
        clock_ms: Callable[[], int] = unix_ms,
    ) -> None:
        self.orders: dict[OrderId, Receipt] = {}
        self.entries: dict[str, OutboxEntry] = {}
        self._posted_ms: dict[str, int] = {}
        self.is_durable = True
        self.undo_is_safe = True
        # The time of the last sign of life of each order in flight, in ms.
        self.in_flight: dict[OrderId, int] = {}
        self.event_outboxes: dict[str, MemoryEvents] = {}
        self._events = events or EventSinks()
        # When the last run of each order ended, in ms.
        self.ended: dict[OrderId, int] = {}
        self._carts = carts
        self._limits = limits
        self._clock_ms = clock_ms
        self._leases: dict[CartId, _Lease] = {}
        self._fact_ids: dict[OrderId, set[str]] = {}
        self._claims: dict[tuple[CartId, int], tuple[int, tuple[Sku, ...]]] = {}
        self._fences = itertools.count(1)
        self._watching: dict[OrderId, list[asyncio.Event]] = {}
        self._entry_numbers = itertools.count(1)

    # Orders

    async def has_key(self, cart_id: CartId, key_hash: str) -> bool:
        """See `Orders.has_key`."""
        lease = self._valid_lease(cart_id)
        if lease is not None:
            return lease.claim.key_hash == key_hash
        cart = self._carts.by_id.get(cart_id)
        receipt = self.orders.get(cart.order_id) if cart is not None and cart.order_id is not None else None
        return receipt is not None and receipt.key_hash == key_hash

    async def begin(
        self, claim: Claim, *, units_left: Mapping[Sku, int] = NOTHING_SHORT
    ) -> Claimed | AlreadyOrdered | MergeUnfinished:
        """See `Orders.begin`."""
        return self._claim_cart(claim, await self._carts.read(claim.cart_id, owner=claim.owner), units_left)

    def _claim_cart(
        self, claim: Claim, cart: Cart, units_left: Mapping[Sku, int]
    ) -> Claimed | AlreadyOrdered | MergeUnfinished:
        if cart.order_id is not None:
            return AlreadyOrdered(cart.order_id)
        if cart.status == "merging":
            return MergeUnfinished()
        if cart.status != "open":
            raise CartClosed
        lease = self._valid_lease(cart.id)
        if lease is not None and lease.claim.token != claim.token:
            is_reused = lease.claim.key_hash == claim.key_hash and lease.claim.fingerprint != claim.fingerprint
            raise IdempotencyKeyReused if is_reused else IdempotencyKeyInProgress
        may_have_holds = (cart.id, cart.version) in self._claims
        short = [
            Shortage(line.sku, line.quantity, units_left[line.sku])
            for line in cart.lines
            if line.quantity > units_left.get(line.sku, line.quantity)
        ]
        if short and not may_have_holds:
            raise OutOfStock(short)
        now = self._clock_ms()
        self._leases[cart.id] = _Lease(claim, cart.version, now + CLAIM_MS)
        self._claims[cart.id, cart.version] = (now, tuple(cart.skus))
        return Claimed(cart, next(self._fences), may_have_holds)

    async def commit(self, claim: Claim, order: Order, *, cart_version: int, message: bytes) -> Committed | None:
        """See `Orders.commit`."""
        cart = self._carts.by_id.get(claim.cart_id)
        lease = self._valid_lease(claim.cart_id)
        if lease is None or lease.claim != claim or lease.version != cart_version:
            return None
        if cart is None or cart.status != "open" or cart.version != cart_version:
            return None
        self._carts.replace(_ordered(cart, order), lives_ms=cart.lifetime_ms(self._limits))
        self.orders[order.id] = Receipt(order, claim.key_hash, claim.fingerprint, is_durable=self.is_durable)
        del self._leases[cart.id]
        del self._claims[cart.id, cart.version]
        self.in_flight[order.id] = self._clock_ms()
        self._append_event(order.id, 1)
        return Committed(self.post(order.id, message), self.is_durable, self.undo_is_safe)

    async def roll_back(self, order: Order, entry: OutboxEntry) -> bool:
        """See `Orders.roll_back`."""
        receipt = self.orders.get(order.id)
        if receipt is None or receipt.is_durable or receipt.order.status is not OrderStatus.ACCEPTED:
            return False
        if entry.entry_id not in self.entries:
            return False
        del self.entries[entry.entry_id]
        del self.orders[order.id]
        self.in_flight.pop(order.id, None)
        self._notify(order.id)
        cart = self._carts.by_id[order.cart_id]
        self._claims[cart.id, cart.version - 1] = (self._clock_ms(), tuple(order.skus))
        self._carts.replace(msgspec.structs.replace(cart, status="open", order_id=None, version=cart.version + 1))
        return True

    async def release(self, claim: Claim, *, nothing_held: bool) -> bool:
        """See `Orders.release`."""
        if not self._is_in_force(claim):
            return False
        lease = self._leases.pop(claim.cart_id)
        if nothing_held:
            self._claims.pop((claim.cart_id, lease.version), None)
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
        return await self.update(order, order.moved(to, at=at, detail=detail, reason=reason))

    async def update(self, before: Order, after: Order, *, applied: Fact | None = None) -> Order:
        """See `Orders.update`."""
        receipt = self.orders.get(before.id)
        if receipt is None:
            raise StatusConflict("")
        stored = receipt.order
        if stored.revision != before.revision:
            raise StatusConflict(stored.status)
        changed = after if applied is None else after.without(applied)
        facts = stored.facts if applied is None else stored.without(applied).facts
        self.orders[before.id] = msgspec.structs.replace(receipt, order=msgspec.structs.replace(changed, facts=facts))
        self.in_flight[before.id] = self._clock_ms()
        self._notify(before.id)
        if len(after.history) > len(before.history):
            self._append_event(before.id, len(after.history))
        return changed

    async def append_fact(self, order_id: OrderId, fact: Fact, *, message: bytes) -> OutboxEntry | None:
        """See `Orders.append_fact`."""
        receipt = self.orders.get(order_id)
        if receipt is None:
            raise OrderNotFound
        known = self._fact_ids.setdefault(order_id, set())
        if fact.id not in known:
            if len(known) >= MAX_FACTS:
                raise TooManyFacts
            known.add(fact.id)
            order = msgspec.structs.replace(receipt.order, facts=(*receipt.order.facts, fact))
            self.orders[order_id] = msgspec.structs.replace(receipt, order=order)
            self.in_flight[order_id] = self._clock_ms()
            entry: OutboxEntry | None = self.post(order_id, message)
        else:
            entry = None
        if not self.is_durable:
            raise ChangeNotDurable
        return entry

    async def cancel(self, order: Order, *, at: int, message: bytes) -> tuple[Order, OutboxEntry]:
        """See `Orders.cancel`."""
        cancelled = await self.transition(order, OrderStatus.CANCELLED, at=at, reason=CancelReason.REQUESTED)
        entry = self.post(order.id, message)
        if not self.is_durable:
            raise ChangeNotDurable
        return cancelled, entry

    async def make_durable(self, order: Order) -> None:
        """See `Orders.make_durable`."""
        receipt = self.orders.get(order.id)
        if not self.is_durable or receipt is None or receipt.order.status is not order.status:
            raise ChangeNotDurable

    async def settle(self, order: Order) -> bool:
        """See `Orders.settle`."""
        stored = self.orders[order.id].order
        if not self.is_durable or stored.revision < order.revision:
            raise ChangeNotDurable
        if stored.revision != order.revision or stored.facts:
            return False
        self.in_flight.pop(order.id, None)
        self.ended[order.id] = self._clock_ms()
        return True

    # Changes

    @contextmanager
    def watch(self, order_id: OrderId) -> Iterator[asyncio.Event]:
        """See `OrderChanges.watch`."""
        changed = asyncio.Event()
        changed.set()
        watching = self._watching.setdefault(order_id, [])
        watching.append(changed)
        try:
            yield changed
        finally:
            watching.remove(changed)

    def _notify(self, order_id: OrderId) -> None:
        for changed in self._watching.get(order_id, ()):
            changed.set()

    def _append_event(self, order_id: OrderId, number: int) -> None:
        for sink in self._events.names:
            self.events_of(sink).append(order_id, number)
        if self.orders[order_id].is_durable:
            self._events.notice(order_id)

    def events_of(self, sink: str) -> MemoryEvents:
        """The outbox of a sink, which `MemoryEventOutbox` reads."""
        if sink not in self.event_outboxes:
            self.event_outboxes[sink] = MemoryEvents(clock=lambda: self._clock_ms() / 1000)
        return self.event_outboxes[sink]

    def _is_in_force(self, claim: Claim) -> bool:
        lease = self._valid_lease(claim.cart_id)
        return lease is not None and lease.claim.token == claim.token

    def _valid_lease(self, cart_id: CartId) -> _Lease | None:
        lease = self._leases.get(cart_id)
        return lease if lease is not None and lease.until_ms > self._clock_ms() else None

    def post(self, order_id: OrderId, message: bytes) -> OutboxEntry:
        """Append a message to the outbox."""
        entry = OutboxEntry(partition_of(order_id), f"{next(self._entry_numbers)}-0", order_id, message)
        self.entries[entry.entry_id] = entry
        self._posted_ms[entry.entry_id] = self._clock_ms()
        return entry

    # Claims

    async def open_claims(self) -> Sequence[OpenClaim]:
        """See `OpenClaims.open_claims`."""
        return [
            OpenClaim(order_id_for(*key), skus, record=(key, begun_ms))
            for key, (begun_ms, skus) in self._claims.items()
        ]

    async def count_claims(self) -> int:
        """See `ClaimGauge.count_claims`."""
        return len(self._claims)

    async def delete_claims(self, claims: Sequence[OpenClaim]) -> None:
        """See `OpenClaims.delete_claims`."""
        for claim in claims:
            key, begun_ms = claim.record
            if key in self._claims and self._claims[key][0] == begun_ms:
                del self._claims[key]

    # Outbox

    async def unsent(self, *, per_partition: int) -> Sequence[OutboxEntry]:
        """See `Outbox.unsent`."""
        by_partition: dict[str, list[OutboxEntry]] = {}
        for entry in self.entries.values():
            by_partition.setdefault(entry.partition, []).append(entry)
        return [entry for entries in by_partition.values() for entry in entries[:per_partition]]

    async def backlog(self) -> OutboxBacklog:
        """See `OutboxGauge.backlog`."""
        if not self.entries:
            return OutboxBacklog()
        return OutboxBacklog(
            len(self.entries), (self._clock_ms() - min(self._posted_ms[each] for each in self.entries)) / 1000
        )

    async def has_message_of(self, order_id: OrderId) -> bool:
        """See `WaitingMessages.has_message_of`."""
        return any(entry.order_id == order_id for entry in self.entries.values())

    def posted(self) -> Sequence[tuple[OrderId, int]]:
        """The orders of all entries, and the time (ms) at which each was posted."""
        return [(entry.order_id, self._posted_ms[name]) for name, entry in self.entries.items()]

    def begun(self) -> Sequence[tuple[CartId, int, int]]:
        """The cart, its version and the time (ms) of each open claim."""
        return [(cart_id, version, at) for (cart_id, version), (at, _) in self._claims.items()]

    async def mark_sent(self, entries: Sequence[OutboxEntry]) -> None:
        """See `Outbox.mark_sent`."""
        for entry in entries:
            self.entries.pop(entry.entry_id, None)
            if entry.order_id in self.in_flight:
                self.in_flight[entry.order_id] = self._clock_ms()


def _ordered(cart: Cart, order: Order) -> Cart:
    return msgspec.structs.replace(
        cart,
        status="ordered",
        order_id=order.id,
        version=cart.version + 1,
        updated_at=max(cart.updated_at, order.created_at),
    )
