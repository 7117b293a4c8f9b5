"""Orders stored beside their carts: claiming a cart, committing its order, moving the order on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Protocol

import msgspec

from cart.model import Cart, CartId, OrderId, Sku
from checkout.facts import Fact
from checkout.order import Order
from checkout.order_status import CancelReason, OrderStatus
from checkout.ports.outbox import OutboxEntry

# The claim of a cart expires after this time, and with it the idempotency key of a running checkout.
CLAIM_MS: Final = 10_000
NOTHING_SHORT: Final[Mapping[Sku, int]] = MappingProxyType({})


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt to order a cart.

    `token` differs for each attempt of any process. `key_hash` is derived from the idempotency key, which belongs to the
    cart, and `fingerprint` from the body (128 bits each, in hex). `owner` is the signed-in shopper, if any.
    """

    cart_id: CartId
    key_hash: str
    fingerprint: str
    token: str
    owner: str | None = None


class Claimed(msgspec.Struct, frozen=True):
    """This claim has the exclusive right to order the cart, for `CLAIM_MS`.

    `fence` rises with each claim in the cart's partition. `may_have_holds`: an earlier claim of this version of the cart
    is still open, so stock may be held for it.
    """

    cart: Cart
    fence: int
    may_have_holds: bool


class AlreadyOrdered(msgspec.Struct, frozen=True):
    """The cart has become this order."""

    order_id: OrderId


class MergeUnfinished(msgspec.Struct, frozen=True):
    """A merge of the cart was interrupted. Finish it with `Merges.settle`, then begin again."""


class Committed(msgspec.Struct, frozen=True):
    """The order is stored. An order that is not `is_durable`, as durable as promised, must be rolled back.

    Unless `undo_is_safe`, it may stand after that: the server that takes over may have the order without the roll-back.
    """

    entry: OutboxEntry
    is_durable: bool
    undo_is_safe: bool = True


class Receipt(msgspec.Struct, frozen=True):
    """A stored order, with its idempotency key and the fingerprint of its request; `is_durable` as in `Committed`."""

    order: Order
    key_hash: str
    fingerprint: str
    is_durable: bool


class Orders(Protocol):
    """The orders, stored beside their carts. Each call is one atomic change.

    A call whose reply is lost raises an error of the adapter, and its change may then be made at any later time. Only an
    error with `may_have_run` false excludes that (`primitives.outages`).
    """

    async def has_key(self, cart_id: CartId, key_hash: str) -> bool:
        """Whether the idempotency key is that of the cart's order or of its running checkout."""
        ...

    async def begin(
        self, claim: Claim, *, units_left: Mapping[Sku, int] = NOTHING_SHORT
    ) -> Claimed | AlreadyOrdered | MergeUnfinished:
        """Claim the cart for `CLAIM_MS`, with the idempotency key; the same claim may begin again.

        Raises `CartNotFound`, `CartClosed` (merged into another cart), `IdempotencyKeyInProgress` (another claim of this
        cart is valid), `IdempotencyKeyReused` (so it is, with the same key for another body), and `OutOfStock` if it would
        claim a cart that wants more of a SKU than its `units_left`, unless an earlier claim of this version may hold some. A
        call that raises one of these claims nothing.
        """
        ...

    async def commit(self, claim: Claim, order: Order, *, cart_version: int, message: bytes) -> Committed | None:
        """Turn the cart into `order`, which keeps the key and fingerprint of the claim, and append `message` to the outbox.

        None, and no change, if the claim has expired or the cart has changed.
        """
        ...

    async def roll_back(self, order: Order, entry: OutboxEntry) -> bool:
        """Undo a commit that is not durable, and open the cart again; its key is free again.

        False, and no change, if the message may have been sent, a replay found the order durable or it was rolled back before.
        """
        ...

    async def release(self, claim: Claim, *, nothing_held: bool) -> bool:
        """End the claim; True if it was valid. After either reply it can no longer commit.

        `nothing_held`: no stock is held for this version of the cart, so the claim is closed for the stock sweeper too.
        """
        ...

    async def read(self, order_id: OrderId) -> Order | None:
        """The order in its current state, None if there is none."""
        ...

    async def receipt(self, order_id: OrderId) -> Receipt | None:
        """The order with its key and fingerprint, None if there is none. Tries to make the order durable if it is not."""
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
        """Move the order on from the status that `order` has; returns the changed order.

        Raises the errors of `update`, and `ValueError` for a transition that does not exist. After a transition to
        `cancelled`, and after losing to one, the caller undoes the steps; undoing is idempotent.
        """
        ...

    async def update(self, before: Order, after: Order, *, applied: Fact | None = None) -> Order:
        """Store a change: `after` is `before` at its next revision. Returns it without the fact that is `applied` by it.

        Raises `StatusConflict` if the stored revision is not that of `before`: a second worker, or an earlier attempt
        whose reply was lost, has changed it.
        """
        ...

    async def append_fact(self, order_id: OrderId, fact: Fact, *, message: bytes) -> OutboxEntry | None:
        """Append a fact to those of the order, and `message` to the outbox, so that a worker applies it.

        Returns when that is as durable as promised. None, and no change, if a fact with this id was appended before.
        Raises `OrderNotFound`, `TooManyFacts`, and `ChangeNotDurable` if it is appended but not durable in time.
        """
        ...

    async def cancel(self, order: Order, *, at: int, message: bytes) -> tuple[Order, OutboxEntry]:
        """Cancel at the shopper's request and append `message` to the outbox, so that a worker undoes the steps.

        Returns when that is as durable as promised. Raises `StatusConflict`, and `ChangeNotDurable` if it is cancelled but not
        durable in time.
        """
        ...

    async def make_durable(self, order: Order) -> None:
        """Make sure that an order that was read, in its status, is as durable as promised. Raises `ChangeNotDurable`."""
        ...

    async def settle(self, order: Order) -> bool:
        """End the flight of an order that has ended, after its last step; then its message may be acknowledged.

        All transitions and the work of its steps in the store are then as durable as promised. False: an order that has changed
        since, or has facts that are not applied, stays in flight: another run, with a message of its own, ends it. Raises
        `ChangeNotDurable` if they are not in time, or the store has lost the last change: run the order again.
        """
        ...


class Merges(Protocol):
    """The part of `cart.ports.Carts` that a checkout needs."""

    async def settle(self, cart_id: CartId) -> None:
        """Finish an interrupted merge of this cart."""
        ...


class OpenClaim(msgspec.Struct, frozen=True):
    """A claim that was neither committed nor released yet.

    `record` is the adapter's own handle. It is hashable, and another one once the cart is claimed again.
    """

    order_id: OrderId
    skus: tuple[Sku, ...]
    record: Any


class OpenClaims(Protocol):
    """The claims that were neither committed nor released yet, for the stock sweeper."""

    async def open_claims(self) -> Sequence[OpenClaim]:
        """All claims that are open now, those of running checkouts too."""
        ...

    async def delete_claims(self, claims: Sequence[OpenClaim]) -> None:
        """Close these claims: their holds are released. A claim that has begun again since stays open."""
        ...


class ClaimGauge(Protocol):
    """How many claims are open, for metrics."""

    async def count_claims(self) -> int:
        """The number of claims that are open now: of running checkouts, and of those that died and are not swept yet."""
        ...
