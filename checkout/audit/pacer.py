"""The pace of reading."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable


class Pacer:
    """Keeps reads to `rate` records a second. No more than a second without reads is made up for."""

    def __init__(
        self,
        rate: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._rate = rate
        self._clock = clock
        self._sleep = sleep
        self._next_at = clock()

    async def after(self, records: int) -> None:
        """Wait for as long as the read of so many records may take; one of none counts as one."""
        now = self._clock()
        self._next_at = max(self._next_at, now - 1.0) + max(1, records) / self._rate
        await self._sleep(max(0.0, self._next_at - now))
