"""Orders stored beside their carts: claiming a cart, committing its order, moving the order on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

import msgspec

from cart.model import Cart, CartId, OrderId, Sku
from checkout.order import Order
from checkout.order_status import CancelReason, OrderStatus
from checkout.ports.outbox import OutboxEntry

# The claim of a cart expires after this time, and so does the idempotency key of a running checkout.
CLAIM_MS: Final = 10_000
# The idempotency key of an accepted order expires after a day.
KEY_MS: Final = 86_400_000


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt to order a cart.

    `token` is random and differs for each attempt. `key_hash` is derived from the idempotency key, `fingerprint` from the
    body (128 bits each, in hex). `owner` is the signed-in shopper, if any.
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
    """The order is stored. An order that is not `is_durable`, as durable as promised, must be rolled back."""

    entry: OutboxEntry
    is_durable: bool


class Receipt(msgspec.Struct, frozen=True):
    """A stored order, with its idempotency key and the fingerprint of its request; `is_durable` as in `Committed`."""

    order: Order
    key_hash: str
    fingerprint: str
    is_durable: bool


class Orders(Protocol):
    """The orders, stored beside their carts. Each call is one atomic change and may be repeated."""

    async def has_key(self, key_hash: str) -> bool:
        """Whether the idempotency key belongs to an accepted order or to a running checkout."""
        ...

    async def begin(self, claim: Claim) -> Claimed | AlreadyOrdered | MergeUnfinished:
        """Claim the cart and the idempotency key, both for `CLAIM_MS`; the same claim may begin again.

        Raises `CartNotFound`, `CartClosed` (merged into another cart), `IdempotencyKeyReused` (with another body, by an
        order or a running checkout) and `IdempotencyKeyInProgress` (another claim of this cart is valid). A call that
        raises one of these claims nothing.
        """
        ...

    async def commit(self, claim: Claim, order: Order, *, cart_version: int, message: bytes) -> Committed | None:
        """Turn the cart into `order`, append `message` to the outbox and store the key for `KEY_MS`.

        None if the claim has expired or the cart has changed; the key then expires within `CLAIM_MS`.
        """
        ...

    async def roll_back(self, claim: Claim, order: Order, entry: OutboxEntry) -> bool:
        """Undo a commit that is not durable, and open the cart again.

        False, and no change, if the message may have been sent or a replay found the order durable.
        """
        ...

    async def release(self, claim: Claim, *, nothing_held: bool) -> bool:
        """End the claim and delete its key; True if the claim was valid, so that it can no longer commit.

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

        Raises `StatusConflict` if its stored status is another: a second worker, or an earlier attempt whose reply was
        lost, has moved it. Raises `ValueError` for a transition that does not exist. After a transition to `cancelled`,
        and after losing to one, the caller undoes the steps; undoing is idempotent.
        """
        ...

    async def cancel(self, order: Order, *, at: int, message: bytes) -> tuple[Order, OutboxEntry]:
        """Cancel at the shopper's request and append `message` to the outbox, so that a worker undoes the steps.

        Raises `StatusConflict`.
        """
        ...


class Merges(Protocol):
    """The part of `cart.ports.Carts` that a checkout needs."""

    async def settle(self, cart_id: CartId) -> None:
        """Finish an interrupted merge of this cart."""
        ...


class AbandonedClaim(msgspec.Struct, frozen=True):
    """A claim that was neither committed nor released in time; `record` is the adapter's own handle."""

    order_id: OrderId
    skus: tuple[Sku, ...]
    record: Any


class OpenClaims(Protocol):
    """The claims that were neither committed nor released yet, for the stock sweeper."""

    async def abandoned(self, *, before_ms: int) -> Sequence[AbandonedClaim]:
        """The open claims that began before `before_ms` (Unix milliseconds)."""
        ...

    async def delete_claims(self, claims: Sequence[AbandonedClaim]) -> None:
        """Close these claims: their holds are released. A claim that has begun again since stays open."""
        ...
