"""Log when the store goes and when it comes back: one line each, whatever fails meanwhile."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

from store import StoreError

_log = logging.getLogger("peakgate")

TICK_S: Final = 0.25


class Watched(Protocol):
    """The part of `store.Client` that the watch uses."""

    answered: int
    failed: int

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection now."""
        ...

    def ping(self) -> Awaitable[Any]:
        """Ping the server."""
        ...


class Noticed(Protocol):
    """The processes that notice the same outage."""

    def begin(self) -> bool:
        """This process notices the outage; says whether it is the first."""
        ...

    def end(self) -> bool:
        """This process notices the end; says whether it is the last."""
        ...


class StoreWatch:
    """Watches a client; `run` must run in the background. A call that fails is a suspicion, a ping that fails an outage."""

    def __init__(
        self,
        store: Watched,
        noticed: Noticed,
        *,
        tick_s: float = TICK_S,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._noticed = noticed
        self._tick_s = tick_s
        self._sleep = sleep
        self._clock = clock
        self._answered = store.answered
        self._failed = store.failed
        self.away_since: float | None = None
        # A process of this name may have ended during an outage.
        noticed.end()

    async def run(self) -> None:
        """Check until cancelled."""
        while True:
            await self.check()
            await self._sleep(self._tick_s)

    async def check(self) -> None:
        """Look at the counts since the last check, and ping if they leave a doubt."""
        store = self._store
        answered, failed = store.answered - self._answered, store.failed - self._failed
        self._answered, self._failed = store.answered, store.failed
        if self.away_since is None:
            is_suspect = not store.is_connected or (failed > 0 and not answered)
            if is_suspect and (reason := await self._fault()) is not None:
                self._begin(reason)
        elif answered or await self._fault() is None:
            self._end(self.away_since)

    async def _fault(self) -> str | None:
        """Why the store does not answer; None if it does."""
        try:
            await self._store.ping()
        except StoreError as error:
            return str(error)
        return None

    def _begin(self, reason: str) -> None:
        self.away_since = self._clock()
        if self._noticed.begin():
            _log.warning(
                "the store is away: %s; reads come from caches and orders are refused until it is back", reason
            )

    def _end(self, since: float) -> None:
        self.away_since = None
        if self._noticed.end():
            _log.warning("the store is back after %.1f s", self._clock() - since)
