"""The stock sweeper: releases the holds of checkouts that died between the hold and the commit."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

from checkout.ports.orders import CLAIM_MS, OpenClaims
from checkout.ports.stock import HOLD_MS, Stock
from primitives.ages import Ages
from primitives.rounds import try_round

# A claim holds stock only while it is valid, so all its holds have expired at this age.
AGE_S: Final = (CLAIM_MS + HOLD_MS) / 1000
INTERVAL_S: Final = 10.0
# A claim is seen, and later closed, by one of the sweeps, which are one and a half intervals apart at most.
CLOSED_WITHIN_S: Final = AGE_S + 2 * 1.5 * INTERVAL_S


class StockSweeper:
    """Sweeps abandoned claims about every `interval_s` seconds. Any number of sweepers may run at once.

    A claim is abandoned when this sweeper has seen it for `age_s` by its own `clock`, which never steps. A sweep is
    `pinned` to one connection of the store (`store.pinned`): no claim is closed because of stock whose return was lost.
    """

    def __init__(
        self,
        claims: OpenClaims,
        stock: Stock,
        *,
        pinned: Callable[[], AbstractContextManager[None]] = nullcontext,
        interval_s: float = INTERVAL_S,
        age_s: float = AGE_S,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._claims = claims
        self._stock = stock
        self._pinned = pinned
        self._interval_s = interval_s
        self._age_s = age_s
        self._ages = Ages[Any](clock)
        self._sleep = sleep
        self._chance = chance

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            await try_round("sweeping abandoned stock", self.sweep)
            await self._sleep(self._interval_s * (0.5 + self._chance()))

    async def sweep(self) -> int:
        """Release the holds of abandoned claims; returns the number of claims closed."""
        with self._pinned():
            return await self._sweep()

    async def _sweep(self) -> int:
        claims = await self._claims.open_claims()
        self._ages.update([claim.record for claim in claims])
        abandoned = [claim for claim in claims if self._ages.is_older(claim.record, self._age_s)]
        # A claim with a hold that has not expired has begun again: left to a later sweep.
        done = [claim for claim in abandoned if await self._stock.expire(claim.order_id, claim.skus)]
        await self._claims.delete_claims(done)
        return len(done)
