"""The circuit breaker of the store, at no cost to the calls that reach it.

The store's client only counts. A watcher reads the counts several times a second and records them with the breaker.
While the breaker is open the client rejects calls by itself, and the watcher sends pings as probes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

from gateway.resilience.breaker import Breaker
from gateway.resilience.breaker_model import State
from store import StoreError

TICK_S: Final = 0.05


class Guarded(Protocol):
    """The part of `store.Client` that a guard uses."""

    answered: int
    failed: int

    @property
    def oldest_queued_at(self) -> float | None:
        """The loop's time of the oldest call without a reply."""
        ...

    def admit_only(self, admits: Callable[[], bool] | None) -> None:
        """Send only calls for which this is true; None for all."""
        ...

    def ping(self) -> Awaitable[Any]:
        """Ping the server."""
        ...


class StoreGuard:
    """Connects a client with the breaker of its server. `watch` must run in the background.

    Lives as long as its client. A reload changes only the table of the breaker.
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
        self._checked_at = self._loop_time()
        self._is_gated = False

    async def watch(self) -> None:
        """Check until cancelled."""
        while True:
            await self.check()
            await self._sleep(self._tick_s)

    async def check(self) -> None:
        """Record the counts once, send the probe if it is due, and gate the client as the breaker's state requires."""
        self._record()
        self._set_admission()
        if self._breaker.probe_is_due:
            await self._probe()
            self._set_admission()

    def _record(self) -> None:
        store = self._store
        answered, failed = store.answered - self._answered, store.failed - self._failed
        self._answered, self._failed = store.answered, store.failed
        slow = answered if self._is_slow() else 0
        if answered or failed:
            self._breaker.record(calls=answered + failed, failures=failed, slow=slow)

    def _is_slow(self) -> bool:
        """Whether the oldest call had waited too long at the previous check, and still waits.

        A reply that had arrived by the previous check has been read since, so this process is not the slow part.
        """
        checked_at, self._checked_at = self._checked_at, self._loop_time()
        oldest = self._store.oldest_queued_at
        return oldest is not None and checked_at - oldest >= self._breaker.table.slow_call_s

    async def _probe(self) -> None:
        try:
            with self._breaker.calling():
                await self._store.ping()
        except StoreError:
            pass  # the breaker has counted it

    def _set_admission(self) -> None:
        is_closed = self._breaker.state is State.CLOSED
        if is_closed is self._is_gated:
            self._store.admit_only(None if is_closed else self._admits)
            self._is_gated = not is_closed

    def _admits(self) -> bool:
        is_admitted = self._breaker.admits()
        self._breaker.outcomes["rejected"] += not is_admitted
        return is_admitted
