"""The orders whose personal data is to be erased."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from cart.model import OrderId


class RequestedErasure(msgspec.Struct, frozen=True):
    """The personal data of the order is to be erased, since `at` (Unix milliseconds)."""

    order_id: OrderId
    at: int


class ErasureRequests(Protocol):
    """The requests that are not carried out yet. All calls raise the errors of the store, and may be repeated."""

    async def enter(self, order_ids: Sequence[OrderId], *, at: int) -> None:
        """Request the erasure of these orders; a request that is there already keeps its time."""
        ...

    async def waiting(self, *, limit: int, after: RequestedErasure | None = None) -> Sequence[RequestedErasure]:
        """Up to `limit` requests behind `after`, the oldest first."""
        ...

    async def count(self) -> int:
        """Their number."""
        ...

    async def finish(self, order_id: OrderId) -> None:
        """The order has no personal data any more."""
        ...
