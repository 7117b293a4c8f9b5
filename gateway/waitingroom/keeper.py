"""The task beside the workers' requests that tells the waiting rooms how things go, and keeps their queues moving."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from gateway.waitingroom.admission import Pace
from gateway.waitingroom.waiting_room import Rooms, WaitingRoom

_log = logging.getLogger("peakgate")
_T = TypeVar("_T")

TICK_S: Final = 1.0
# An answer that takes longer is of yesterday; the other rooms wait for it.
SIGNAL_TIMEOUT_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Signals:
    """What the rooms listen to.

    `checkout_shed_share`: the share (0 to 1) of checkouts refused here lately. `queue_age_s`: for how many seconds the oldest
    order waits in the queue, None if that is not known. `stock_of`: the units available of these SKUs, all together.
    """

    checkout_shed_share: Callable[[], float]
    queue_age_s: Callable[[], Awaitable[float | None]]
    stock_of: Callable[[Sequence[str]], Awaitable[int]]


class RoomKeeper:
    """Every second: gather the signals, tell every open room of `rooms` the pace they allow, and read how it is doing.

    `reporter` names this process among all gateways. A signal that fails counts as not known; a store that does not answer
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
        """Keep the rooms until cancelled."""
        while True:
            await self.tick()
            await asyncio.sleep(self._tick_s)

    async def tick(self) -> None:
        """Keep every open room once."""
        is_open = [room for room in self._rooms.values() if room.is_on]
        self._paces = {room.table.name: self._pace_of(room) for room in is_open}
        if not is_open:
            return
        queue_age_s = await self._try("the age of the order queue", self._signals.queue_age_s())
        shed_share = self._signals.checkout_shed_share()
        await asyncio.gather(*(self._keep(room, shed_share, queue_age_s) for room in is_open))

    def _pace_of(self, room: WaitingRoom) -> Pace:
        return self._paces.get(room.table.name) or Pace(clock=self._clock)

    async def _keep(self, room: WaitingRoom, shed_share: float, queue_age_s: float | None) -> None:
        table, pace = room.table, self._paces[room.table.name]
        pace.adjust(shed_share=shed_share, queue_age_s=queue_age_s, queue_age_most_s=table.queue_age_most_s)
        stock = None
        if table.skus:
            stock = await self._try(f"the stock of room {table.name}", self._signals.stock_of(table.skus))
        kept = room.store.keep(table, self._reporter, pace.factor, pace.why, stock)
        standing = await self._try(f"the state of room {table.name}", kept)
        if standing is not None:
            room.standing = standing

    async def _try(self, what: str, asked: Awaitable[_T]) -> _T | None:
        """The answer, None when there is none; the first failure in a row is logged."""
        try:
            async with asyncio.timeout(SIGNAL_TIMEOUT_S):
                answer = await asked
        except Exception as error:  # noqa: BLE001 - whatever a signal raises, the rooms must be kept
            if what not in self._failing:
                self._failing.add(what)
                _log.warning("%s cannot be read: %s", what, str(error) or type(error).__name__)
            return None
        self._failing.discard(what)
        return answer
