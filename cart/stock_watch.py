"""Stock of the SKUs in carts that were shown lately: cached, and read again every two seconds in the background.

So a cart says which lines exceed the stock, and reading it costs no call of the store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from cart.catalog.ports import StockLevels, StockUnknown
from cart.model import Line, Sku
from primitives.unit_of_work import unit_of_work

TICK_S: Final = 2.0
# SKUs of carts that were not rendered for so many ticks, or twice that, are not read any more.
TICKS_OF_GENERATION: Final = 15
# The most that are read in each tick: some 20 ms of a processor.
MAX_SKUS: Final = 5_000
# Commands sent together.
WINDOW: Final = 250
# Of a SKU that is not in the catalogue, whose line has another warning, or while the stock is unknown.
_UNLIMITED: Final = 1 << 62

NONE_SHORT: Final[Mapping[Sku, int]] = {}


class StockWatch:
    """The stock as carts show it. `run` must run beside it.

    `on_change` is called when carts that were rendered with these levels may have to be rendered again.
    """

    def __init__(
        self,
        stock: StockLevels,
        *,
        tick_s: float = TICK_S,
        max_skus: int = MAX_SKUS,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._stock = stock
        self._tick_s = tick_s
        self._max_young = max_skus // 2
        self._sleep = sleep
        self.on_change: Callable[[], None] = _nothing
        # In two generations; each SKU is in one of them.
        self._young: dict[Sku, int] = {}
        self._old: dict[Sku, int] = {}
        # The largest quantity of a line that was rendered in this generation, and in the one before: levels above
        # both make no difference.
        self._largest = 0
        self._largest_before = 0

    def shortages(self, lines: Sequence[Line]) -> Mapping[Sku, int] | None:
        """The stock of each SKU whose line exceeds it; None if that of a line is not cached: then `fetch` it."""
        # One pass for the usual case, in which nothing is short: 0.1 µs a line less than with what follows.
        stock_of, largest = self._young.get, self._largest
        for line in lines:
            units = stock_of(line.sku)
            if units is None or line.quantity > units or line.quantity > largest:
                return self._shortages(lines)
        return NONE_SHORT

    def _shortages(self, lines: Sequence[Line]) -> Mapping[Sku, int] | None:
        young = self._young
        short: dict[Sku, int] = {}
        for line in lines:
            units = young.get(line.sku)
            if units is None:
                units = self._old.pop(line.sku, None)
                if units is None:
                    return None
                young[line.sku] = units
            self._largest = max(self._largest, line.quantity)
            if line.quantity > units:
                short[line.sku] = units
        return short

    async def fetch(self, skus: Sequence[Sku]) -> None:
        """Cache the stock of these SKUs. While it is unknown, no line exceeds it."""
        missing = [sku for sku in skus if sku not in self._young and sku not in self._old]
        try:
            levels = await self._stock.levels(missing)
        except StockUnknown:
            levels = [None] * len(missing)
        if len(self._young) + len(missing) > self._max_young:
            self._turn_over()
        for sku, level in zip(missing, levels, strict=True):
            self._young[sku] = _UNLIMITED if level is None else level

    async def run(self) -> None:
        """Read the levels again until cancelled."""
        while True:
            for _ in range(TICKS_OF_GENERATION):
                await self._sleep(self._tick_s)
                with unit_of_work():
                    await self.refresh()
            self._turn_over()

    async def refresh(self) -> None:
        """Read all levels once; while the stock is unknown they stay as they are."""
        skus = [*self._old, *self._young]
        is_changed = False
        for start in range(0, len(skus), WINDOW):
            window = skus[start : start + WINDOW]
            try:
                levels = await self._stock.levels(window)
            except StockUnknown:
                break
            for sku, level in zip(window, levels, strict=True):
                is_changed |= self._update(sku, _UNLIMITED if level is None else level)
        if is_changed:
            self.on_change()

    def _update(self, sku: Sku, units: int) -> bool:
        """Store a level; says whether it makes a difference to a cart."""
        generation = self._young if sku in self._young else self._old
        before = generation.get(sku)
        if before is None or before == units:
            return False
        generation[sku] = units
        return min(before, units) < max(self._largest, self._largest_before)

    def _turn_over(self) -> None:
        """Forget SKUs that were in no cart for long. Carts that are still read are rendered again, which counts their SKUs."""
        self._old, self._young = self._young, {}
        self._largest_before, self._largest = self._largest, 0
        self.on_change()


def _nothing() -> None:
    pass
