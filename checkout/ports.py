"""What checkout and its worker need from outside: a place for orders, stock, a queue, payment and shipping."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, Final, Protocol, TypeVar

import msgspec

from cart.model import Cart, CartId, OrderId, Sku
from checkout.errors import Shortage
from checkout.model import CancelReason, Order, OrderStatus

# A claim of a cart, and of an idempotency key by a checkout that runs, ends by itself after this long.
CLAIM_MS: Final = 10_000
# A hold of stock lasts longer than the claim by which it was taken, so an accepted order always finds its holds.
HOLD_MS: Final = 60_000
# The idempotency key of an accepted order is remembered for a day.
KEY_MS: Final = 86_400_000

# --- accepting an order


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """One try at ordering a cart.

    `token` is random and belongs to this try alone; `key_hash` stands for the idempotency key and `fingerprint` for the
    body (128 bits each, in hex). `owner` is the signed-in shopper who asks.
    """

    cart_id: CartId
    key_hash: str
    fingerprint: str
    token: str
    owner: str | None = None


class Claimed(msgspec.Struct, frozen=True):
    """The cart is this claim's alone for `CLAIM_MS`.

    `fence` rises with every claim in the cart's partition. `may_have_holds`: an earlier claim of this version of the cart has
    not told its end, so it may have left holds.
    """

    cart: Cart
    fence: int
    may_have_holds: bool


class AlreadyOrdered(msgspec.Struct, frozen=True):
    """The cart has become this order."""

    order_id: OrderId


class MergeUnfinished(msgspec.Struct, frozen=True):
    """A merge of the cart was cut short; `Merges.settle` it and ask again."""


class OutboxEntry(msgspec.Struct, frozen=True):
    """A message that waits in the outbox of a partition until the queue has it. `entry_id` begins with its time, in ms."""

    partition: str
    entry_id: str
    order_id: OrderId
    message: bytes


class Committed(msgspec.Struct, frozen=True):
    """The order stands. `is_durable`: as durable as was promised; if not, it must be retracted."""

    entry: OutboxEntry
    is_durable: bool


class Receipt(msgspec.Struct, frozen=True):
    """A stored order with the key and the body it was ordered by; `is_durable` as in `Committed`."""

    order: Order
    key_hash: str
    fingerprint: str
    is_durable: bool


class Orders(Protocol):
    """A place that keeps orders beside their carts. Each call is one atomic change, safe to repeat."""

    async def has_key(self, key_hash: str) -> bool:
        """Whether the idempotency key is in use: a checkout with it is kept, or runs."""
        ...

    async def begin(self, claim: Claim) -> Claimed | AlreadyOrdered | MergeUnfinished:
        """Claim the cart and the idempotency key, both for `CLAIM_MS`; the same claim may begin again.

        Raises `CartNotFound`, `CartClosed` (merged away), `IdempotencyKeyReused` (its other use may still be running) and
        `IdempotencyKeyInProgress` (another claim of this cart is). What is raised claims nothing.
        """
        ...

    async def commit(self, claim: Claim, order: Order, *, cart_version: int, message: bytes) -> Committed | None:
        """Turn the cart into `order` and put `message` into the outbox; None if the claim has run out or the cart changed.

        Afterwards the key is remembered for `KEY_MS`.
        """
        ...

    async def roll_back(self, claim: Claim, order: Order, entry: OutboxEntry) -> bool:
        """Undo a commit that could not be kept, and open the cart again.

        False leaves all as it is: the message may have gone out already, or a replay found the order kept after all.
        """
        ...

    async def release(self, claim: Claim, *, nothing_held: bool) -> bool:
        """Give the cart and the key back unused; True if the claim was still in force, so that it can never commit.

        `nothing_held`: no stock is held for this version of the cart, so the sweeper need not look for it.
        """
        ...

    async def read(self, order_id: OrderId) -> Order | None:
        """The order as it stands, None if there is none."""
        ...

    async def receipt(self, order_id: OrderId) -> Receipt | None:
        """The order with what it was ordered by, None if there is none. It is made as durable as was promised."""
        ...

    async def transition(
        self,
        order: Order,
        to: OrderStatus,
        *,
        at: int,
        detail: str | None = None,
        reason: CancelReason | None = None,
    ) -> Order:
        """Move the order on from the status that `order` shows, and return it as it became.

        Raises `StatusConflict` when it is no longer in that status: another worker, or a repeat after a lost reply, was
        first, so read it again; and `ValueError` for a transition that does not exist. When a transition to
        `cancelled` is lost or won, whoever notices undoes the steps; undoing is idempotent.
        """
        ...

    async def cancel(self, order: Order, *, at: int, message: bytes) -> tuple[Order, OutboxEntry]:
        """Cancel at the shopper's request: the transition, and `message` into the outbox so that a worker undoes the steps.

        Raises `StatusConflict`.
        """
        ...


class Merges(Protocol):
    """The part of `cart.ports.Carts` that a checkout needs."""

    async def settle(self, cart_id: CartId) -> None:
        """Bring a merge of this cart that was cut short to its end."""
        ...


# --- stock


class StockLine(msgspec.Struct, frozen=True):
    """So many of a SKU, for an order."""

    sku: Sku
    quantity: int


class Stock(Protocol):
    """What there is of each SKU. `available + held + sold` is constant, and `available` is never below zero.

    Every call may be repeated: it happens once per order.
    """

    async def hold(self, order_id: OrderId, lines: Sequence[StockLine], *, fence: int) -> list[Shortage]:
        """Take the lines out of what is available, for `HOLD_MS`; return those that cannot be had in full.

        Some of the others may be held then: `release` them. A hold of the same order by a lower fence is taken over.
        Raises `IdempotencyKeyInProgress` if a claim of a higher fence holds them: this one has been overtaken.
        """
        ...

    async def release(self, order_id: OrderId, skus: Collection[Sku], *, fence: int) -> None:
        """Give back what this claim holds; what a claim of a higher fence has taken over, or was sold, stays."""
        ...

    async def confirm(self, order_id: OrderId, skus: Collection[Sku]) -> None:
        """The order's holds become sales: they no longer expire. Raises `StockNotHeld`; some may be confirmed then."""
        ...

    async def cancel(self, order_id: OrderId, skus: Collection[Sku]) -> None:
        """The order is cancelled: what it holds or was sold is available again."""
        ...

    async def complete(self, order_id: OrderId, skus: Collection[Sku]) -> None:
        """The order is completed: what it was sold is gone for good, and nothing need be remembered of it.

        Call it after the transition to `completed`, and again whenever a message of a completed order is met.
        """
        ...

    async def expire(self, order_id: OrderId, skus: Collection[Sku]) -> bool:
        """Give back those holds of an order, never accepted, that have expired; True if none of it is left."""
        ...


class AbandonedClaim(msgspec.Struct, frozen=True):
    """A claim that was neither committed nor released; `record` is the adapter's own handle."""

    order_id: OrderId
    skus: tuple[Sku, ...]
    record: Any


class OpenClaims(Protocol):
    """The claims that left no word of their end, for the sweeper of stock."""

    async def abandoned(self, *, before_ms: int) -> Sequence[AbandonedClaim]:
        """Those begun before `before_ms` (Unix milliseconds) whose order was never accepted."""
        ...

    async def delete_claims(self, claims: Sequence[AbandonedClaim]) -> None:
        """Their holds are given back. One that was begun again since is kept."""
        ...


# --- handing orders on


class Outbox(Protocol):
    """Messages of accepted orders that the queue does not have yet."""

    async def unsent(self, *, before_ms: int, per_partition: int) -> Sequence[OutboxEntry]:
        """The oldest entries, of all partitions, that were written before `before_ms` (Unix milliseconds)."""
        ...

    async def mark_sent(self, entries: Sequence[OutboxEntry]) -> None:
        """The queue has these."""
        ...


class Outgoing(msgspec.Struct, frozen=True):
    """A message for the queue, about one order. Its id there, where the queue takes one, is the order id."""

    order_id: OrderId
    body: bytes


class Delivery(msgspec.Struct, frozen=True):
    """A message received and not yet done; `receipt` is the adapter's handle, `attempt` counts deliveries from 1."""

    body: bytes
    receipt: Any
    attempt: int


class OrderSink(Protocol):
    """The end of a queue at which orders go in. Raises `ServiceUnavailable` when it cannot be reached, `DependencyTripped` while cut off."""

    async def send(self, messages: Sequence[Outgoing]) -> Sequence[bool]:
        """Send up to 10; tells for each whether the queue has it."""
        ...


class OrderQueue(OrderSink, Protocol):
    """A queue that delivers at least once. A delivery that is not done in time comes again, a few times, then is dead.

    All raise `ServiceUnavailable` when the queue cannot be reached.
    """

    async def receive(self, limit: int, wait_s: float) -> Sequence[Delivery]:
        """Up to `limit` (10 at most) deliveries, as soon as there is one, none after `wait_s` seconds."""
        ...

    async def extend(self, delivery: Delivery, seconds: float) -> None:
        """Keep the delivery from coming again for so long from now."""
        ...

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """These never come again."""
        ...

    async def release(self, delivery: Delivery, delay_s: float, *, reason: str) -> bool:
        """Let the delivery come again after `delay_s`, or sooner where the queue cannot wait as long.

        One that has come too often becomes a dead letter instead, with this `reason` where the queue can note it; tells
        whether it did.
        """
        ...

    async def defer(self, delivery: Delivery, delay_s: float) -> None:
        """Let the delivery come again as `release` does, as if it had not come this time: it never becomes dead by this."""
        ...


class Backlog(Protocol):
    """What an order queue knows of how far behind its workers are."""

    async def oldest_age_s(self) -> float | None:
        """For how many seconds the oldest order waits that is not done yet; None when there is none, or nobody knows.

        Raises `ServiceUnavailable`.
        """
        ...


# --- outside services, for the workflow

_T = TypeVar("_T")


class Guard(Protocol):
    """What keeps calls away from a service that fails, such as a circuit breaker."""

    async def call(self, work: Callable[[], Awaitable[_T]]) -> _T:
        """Await `work()`; raises `DependencyTripped` while the service is cut off, and where this very failure cuts it off."""
        ...


class Payments(Protocol):
    """The payment service. Each call is idempotent by order id.

    Raises `Declined` for a final no and `ServiceUnavailable` when it is not known whether it was done.
    """

    async def authorise(self, order: Order) -> None:
        """Reserve the order's total on the means of payment that its token stands for."""
        ...

    async def capture(self, order: Order) -> None:
        """Take the money that was reserved."""
        ...

    async def void(self, order: Order) -> None:
        """Let go of what was reserved or give back what was taken, if anything was.

        Afterwards an authorisation or a capture that comes late has no effect.
        """
        ...


class Shipping(Protocol):
    """The carrier. Each call is idempotent by order id. Raises `Declined` and `ServiceUnavailable` as `Payments` does."""

    async def arrange(self, order: Order) -> None:
        """Book the order's shipment to its address."""
        ...

    async def cancel(self, order: Order) -> None:
        """Call the shipment off, if one was booked; afterwards a late booking has no effect."""
        ...


class Notifications(Protocol):
    """Whoever tells the shopper. Idempotent by order id. Raises `Declined` and `ServiceUnavailable` as `Payments` does."""

    async def order_completed(self, order: Order) -> None:
        """The order is paid for and on its way."""
        ...
