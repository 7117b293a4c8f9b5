"""Holds of carts in memory, for tests: over the stock in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from cart.model import CartId, Sku
from cart.ports import LineHold
from cart.timestamps import unix_ms
from checkout.memory.stock import MemoryStock

_NONE = LineHold(0, 0, is_extended=False)


class MemoryCartHolds:
    """`CartHolds` and `ExpiredCartHolds` over a `MemoryStock`; `seconds` has the time of each product that is held."""

    def __init__(self, stock: MemoryStock, *, clock_ms: Callable[[], int] = unix_ms) -> None:
        self.seconds: dict[Sku, int] = {}
        self._stock = stock
        self._clock_ms = clock_ms

    async def set(self, cart_id: CartId, units: Mapping[Sku, int], *, merged: CartId | None = None) -> None:
        """See `CartHolds.set`."""
        for sku, quantity in units.items():
            self._free(sku)
            held, other = self._hold(sku, cart_id), self._hold(sku, merged)
            if merged is not None:
                self._stock.set_cart_hold(sku, merged, None)
            self._stock.set_cart_hold(sku, cart_id, None)
            owned = held.quantity + other.quantity
            wanted = min(quantity, self._stock.per_shopper.get(sku, quantity)) if sku in self.seconds else 0
            wanted = wanted if wanted - owned <= max(self._stock.available.get(sku, 0) - owned, 0) else owned
            until = max(held.until, other.until) or self._clock_ms() + self.seconds.get(sku, 0) * 1000
            hold = LineHold(wanted, until, held.is_extended or other.is_extended)
            self._stock.set_cart_hold(sku, cart_id, hold if wanted else None)

    async def read(self, cart_id: CartId, skus: Sequence[Sku]) -> Mapping[Sku, LineHold]:
        """See `CartHolds.read`."""
        holds = {sku: self._hold(sku, cart_id) for sku in skus}
        return {sku: hold for sku, hold in holds.items() if hold.quantity}

    async def extend(self, cart_id: CartId, sku: Sku) -> bool:
        """See `CartHolds.extend`."""
        hold = self._hold(sku, cart_id)
        if not hold.quantity or hold.is_extended:
            return False
        until = hold.until + self.seconds[sku] * 1000
        self._stock.set_cart_hold(sku, cart_id, LineHold(hold.quantity, until, is_extended=True))
        return True

    async def listed(self) -> Sequence[Sku]:
        """See `ExpiredCartHolds.listed`."""
        return list(self.seconds)

    async def free_expired(self, sku: Sku) -> bool:
        """See `ExpiredCartHolds.free_expired`."""
        self._free(sku)
        return False

    def _free(self, sku: Sku) -> None:
        now = self._clock_ms()
        for held, cart_id in [key for key, until in self._stock.cart_ends.items() if until <= now]:
            if held == sku:
                self._stock.set_cart_hold(sku, cart_id, None)

    def _hold(self, sku: Sku, cart_id: CartId | None) -> LineHold:
        hold = self._stock.cart_hold(sku, cart_id)
        return _NONE if hold is None or hold.until <= self._clock_ms() else hold
