"""Notice that the store was emptied or lost its last writes, and say so: in the log, in readiness and as a metric.

Orders that were accepted may be gone then, and nothing else would show it: an emptied store answers faster than before.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final

from gateway.metrics import Metric, Sample
from gateway.resilience.known_store import KnownStore, Record
from primitives.unit_of_work import unit_of_work
from store import Store, StoreError
from store.generation import MARK_KEY, Generations, Loss

_log = logging.getLogger("peakgate")

TICK_S: Final = 0.5
# Readiness is degraded for so long after a loss.
ALARM_S: Final = 3600.0
# All processes notice a loss within this time.
NOTICED_MS: Final = 10_000

_CAUSES: Final[Mapping[Loss, str]] = {
    Loss.EMPTIED: (
        "the store was emptied, or another one took its place: its carts, accepted orders and catalogue are gone; "
        "restore its data, or import the catalogue again"
    ),
    Loss.PARTLY_EMPTIED: (
        "a server of the store was emptied: the carts, accepted orders and products of its slots are gone; "
        "restore its data, or import the catalogue again"
    ),
    Loss.WENT_BACK: (
        "the store has lost its last writes, perhaps accepted orders: compare the payments of the last minutes with the orders"
    ),
}


class StoreDataLost(Exception):
    """The store has lost data within the last hour."""


class StoreHistory:
    """Watches the data of a store; `run` must run in the background.

    `file` remembers the mark for the next process, so that a loss between two runs is noticed as well. Of the processes of
    the gateway named `gateway_name` one logs a loss.
    """

    def __init__(
        self,
        store: Store,
        file: KnownStore,
        gateway_name: str,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._file = file
        self._store = store
        self._gateway_name = gateway_name
        self._sleep = sleep
        self._wall_clock = wall_clock
        self._record = file.read()
        self._generations = Generations(store, known=self._record.all_marks)
        self._repairs: list[Callable[[], Awaitable[object]]] = []
        self._is_repaired = True
        self._losses: Counter[Loss] = Counter()

    def on_emptied(self, repair: Callable[[], Awaitable[object]]) -> None:
        """Await `repair` when the store or a server of it was emptied, again until it raises no `StoreError`: it writes what all gateways share."""
        self._repairs.append(repair)

    async def run(self) -> None:
        """Check until cancelled."""
        while True:
            with unit_of_work():
                await self.advance()
            await self._sleep(TICK_S)

    async def advance(self) -> None:
        """Look at the store once. While it is away nothing is known."""
        try:
            loss = await self._generations.advance()
        except StoreError:
            return
        if loss is not None:
            await self._notice(loss)
        if self._record.all_marks != self._generations.marks:
            self._remember(self._record.with_marks(self._generations.marks))
        await self._repair()

    async def check(self) -> None:
        """For readiness: raises `StoreDataLost` for an hour after a loss."""
        record = self._record
        if record.loss is not None and self._wall_clock() - record.lost_at < ALARM_S:
            raise StoreDataLost(_CAUSES[Loss(record.loss)])

    def snapshot(self) -> Mapping[str, Any]:
        """The losses that this process has noticed."""
        return {"losses": {loss.value: self._losses[loss] for loss in Loss}}

    def metrics(self) -> Iterable[Metric]:
        """The same as a counter."""
        samples = [Sample({"kind": loss.value}, self._losses[loss]) for loss in Loss]
        yield Metric("peakgate_store_losses_total", "Losses of the store's data that were noticed.", "counter", samples)

    async def _notice(self, loss: Loss) -> None:
        self._losses[loss] += 1
        self._is_repaired = self._is_repaired and loss is Loss.WENT_BACK
        lost = Record(loss=loss.value, lost_at=self._wall_clock())
        self._remember(lost.with_marks(self._generations.marks))
        if await self._is_first(loss):
            _log.error("%s", _CAUSES[loss])

    async def _is_first(self, loss: Loss) -> bool:
        """Whether no other process of this gateway has noticed it just now; a line too many is better than none."""
        key = f"{MARK_KEY}:noticed:{self._gateway_name}:{loss}"
        try:
            return await self._store.execute("SET", key, 1, "NX", "PX", NOTICED_MS) is not None
        except StoreError:
            return True

    def _remember(self, record: Record) -> None:
        self._record = record
        self._file.write(record)

    async def _repair(self) -> None:
        if self._is_repaired:
            return
        try:
            for repair in self._repairs:
                await repair()
        except StoreError:
            return
        self._is_repaired = True
