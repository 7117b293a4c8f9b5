"""The background task that reports the load of a worker to the waiting rooms, which admits the next clients."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from gateway.waitingroom.admission import Pace
from gateway.waitingroom.room import WaitingRoom
from gateway.waitingroom.rooms import Rooms
from primitives.outages import level_of
from primitives.unit_of_work import unit_of_work

_log = logging.getLogger("peakgate")
_T = TypeVar("_T")

TICK_S: Final = 1.0
# A signal that takes longer is outdated, and delays the other rooms.
SIGNAL_TIMEOUT_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Signals:
    """The signals that lower the admission rate.

    `checkout_shed_share`: the share (0 to 1) of checkouts shed by this worker lately. `queue_age_s`: the age of the oldest
    order in the queue, None if unknown. `stock_of`: the units available of these SKUs, summed.
    """

    checkout_shed_share: Callable[[], float]
    queue_age_s: Callable[[], Awaitable[float | None]]
    stock_of: Callable[[Sequence[str]], Awaitable[int]]


class RoomReporter:
    """Every second: gathers the signals, reports the factor of every open room to the store, and reads its state.

    `reporter` names this process among all gateways. A signal that fails counts as unknown; a store that does not reply
    leaves the rooms as they are.
    """

    def __init__(
        self,
        rooms: Rooms,
        signals: Signals,
        *,
        reporter: str,
        tick_s: float = TICK_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rooms = rooms
        self._signals = signals
        self._reporter = reporter
        self._tick_s = tick_s
        self._clock = clock
        self._paces: dict[str, Pace] = {}
        self._failing: set[str] = set()

    async def run(self) -> None:
        """Report to the rooms until cancelled."""
        while True:
            with unit_of_work():
                await self.tick()
            await asyncio.sleep(self._tick_s)

    async def tick(self) -> None:
        """Report to every open room once."""
        is_open = [room for room in self._rooms.values() if room.is_enabled]
        self._paces = {room.table.name: self._pace_of(room) for room in is_open}
        if not is_open:
            return
        queue_age_s = await self._try("the age of the order queue", self._signals.queue_age_s())
        shed_share = self._signals.checkout_shed_share()
        await asyncio.gather(*(self._report(room, shed_share, queue_age_s) for room in is_open))

    def _pace_of(self, room: WaitingRoom) -> Pace:
        return self._paces.get(room.table.name) or Pace(clock=self._clock)

    async def _report(self, room: WaitingRoom, shed_share: float, queue_age_s: float | None) -> None:
        table, pace = room.table, self._paces[room.table.name]
        pace.adjust(shed_share=shed_share, queue_age_s=queue_age_s, max_queue_age_s=table.max_queue_age_s)
        stock = None
        if table.skus:
            stock = await self._try(f"the stock of room {table.name}", self._signals.stock_of(table.skus))
        report = room.store.report(table, self._reporter, pace.factor, pace.why, stock)
        status = await self._try(f"the state of room {table.name}", report)
        if status is not None:
            room.status = status
            room.synchronise(status.at_s)

    async def _try(self, subject: str, call: Awaitable[_T]) -> _T | None:
        """The result of a call, None if it fails; the first failure in a row is logged."""
        try:
            async with asyncio.timeout(SIGNAL_TIMEOUT_S):
                result = await call
        except Exception as error:  # noqa: BLE001 - a failing signal must not stop the rooms
            if subject not in self._failing:
                self._failing.add(subject)
                _log.log(level_of(error), "%s cannot be read: %s", subject, str(error) or type(error).__name__)
            return None
        self._failing.discard(subject)
        return result
