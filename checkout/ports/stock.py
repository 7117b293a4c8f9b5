"""Stock: the units of each SKU that are available, held for a checkout, or sold."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from cart.model import DAY_MS, CartId, OrderId, Sku
from checkout.errors import HoldOutcome

# Longer than the claim under which stock is held, so that an accepted order always finds its holds.
HOLD_MS: Final = 60_000
# How long an order counts for the limit of a product for one shopper.
PER_SHOPPER_MS: Final = 30 * DAY_MS


# How long the stock of an order that was put back is remembered: longer than a worker hangs, or a store is away.
RESTOCKED_MS: Final = 30 * DAY_MS


class StockLine(msgspec.Struct, frozen=True):
    """A quantity of a SKU, for an order."""

    sku: Sku
    quantity: int


class Wanted(Protocol):
    """A quantity of a SKU: a `StockLine`, or the line of an order."""

    @property
    def sku(self) -> Sku:
        """The SKU."""
        ...

    @property
    def quantity(self) -> int:
        """How many."""
        ...


class Stock(Protocol):
    """The stock of each SKU. `available + held + sold` is constant but for `restock`.

    `available` is never below zero, but for products that are sold ahead.

    Each call may be repeated: it takes effect once for each order.
    """

    async def hold(
        self,
        order_id: OrderId,
        lines: Sequence[Wanted],
        *,
        fence: int,
        shoppers: Sequence[str] = (),
        cart_id: CartId | None = None,
    ) -> list[HoldOutcome]:
        """Move the lines from available to held, for `HOLD_MS`; returns the lines that are short, or over a limit, and those sold ahead.

        A product that is sold ahead (`Terms.sold_ahead`) has as many more units than are available, and then fewer than none. A
        repeated call may say more units ahead, as of those sold last.

        `shoppers` are names of the one who orders, hashes without blanks: of the signed-in shopper, and of the e-mail address.
        Where a product has a limit for one shopper (`Terms.per_shopper`), the units of each name are added up over all
        orders of the last `PER_SHOPPER_MS`, or the time of the adapter, that were not given back by `release`, `cancel` or `expire`.

        Units that the cart `cart_id` holds (`cart.ports.CartHolds`) become those of the order, without a gap.

        With a line that is not held, some of the other lines may be held: `release` them. Takes over a hold of the same order with a
        lower fence. Raises `IdempotencyKeyInProgress` if a claim with a higher fence holds them.
        """
        ...

    async def release(
        self, order_id: OrderId, skus: Collection[Sku], *, fence: int, cart_id: CartId | None = None
    ) -> None:
        """Make available again the holds of this claim, but no sale and no hold of a claim with a higher fence.

        Units that were taken over from the cart `cart_id` are held for it again, until the end that its hold had; such a hold
        is not extended any more.
        """
        ...

    async def confirm(
        self, order_id: OrderId, skus: Collection[Sku], *, reads_units_left: bool = False
    ) -> Mapping[Sku, int]:
        """Turn the order's holds into sales, which do not expire.

        Returns the units of each SKU that are left for sale if it `reads_units_left`, else nothing. Raises `StockNotHeld`;
        some may be confirmed then.
        """
        ...

    async def cancel(self, order_id: OrderId, skus: Collection[Sku]) -> None:
        """Make available again all holds and sales of a cancelled order."""
        ...

    async def complete(self, order_id: OrderId, skus: Collection[Sku]) -> None:
        """Delete the records of a completed order's sales.

        Call it after the transition to `completed`, and again for each further delivery of a completed order.
        """
        ...

    async def restock(self, order_id: OrderId, lines: Sequence[StockLine], *, report: str) -> None:
        """Make returned goods of a completed order available again.

        Each SKU once for each `report`, the id of the fact, also if a repeat comes days later.
        """
        ...

    async def expire(self, order_id: OrderId, skus: Collection[Sku]) -> bool:
        """Make available again the expired holds of an order that was never accepted; True if no hold is left."""
        ...
