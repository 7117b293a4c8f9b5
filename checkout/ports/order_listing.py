"""Lists of all orders by their status and the time since which they have it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

import msgspec

from cart.model import OrderId
from checkout.order_status import OrderStatus


class Listed(msgspec.Struct, frozen=True):
    """An order that has had its status since `at`, Unix milliseconds by the clock of the store."""

    at: int
    order_id: OrderId


class OrderListing(Protocol):
    """The ids of orders by status, written with each transition. Raises the errors of the store.

    Orders that were accepted by a version without this list are in it after their next transition.
    """

    async def page(
        self,
        statuses: Collection[OrderStatus],
        *,
        limit: int,
        after: Listed | None = None,
        older_s: float = 0.0,
        younger_s: float | None = None,
        newest_first: bool = False,
    ) -> Sequence[Listed]:
        """Up to `limit` orders that have one of the statuses, behind `after`, the longest first unless `newest_first`.

        Only those that have had it for `older_s` at least and `younger_s` at most, seconds by the clock of the store.
        """
        ...

    async def now_ms(self) -> int:
        """The time by the clock of the store."""
        ...

    async def counts(self) -> Mapping[OrderStatus, int]:
        """The number of orders in each status."""
        ...
