"""The list of coupons in memory, for tests."""

from __future__ import annotations

from collections.abc import Sequence


class MemoryCouponCodes:
    """`CouponCodes` in a set."""

    def __init__(self) -> None:
        self._codes: set[str] = set()

    async def add(self, code: str) -> None:
        """See `CouponCodes.add`."""
        self._codes.add(code)

    async def remove(self, code: str) -> None:
        """See `CouponCodes.remove`."""
        self._codes.discard(code)

    async def page(self, *, limit: int, after: str = "") -> Sequence[str]:
        """See `CouponCodes.page`."""
        return sorted(code for code in self._codes if code > after)[:limit]
