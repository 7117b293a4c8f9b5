"""The ports of the cart handlers: prices, and the store of carts."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from cart.model import DAY_MS, Cart, CartId, Limits, Line, Product, Sku, Strategy

# The currency of lines that are priced in more than one: it is no cart's.
SEVERAL_CURRENCIES: Final = "several"


# A digest of an idempotency key, or of a write, and how many keys of a cart are known for how long.
DIGEST_CHARS: Final = 20
KNOWN_KEYS: Final = 50
KEY_MS: Final = DAY_MS


class PriceBook(Protocol):
    """Names and current prices.

    They are given as mappings that may hold other products besides (an adapter's whole cache), so that nothing is copied on
    the hot path: look up in them, do not go through them. The values of a mapping never change: once a price
    changes, another mapping replaces it.
    """

    @property
    def is_stale(self) -> bool:
        """Whether the prices cannot be confirmed now. When this changes, another mapping replaces the current one."""
        ...

    @property
    def current(self) -> Mapping[Sku, Product]:
        """The current mapping, complete or not. While it is the same object, nothing has changed."""
        ...

    async def products(self, skus: Collection[Sku]) -> Mapping[Sku, Product]:
        """A mapping with the products of these SKUs; those not sold are absent."""
        ...


class Write(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """The context of a write: time, limits and conditions.

    `if_match`: the version the cart must have (-1 never matches), None for any.
    `owner`: the signed-in shopper; a cart with another owner is not found.
    `key`: digests of the idempotency key and of the write that it is for, `DIGEST_CHARS` each; None without a key.
    """

    now: int
    limits: Limits
    if_match: int | None = None
    owner: str | None = None
    key: str | None = None


class Carts(Protocol):
    """The store of carts. Each write is one atomic change, and returns the changed cart.

    All but `create`, `own` and `settle` raise `CartNotFound`. Writes raise `CartClosed` for a cart that is ordered or merged, then
    `VersionMismatch`, then their own errors; a refused write changes nothing.

    A write whose idempotency key was used by a write of this cart is not done again: it returns the cart as it is now, whether
    it has changed or closed since, and raises `IdempotencyKeyReused` if the key was for another write. The last `KNOWN_KEYS`
    of writes that were done are known, for `KEY_MS` after the last of them.
    """

    async def create(self, cart: Cart, *, limits: Limits) -> None:
        """Store a new, empty cart."""
        ...

    async def read(self, cart_id: CartId, *, owner: str | None = None) -> Cart:
        """The cart as it is now; its status is never `merging`."""
        ...

    async def own(self, new: Cart, *, limits: Limits) -> Cart:
        """The own cart of the shopper `new.owner`: the one that this call gave last, while it is open; else `new`, stored.

        So simultaneous calls give one cart. `new` is empty, and its id is from `new_own_cart_id`.
        """
        ...

    async def add_line(self, cart_id: CartId, line: Line, *, currency: str, write: Write) -> Cart:
        """Add to the line of a SKU, or start it. Raises `ForeignCurrency`, `QuantityLimit`, `CartFull`."""
        ...

    async def set_lines(self, cart_id: CartId, lines: Sequence[Line], *, currency: str | None, write: Write) -> Cart:
        """Set lines of different SKUs, all or none; quantity 0 removes, and removing an absent line is no fault.

        `currency` is the one that all lines above 0 are priced in, `SEVERAL_CURRENCIES` if they differ, and None if there
        are no such lines.
        Raises `ForeignCurrency`, `QuantityLimit`, `CartFull`.
        """
        ...

    async def remove_line(self, cart_id: CartId, sku: Sku, *, write: Write) -> Cart:
        """Remove a line. Raises `LineNotFound`."""
        ...

    async def delete(self, cart_id: CartId, *, write: Write) -> None:
        """Delete the cart. It must be open."""
        ...

    async def merge(self, cart_id: CartId, source_id: CartId, strategy: Strategy, *, write: Write) -> Cart:
        """Take the lines of the cart `source_id` into the cart `cart_id`, and close the source as merged.

        A repeated merge is done once: for a source already merged into this cart it returns the cart unchanged,
        independent of `if_match`. After a kill at any point, the next read shows the whole merge or none of it.
        Raises `ForeignCurrency`, `QuantityLimit`, `CartFull`, also `CartNotFound` and `CartClosed` about the source.
        """
        ...

    async def settle(self, cart_id: CartId) -> None:
        """Complete or undo an interrupted merge of this cart into another; the cart is then open or merged."""
        ...


class LineHold(msgspec.Struct, frozen=True, gc=False):
    """Units of a SKU that are held for a cart `until` a time, in Unix milliseconds of the store's clock; extended once at most."""

    quantity: int
    until: int
    is_extended: bool


class CartHolds(Protocol):
    """Units that are held for lines of carts, of the products that have a time for it (`Terms.hold_at_cart`)."""

    async def set(self, cart_id: CartId, units: Mapping[Sku, int], *, merged: CartId | None = None) -> None:
        """Hold so many units of each SKU, 0 for none; where there are too few for all, those that are held stay.

        No more are held than one shopper may order (`Terms.per_shopper`). The time of a hold begins with its first units. The holds that the cart `merged` has of these SKUs are taken over
        first, with the later end.
        """
        ...

    async def read(self, cart_id: CartId, skus: Sequence[Sku]) -> Mapping[Sku, LineHold]:
        """The holds of the cart that have not ended."""
        ...

    async def extend(self, cart_id: CartId, sku: Sku) -> bool:
        """Hold the units for the same time once more; False if they are not held, or were extended before."""
        ...


class CartErasure(Protocol):
    """Deletes carts in any status, for a shopper who wants to be forgotten. All calls may be repeated."""

    async def delete(self, cart_id: CartId) -> bool:
        """Delete a cart and the record of its idempotency keys; whether there was one."""
        ...

    async def delete_all_of(self, owner: str) -> int:
        """Delete all carts with this owner; returns their number."""
        ...
