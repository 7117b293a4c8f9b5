"""Cut the store off when it fails, without a cost to the calls that reach it.

The store's client only counts. A watcher beside it reads the counts some times a second, and its breaker decides by
them; while it is tripped the client refuses by itself, and the watcher asks for signs of life.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

from gateway.resilience.breaker import Breaker, State
from store import StoreError

TICK_S: Final = 0.05


class Guarded(Protocol):
    """What is needed of `store.Client`."""

    answered: int
    failed: int

    @property
    def oldest_queued_at(self) -> float | None:
        """The loop's time at which the oldest call was made that has no reply yet."""
        ...

    def admit_only(self, admits: Callable[[], bool] | None) -> None:
        """Send only calls that this is true for; None for all."""
        ...

    def ping(self) -> Awaitable[Any]:
        """Ask for a sign of life."""
        ...


class StoreGuard:
    """Connects a client with the breaker of its server. `watch` must run beside it.

    Lives as long as its client; a reload changes the table of the breaker and nothing here.
    """

    def __init__(
        self,
        store: Guarded,
        breaker: Breaker,
        *,
        tick_s: float = TICK_S,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._breaker = breaker
        self._tick_s = tick_s
        self._sleep = sleep
        self._loop_time = asyncio.get_running_loop().time
        self._answered = store.answered
        self._failed = store.failed
        self._looked_at = self._loop_time()
        self._is_gated = False

    async def watch(self) -> None:
        """Look until cancelled."""
        while True:
            await self.look()
            await self._sleep(self._tick_s)

    async def look(self) -> None:
        """Read the counts once, probe if it is time, and let through what the breaker lets through."""
        self._count()
        self._gate()
        if self._breaker.probe_is_due:
            await self._probe()
            self._gate()

    def _count(self) -> None:
        store = self._store
        answered, failed = store.answered - self._answered, store.failed - self._failed
        self._answered, self._failed = store.answered, store.failed
        slow = answered if self._is_slow() else 0
        if answered or failed:
            self._breaker.observe(calls=answered + failed, failures=failed, slow=slow)

    def _is_slow(self) -> bool:
        """Whether the oldest call had waited too long at the look before, and waits still.

        At the look before: a reply that had come by then has been read since, so what is slow is not this process.
        """
        looked_at, self._looked_at = self._looked_at, self._loop_time()
        oldest = self._store.oldest_queued_at
        return oldest is not None and looked_at - oldest >= self._breaker.table.slow_call_s

    async def _probe(self) -> None:
        try:
            with self._breaker.calling():
                await self._store.ping()
        except StoreError:
            pass  # the breaker has been told

    def _gate(self) -> None:
        is_passing = self._breaker.state is State.PASSING
        if is_passing is self._is_gated:
            self._store.admit_only(None if is_passing else self._admits)
            self._is_gated = not is_passing

    def _admits(self) -> bool:
        admitted = self._breaker.admits()
        self._breaker.outcomes["refused"] += not admitted
        return admitted
