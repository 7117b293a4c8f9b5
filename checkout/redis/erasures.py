"""Requested erasures in Redis or Valkey.

privacy:erasing   sorted set: order ids by the time of the request (ms)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cart.model import OrderId
from checkout.ports.erasures import RequestedErasure
from store import FINISH, Store

KEY: Final = "privacy:erasing"


class RedisErasures:
    """`ErasureRequests` on a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def enter(self, order_ids: Sequence[OrderId], *, at: int) -> None:
        """See `ErasureRequests.enter`."""
        if order_ids:
            pairs = [part for order_id in order_ids for part in (at, order_id)]
            await self._store.run(FINISH, [KEY], ["ZADD", "NX", *pairs])

    async def waiting(self, *, limit: int, after: RequestedErasure | None = None) -> Sequence[RequestedErasure]:
        """See `ErasureRequests.waiting`."""
        lowest = 0 if after is None else after.at
        found = await self._store.execute("ZRANGE", KEY, lowest, "+inf", "BYSCORE", "WITHSCORES")
        requests = [RequestedErasure(OrderId(name.decode()), int(score)) for name, score in found]
        return [each for each in requests if after is None or _position(each) > _position(after)][:limit]

    async def count(self) -> int:
        """See `ErasureRequests.count`."""
        count: int = await self._store.execute("ZCARD", KEY)
        return count

    async def finish(self, order_id: OrderId) -> None:
        """See `ErasureRequests.finish`."""
        await self._store.execute("ZREM", KEY, order_id)


def _position(request: RequestedErasure) -> tuple[int, OrderId]:
    return request.at, request.order_id
