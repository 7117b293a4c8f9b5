"""The list of coupons in Redis or Valkey: a sorted set `coupons`, all of one score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from store import Store

COUPONS_KEY: Final = "coupons"


class RedisCouponCodes:
    """`CouponCodes` on a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def add(self, code: str) -> None:
        """See `CouponCodes.add`."""
        await self._store.execute("ZADD", COUPONS_KEY, 0, code)

    async def remove(self, code: str) -> None:
        """See `CouponCodes.remove`."""
        await self._store.execute("ZREM", COUPONS_KEY, code)

    async def page(self, *, limit: int, after: str = "") -> Sequence[str]:
        """See `CouponCodes.page`."""
        start = f"({after}" if after else "-"
        found = await self._store.execute("ZRANGE", COUPONS_KEY, start, "+", "BYLEX", "LIMIT", 0, limit)
        return [code.decode() for code in found]
