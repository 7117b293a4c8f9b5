"""The circuit breaker of the store, at no cost to the calls that reach it.

The store's client only counts. A watcher reads the counts several times a second and records them with the breaker.
While the breaker is not closed, the client asks before each call, and the watcher sends the probes: a write, because that
is what the work needs.

The breaker admits or rejects units of work (`primitives.unit_of_work`), not single calls: the first call of a unit
decides, and all later ones follow it. A unit that began before the breaker opened goes on. So nothing is half done by
the breaker, and the work that takes a half-done thing back is never rejected by it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

from gateway.resilience.breaker import Breaker
from gateway.resilience.breaker_model import State
from primitives.unit_of_work import current_unit
from store import StoreError, StoreUnavailable

TICK_S: Final = 0.05


class Guarded(Protocol):
    """The part of `store.Client` that a guard uses."""

    @property
    def answered(self) -> int:
        """See `store.Client`."""
        ...

    @property
    def failed(self) -> int:
        """See `store.Client`."""
        ...

    @property
    def oldest_queued_at(self) -> float | None:
        """The loop's time of the oldest call without a reply."""
        ...

    def admit_only(self, admits: Callable[[], bool] | None) -> None:
        """Send only calls for which this is true; None for all."""
        ...

    def probe(self) -> Awaitable[Any]:
        """Write a key that nothing reads."""
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
        # Since when the client asks before each call.
        self._gated_since: float | None = None
        self._on_gated: Callable[[bool], None] = lambda _is_gated: None

    def on_gated(self, call: Callable[[bool], None]) -> None:
        """From now on call this when units of work begin to be decided, and when they no longer are."""
        self._on_gated = call
        call(self._gated_since is not None)

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
                await self._write()
        except StoreError:
            pass  # the breaker has counted it

    async def _write(self) -> None:
        """Raises `StoreError`, but not where the store is full: it serves reads, so it must not be cut off."""
        try:
            await self._store.probe()
        except StoreUnavailable as error:
            if not error.reason.is_full:
                raise

    def _set_admission(self) -> None:
        is_closed = self._breaker.state is State.CLOSED
        if is_closed is (self._gated_since is None):
            return
        self._gated_since = None if is_closed else self._loop_time()
        self._store.admit_only(None if is_closed else self._admits)
        self._on_gated(not is_closed)

    def _admits(self) -> bool:
        unit = current_unit()
        if unit is None or self._gated_since is None or unit.began_at <= self._gated_since:
            return True
        if unit.is_admitted is None:
            unit.is_admitted = self._breaker.admits()
        self._breaker.outcomes["rejected"] += not unit.is_admitted
        return unit.is_admitted
