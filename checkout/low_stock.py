"""Warnings of SKUs that have few units for sale."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final

from cart.model import Sku
from checkout.ports.low_stock import LowStockList
from primitives.rounds import try_round

COUNT_S: Final = 10.0
# Of SKUs known to be listed: the crowd of a drop confirms thousands of orders of one.
REMEMBERED_S: Final = 10.0
MAX_REMEMBERED: Final = 1000

_log = logging.getLogger("peakgate")


class LowStock:
    """Warns once when a sale leaves `mark` units of a SKU or fewer, and again after a count that found more of them."""

    def __init__(self, listed: LowStockList, mark: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._list = listed
        self._mark = mark
        self._clock = clock
        self._listed_at: dict[Sku, float] = {}

    async def check(self, units_left: Mapping[Sku, int]) -> None:
        """Warn of the SKUs among these that are low. A failure is logged: no order waits for a warning."""
        for sku, units in units_left.items():
            if units <= self._mark and not self._is_remembered(sku):
                await try_round("listing a SKU of low stock", partial(self._warn, sku, units))

    async def _warn(self, sku: Sku, units: int) -> None:
        is_new = await self._list.add(sku)
        if len(self._listed_at) >= MAX_REMEMBERED:
            self._listed_at.clear()
        self._listed_at[sku] = self._clock()
        if is_new:
            _log.warning(
                "low stock: %s has %d units for sale, of a mark of %d; add some with `peakgate stock add`",
                sku,
                max(units, 0),
                self._mark,
            )

    def _is_remembered(self, sku: Sku) -> bool:
        listed_at = self._listed_at.get(sku)
        return listed_at is not None and self._clock() - listed_at < REMEMBERED_S


class LowStockWatch:
    """Counts the low SKUs every `COUNT_S`, in one process at a time: `may_count` says whether in this one.

    `latest` has their units for sale; it is None in the other processes, and before the first count.
    """

    def __init__(
        self,
        listed: LowStockList,
        mark: int,
        *,
        may_count: Callable[[], Awaitable[bool]],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.latest: Mapping[Sku, int] | None = None
        self._list = listed
        self._mark = mark
        self._may_count = may_count
        self._sleep = sleep

    async def run(self) -> None:
        """Count until cancelled."""
        while True:
            await try_round("counting the SKUs of low stock", self.count)
            await self._sleep(COUNT_S)

    async def count(self) -> None:
        """Count once. While the store cannot be read, the count before stays."""
        self.latest = await self._list.refresh(self._mark) if await self._may_count() else None
