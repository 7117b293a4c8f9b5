"""Units that are held for the lines of carts: they follow the writes of the handlers, and are shown."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import Final

from cart.model import Cart, CartId, Product, Sku
from cart.ports import CartHolds, LineHold, PriceBook
from primitives.outages import is_outage, level_of

NO_HOLDS: Final[Mapping[Sku, LineHold]] = {}

logger = logging.getLogger(__name__)


class LineHolds:
    """The holds of carts for the cart handlers.

    A failure of the store leaves a line without a hold, or with one that ends by itself: the cart is written all the same.
    """

    def __init__(self, holds: CartHolds, prices: PriceBook) -> None:
        self._holds = holds
        self._prices = prices

    async def follow(self, cart: Cart, skus: Collection[Sku], *, merged: CartId | None = None) -> None:
        """Hold the units that the lines of these SKUs have after a write, and free the others."""
        current = self._prices.current
        if all(sku in current and not is_held_at_carts(current[sku]) for sku in skus):
            return
        try:
            await self._follow(cart, skus, merged)
        except Exception as error:  # noqa: BLE001 - raised again unless it is an outage
            _log_outage("holding the units of a cart", error)

    async def _follow(self, cart: Cart, skus: Collection[Sku], merged: CartId | None) -> None:
        products = await self._prices.products(skus)
        held = [sku for sku in skus if is_held_at_carts(products.get(sku))]
        if not held:
            return
        quantities = {line.sku: line.quantity for line in cart.lines} if cart.status == "open" else {}
        await self._holds.set(cart.id, {sku: quantities.get(sku, 0) for sku in held}, merged=merged)

    async def free(self, cart: Cart) -> None:
        """Free all units of a cart that was deleted."""
        try:
            products = await self._prices.products(cart.skus)
            held = {sku: 0 for sku in cart.skus if is_held_at_carts(products.get(sku))}
            if held:
                await self._holds.set(cart.id, held)
        except Exception as error:  # noqa: BLE001 - raised again unless it is an outage
            _log_outage("freeing the units of a cart", error)

    async def of(self, cart: Cart, skus: Collection[Sku]) -> Mapping[Sku, LineHold]:
        """The holds of these lines; none while they cannot be read."""
        try:
            return await self._holds.read(cart.id, list(skus))
        except Exception as error:  # noqa: BLE001 - raised again unless it is an outage
            _log_outage("reading the holds of a cart", error)
            return NO_HOLDS

    async def extend(self, cart_id: CartId, sku: Sku) -> bool:
        """See `CartHolds.extend`."""
        return await self._holds.extend(cart_id, sku)


def is_held_at_carts(product: Product | None) -> bool:
    """Whether carts hold units of the product."""
    return product is not None and product.terms.hold_at_cart > 0


def _log_outage(doing: str, error: Exception) -> None:
    """Log an outage; any other error is raised."""
    if not is_outage(error):
        raise error
    logger.log(level_of(error), "%s failed: %s: %s", doing, type(error).__name__, error)
