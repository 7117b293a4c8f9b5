"""Frees the units of carts whose time to hold them is over."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from checkout.ports.cart_holds import ExpiredCartHolds
from primitives.rounds import try_round


class CartHoldSweeper:
    """Sweeps about every `interval_s` seconds. Any number of sweepers may run at once."""

    def __init__(
        self,
        holds: ExpiredCartHolds,
        *,
        interval_s: float = 1.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._holds = holds
        self._interval_s = interval_s
        self._sleep = sleep
        self._chance = chance

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            await try_round("freeing the holds of carts", self.sweep)
            await self._sleep(self._interval_s * (0.5 + self._chance()))

    async def sweep(self) -> None:
        """Free all holds whose time is over."""
        for sku in await self._holds.listed():
            while await self._holds.free_expired(sku):
                pass
