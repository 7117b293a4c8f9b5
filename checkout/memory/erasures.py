"""Requested erasures in memory, for tests."""

from __future__ import annotations

from collections.abc import Sequence

from cart.model import OrderId
from checkout.ports.erasures import RequestedErasure


class MemoryErasures:
    """`ErasureRequests` in a dict."""

    def __init__(self) -> None:
        self._at: dict[OrderId, int] = {}

    async def enter(self, order_ids: Sequence[OrderId], *, at: int) -> None:
        """See `ErasureRequests.enter`."""
        for order_id in order_ids:
            self._at.setdefault(order_id, at)

    async def waiting(self, *, limit: int, after: RequestedErasure | None = None) -> Sequence[RequestedErasure]:
        """See `ErasureRequests.waiting`."""
        requests = sorted((at, order_id) for order_id, at in self._at.items())
        behind = [each for each in requests if after is None or each > (after.at, after.order_id)]
        return [RequestedErasure(order_id, at) for at, order_id in behind[:limit]]

    async def count(self) -> int:
        """See `ErasureRequests.count`."""
        return len(self._at)

    async def finish(self, order_id: OrderId) -> None:
        """See `ErasureRequests.finish`."""
        self._at.pop(order_id, None)
