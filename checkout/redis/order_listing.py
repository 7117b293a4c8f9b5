"""Orders by status in Redis or Valkey: a sorted set for each status and partition, written by the scripts that change orders."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from cart.model import OrderId
from checkout.order_status import OrderStatus
from checkout.ports.order_listing import Listed
from checkout.stored import ALL_PARTITIONS, status_key
from store import Script, Store

COUNT: Final = Script.from_package("checkout.redis", "scripts/count.lua")


class RedisOrderListing:
    """`OrderListing` on a store. A page asks each partition for its part, in one batch.

    The partitions are in different slots, so on a cluster, where `is_cluster`, each is counted by a call of its own.
    """

    def __init__(self, store: Store, *, is_cluster: bool = False) -> None:
        self._store = store
        self._is_cluster = is_cluster

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
        """See `OrderListing.page`."""
        now = await self.now_ms()
        lowest = 0 if younger_s is None else now - round(younger_s * 1000)
        highest = now - round(older_s * 1000)
        bounds = [(str(lowest), str(highest))]
        if after is not None:
            # Those of the same millisecond, then those behind it.
            behind = (str(lowest), f"({after.at}") if newest_first else (f"({after.at}", str(highest))
            bounds = [(str(after.at), str(after.at)), behind]
        replies = await asyncio.gather(
            *(
                self._range(status_key(partition, status), low, high, limit, newest_first=newest_first)
                for partition in ALL_PARTITIONS
                for status in statuses
                for low, high in bounds
            )
        )
        found = {Listed(int(score), OrderId(name.decode())) for reply in replies for name, score in reply}
        ordered = sorted(found, key=_position, reverse=newest_first)
        if after is not None:
            ordered = [each for each in ordered if _is_behind(each, after, newest_first=newest_first)]
        return ordered[:limit]

    async def now_ms(self) -> int:
        """See `OrderListing.now_ms`."""
        seconds, microseconds = await self._store.execute("TIME")
        return int(seconds) * 1000 + int(microseconds) // 1000

    async def counts(self) -> Mapping[OrderStatus, int]:
        """See `OrderListing.counts`."""
        return {status: await self._count(_keys(status)) for status in OrderStatus}

    async def _count(self, keys: Sequence[str]) -> int:
        calls = [[key] for key in keys] if self._is_cluster else [keys]
        return sum(await asyncio.gather(*(self._store.run(COUNT, each) for each in calls)))

    async def _range(self, key: str, low: str, high: str, limit: int, *, newest_first: bool) -> Any:
        # Ties are read whole, so that a page can continue within a millisecond.
        part = () if low == high else ("LIMIT", 0, limit)
        edges = (high, low, "BYSCORE", "REV") if newest_first else (low, high, "BYSCORE")
        return await self._store.execute("ZRANGE", key, *edges, *part, "WITHSCORES")


def _keys(status: OrderStatus) -> list[str]:
    return [status_key(partition, status) for partition in ALL_PARTITIONS]


def _position(listed: Listed) -> tuple[int, str]:
    return listed.at, listed.order_id


def _is_behind(listed: Listed, after: Listed, *, newest_first: bool) -> bool:
    if newest_first:
        return _position(listed) < _position(after)
    return _position(listed) > _position(after)
