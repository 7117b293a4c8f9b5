"""Look again, while the gateway runs, whether the store evicts: its settings change, and a failover leads to another server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from gateway.prerequisites.requirements import Description, eviction_fault
from primitives.unit_of_work import unit_of_work
from store import Store, StoreError, servers_of

_log = logging.getLogger("peakgate")

PAUSE_S: Final = 30.0


class StoreUnfit(Exception):
    """The store has come to break a promise."""


class StoreRecheck:
    """Asks for the eviction policy; `run` must run in the background. Each process logs a change."""

    def __init__(self, store: Store, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._store = store
        self._sleep = sleep
        self._fault: str | None = None

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            with unit_of_work():
                await self.ask()
            await self._sleep(PAUSE_S)

    async def ask(self) -> None:
        """Ask once. While the store is away nothing changes."""
        try:
            infos = [await server.execute("INFO", "memory") for server in servers_of(self._store)]
        except StoreError:
            return
        faults = (eviction_fault(Description.parse(info)) for info in infos)
        was, self._fault = self._fault, next((fault for fault in faults if fault is not None), None)
        if self._fault is not None and self._fault != was:
            _log.error("%s", self._fault)
        elif self._fault is None and was is not None:
            _log.warning("the store evicts nothing any more")

    async def check(self) -> None:
        """For readiness: raises `StoreUnfit` while the store evicts."""
        if self._fault is not None:
            raise StoreUnfit(self._fault)
