"""The holds of carts whose time is over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from cart.model import Sku


class ExpiredCartHolds(Protocol):
    """Frees them. Any number of processes may at once; both raise the errors of the store."""

    async def listed(self) -> Sequence[Sku]:
        """The SKUs of which carts hold units, or have held some in the last hours."""
        ...

    async def free_expired(self, sku: Sku) -> bool:
        """Make available again the units of some holds of the SKU whose time is over; True if there may be more of them."""
        ...
