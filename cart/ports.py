"""The ports of the cart handlers: prices, and the store of carts."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

import msgspec

from cart.model import Cart, CartId, Limits, Line, Product, Sku, Strategy


class PriceBook(Protocol):
    """Names and current prices.

    They are given as mappings that may hold other products besides (an adapter's whole cache), so that nothing is copied on
    the hot path: look up in them, do not go through them. The values of a mapping never change: once a price
    changes, another mapping takes its place.
    """

    @property
    def is_stale(self) -> bool:
        """Whether nobody can say just now that the prices still hold. When this changes, another mapping takes its place."""
        ...

    @property
    def current(self) -> Mapping[Sku, Product]:
        """The current mapping, complete or not: where it still is the one a caller looked up in, nothing has changed."""
        ...

    async def products(self, skus: Collection[Sku]) -> Mapping[Sku, Product]:
        """A mapping with the products of these SKUs; those not sold are absent."""
        ...


class Write(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The context of a write: time, limits and conditions.

    `if_match`: the version the cart must have (-1 never matches), None for any.
    `owner`: the signed-in shopper who asks; a cart with another owner is not found.
    """

    now: int
    limits: Limits
    if_match: int | None = None
    owner: str | None = None


class Carts(Protocol):
    """A place that keeps carts; each write is one atomic change, and is returned as the cart became.

    All but `create` and `settle` raise `CartNotFound`. Writes raise `CartClosed` for a cart that is ordered or merged, then
    `VersionMismatch`, then their own errors; a write refused leaves the cart as it was.
    """

    async def create(self, cart: Cart, *, limits: Limits) -> None:
        """Keep a new, empty cart."""
        ...

    async def read(self, cart_id: CartId, *, owner: str | None = None) -> Cart:
        """The cart as it is now; its status is never `merging`."""
        ...

    async def add_line(self, cart_id: CartId, line: Line, *, currency: str, write: Write) -> Cart:
        """Add to the line of a SKU, or start it. Raises `ForeignCurrency`, `QuantityLimit`, `CartFull`."""
        ...

    async def set_lines(self, cart_id: CartId, lines: Sequence[Line], *, currency: str | None, write: Write) -> Cart:
        """Set lines of different SKUs, all or none; quantity 0 removes, and removing an absent line is no fault.

        `currency` is the one that all lines above 0 are priced in, None if there are none.
        Raises `ForeignCurrency`, `QuantityLimit`, `CartFull`.
        """
        ...

    async def remove_line(self, cart_id: CartId, sku: Sku, *, write: Write) -> Cart:
        """Remove a line. Raises `LineNotFound`."""
        ...

    async def delete(self, cart_id: CartId, *, write: Write) -> None:
        """Forget the cart. It must be open."""
        ...

    async def merge(self, cart_id: CartId, source_id: CartId, strategy: Strategy, *, write: Write) -> Cart:
        """Take the lines of the cart `source_id` into the cart `cart_id`, and close the source as merged.

        Done once, however often it is repeated: a source already merged into this cart is answered with the cart as it is,
        independent of `if_match`. Killed at any point, it has happened wholly or not at all for the next reader.
        Raises `ForeignCurrency`, `QuantityLimit`, `CartFull`, also `CartNotFound` and `CartClosed` about the source.
        """
        ...

    async def settle(self, cart_id: CartId) -> None:
        """Bring a merge of this cart into another one, if it was cut short, to its end; the cart is then open or merged."""
        ...
