"""Giving back the stock of checkouts that never told their end: killed between a hold and its commit."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final

from cart.model import unix_ms
from checkout.ports.orders import CLAIM_MS, OpenClaims
from checkout.ports.stock import HOLD_MS, Stock

# A claim holds stock only while it is in force, so by then every hold of it has expired.
AGE_MS: Final = CLAIM_MS + HOLD_MS

logger = logging.getLogger(__name__)


class StockSweeper:
    """Looks for abandoned claims about every `interval_s` seconds. Several may run at once, in any number of processes."""

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
            except Exception as error:  # noqa: BLE001 - it is only late
                logger.warning(
                    "stock could not be sweep; the next sweep tries again: %s: %s", type(error).__name__, error
                )
            await self._sleep(self._interval_s * (0.5 + self._chance()))

    async def sweep(self) -> int:
        """Give back what abandoned claims hold; returns how many of them are done with."""
        claims = await self._claims.abandoned(before_ms=self._clock_ms() - self._age_ms)
        # A claim whose holds have not all expired was begun again since, or its servers' clocks differ: next time.
        done = [claim for claim in claims if await self._stock.expire(claim.order_id, claim.skus)]
        await self._claims.delete_claims(done)
        return len(done)
