"""The list of a shop's coupons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class CouponCodes(Protocol):
    """The codes of all coupons. Both changes may be repeated."""

    async def add(self, code: str) -> None:
        """List a code."""
        ...

    async def remove(self, code: str) -> None:
        """List a code no more."""
        ...

    async def page(self, *, limit: int, after: str = "") -> Sequence[str]:
        """Up to `limit` codes in alphabetic order, those behind `after`."""
        ...
