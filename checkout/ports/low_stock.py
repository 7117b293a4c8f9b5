"""The SKUs that have few units for sale."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from cart.model import Sku

# The list is a warning, and its reader counts all of it: it has a bound.
MAX_LOW_SKUS: Final = 10_000


class LowStockList(Protocol):
    """The SKUs of the whole shop that a sale left with few units. At most `MAX_LOW_SKUS`: the earliest are dropped."""

    async def add(self, sku: Sku) -> bool:
        """List the SKU; returns whether it was not listed before."""
        ...

    async def refresh(self, mark: int) -> Mapping[Sku, int]:
        """The units for sale of the listed SKUs that have `mark` or fewer, the latest first. The others are listed no more.

        A SKU that `add` lists meanwhile stays listed if it has so few.
        """
        ...
