"""Stock as the people of a shop see it and correct it, beside live checkouts. There is one location for all of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from cart.catalog.numbers import STOCK_MAX
from cart.model import OrderId, Sku


class UnknownSku(Exception):
    """The SKU is not in the catalogue."""

    def __init__(self, sku: Sku) -> None:
        super().__init__(f"{sku!r} is not in the catalogue")


class UnitsOutOfRange(Exception):
    """A correction would leave fewer than no units for sale, or more than `STOCK_MAX`; nothing was changed."""

    def __init__(self, sku: Sku, available: int) -> None:
        super().__init__(
            f"{sku!r} has {available} units for sale, and a correction must leave 0 to {STOCK_MAX:,}; those in checkouts and "
            "orders are not for sale: cancel the orders to have them back"
        )
        self.available = available


class StockLevel(msgspec.Struct, frozen=True):
    """The units of a SKU: `available` for sale, `held` for checkouts, and `sold` in orders that are not completed."""

    sku: Sku
    available: int
    held: int
    sold: int


class StockHold(msgspec.Struct, frozen=True):
    """Units that an order holds. `until_ms` (Unix milliseconds, the store's clock) is None for a sale."""

    order_id: OrderId
    quantity: int
    until_ms: int | None


class HoldsPage(msgspec.Struct, frozen=True):
    """Some holds of a SKU, in no particular order; `next_cursor` leads to the others, None where there are none."""

    holds: Sequence[StockHold]
    next_cursor: str | None


class Correction(msgspec.Struct, frozen=True):
    """The units for sale `before` and `after` it. `is_new` is False for one that was made with this key before."""

    before: int
    after: int
    is_new: bool


class Inventory(Protocol):
    """Reads and corrects the stock of a SKU. Raises `UnknownSku`."""

    async def level(self, sku: Sku) -> StockLevel:
        """All units of the SKU. They are counted one after the other, so that a sale meanwhile may count twice or not."""
        ...

    async def holds(self, sku: Sku, *, limit: int, cursor: str | None = None) -> HoldsPage:
        """About `limit` holds. A hold that is there all the time is on some page; a changed one may be on two.

        Raises `ValueError` for a cursor that is none.
        """
        ...

    async def set(self, sku: Sku, units: int, *, key: str) -> Correction:
        """Have so many units for sale from now on, 0 to `STOCK_MAX`, beside those that are held and sold.

        A repetition with the same `key` within 30 days changes nothing.
        """
        ...

    async def add(self, sku: Sku, units: int, *, key: str) -> Correction:
        """Have so many units more for sale, or fewer. Raises `UnitsOutOfRange`. Repetitions as of `set`."""
        ...
