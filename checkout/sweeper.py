"""The stock sweeper: releases the holds of checkouts that died between the hold and the commit."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final

from cart.timestamps import unix_ms
from checkout.ports.orders import CLAIM_MS, OpenClaims
from checkout.ports.stock import HOLD_MS, Stock
from primitives.outages import level_of

# A claim holds stock only while it is valid, so all its holds have expired at this age.
AGE_MS: Final = CLAIM_MS + HOLD_MS

logger = logging.getLogger(__name__)


class StockSweeper:
    """Sweeps abandoned claims about every `interval_s` seconds. Any number of sweepers may run at once."""

    def __init__(
        self,
        claims: OpenClaims,
        stock: Stock,
        *,
        interval_s: float = 10.0,
        age_ms: int = AGE_MS,
        clock_ms: Callable[[], int] = unix_ms,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._claims = claims
        self._stock = stock
        self._interval_s = interval_s
        self._age_ms = age_ms
        self._clock_ms = clock_ms
        self._sleep = sleep
        self._chance = chance

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            try:
                await self.sweep()
            except Exception as error:  # noqa: BLE001 - the next sweep repeats it
                logger.log(
                    level_of(error),
                    "sweeping abandoned stock failed; the next sweep tries again: %s: %s",
                    type(error).__name__,
                    error,
                )
            await self._sleep(self._interval_s * (0.5 + self._chance()))

    async def sweep(self) -> int:
        """Release the holds of abandoned claims; returns the number of claims closed."""
        claims = await self._claims.abandoned(before_ms=self._clock_ms() - self._age_ms)
        # A claim with a hold that has not expired has begun again, or server clocks differ: left to a later sweep.
        done = [claim for claim in claims if await self._stock.expire(claim.order_id, claim.skus)]
        await self._claims.delete_claims(done)
        return len(done)
