"""The event relay: hands the events of an outbox to its sink, at least once, those of an order in their order."""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Final, Protocol

from cart.ids import partition_of
from cart.model import OrderId
from checkout.errors import ChangeNotDurable, DependencyTripped
from checkout.order import Order
from checkout.order_number import order_number
from checkout.ports.events import EventBacklog, EventEntry, EventOutbox, EventSink, NewEvent
from checkout.ports.orders import Receipt
from primitives.backoff import Backoff
from primitives.outages import is_outage, level_of
from primitives.rounds import try_round
from primitives.unit_of_work import unit_of_work

# Of one hand-over to the sink: bounds the events that are sent again after a failure.
MAX_PARTITIONS: Final = 16
# Below the life of a claim, so that a slow sink is given up before another process hands it the same events.
DEADLINE_S: Final = 8.0
# The steps of an order follow each other within milliseconds: so its events are handed on together, at a fifth of the cost.
LINGER_S: Final = 0.05

logger = logging.getLogger(__name__)


class StoredOrders(Protocol):
    """The stored orders, as far as the relay reads them; see `Orders`."""

    async def receipt(self, order_id: OrderId) -> Receipt | None:
        """The order, and whether it is as durable as promised."""
        ...

    async def make_durable(self, order: Order) -> None:
        """Raises `ChangeNotDurable`."""
        ...


class EventRelay:
    """Relays the events of one outbox to one sink; `name` is the sink's, for logs.

    The process that has changed an order calls `notice`, and its relay claims the order's partition and hands the events
    on, `linger_s` later. A sweep by one process at a time finds the others: their process died, the sink was away, or it did not
    take them. Events of an order that was rolled back are dropped; those of one that is not durable yet wait, and with
    them the later ones of that order.

    `run` relays; it may be called again after it raised. A round is `pinned` to one connection of the store
    (`store.pinned`): no event is deleted because of work of the sink that the store has lost meanwhile. Nothing is
    relayed while the sink is not enabled (`is_enabled`). `is_outage` tells an error of every order from a broken record of one.
    """

    def __init__(
        self,
        outbox: EventOutbox,
        orders: StoredOrders,
        sink: EventSink,
        *,
        name: str,
        pinned: Callable[[], AbstractContextManager[None]] = nullcontext,
        is_enabled: Callable[[], bool] = lambda: True,
        is_outage: Callable[[Exception], bool] = is_outage,
        senders: int = 2,
        sweep_s: float = 2.0,
        linger_s: float = LINGER_S,
        deadline_s: float = DEADLINE_S,
        first_backoff_s: float = 0.1,
        max_backoff_s: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.name = name
        # Events that the sink of this process has taken, and hand-overs that failed.
        self.relayed = 0
        self.failures = 0
        # Found by the last sweep of this process.
        self.backlog: Sequence[EventBacklog] = ()
        self._outbox = outbox
        self._orders = orders
        self._sink = sink
        self._pinned = pinned
        self._is_enabled = is_enabled
        self._is_outage = is_outage
        self._senders = senders
        self._sweep_s = sweep_s
        self._linger_s = linger_s
        self._deadline_s = deadline_s
        self._first_backoff_s = first_backoff_s
        self._max_backoff_s = max_backoff_s
        self._clock = clock
        self._sleep = sleep
        self._chance = chance
        # Partitions with new events, and when they are to be relayed.
        self._noticed: dict[str, float] = {}
        # Partitions that a sender of this process relays now. They have one claim, so another sender leaves them alone.
        self._in_progress: set[str] = set()
        # Orders whose records cannot be read, each logged once.
        self._broken: set[OrderId] = set()
        self._has_work = asyncio.Event()
        self._is_idle = asyncio.Event()
        self._is_idle.set()

    @property
    def waiting(self) -> int:
        """The events that waited at the last sweep of this process, in all partitions."""
        return sum(each.waiting for each in self.backlog)

    @property
    def oldest_age_s(self) -> float:
        """The age of the oldest of them, in seconds."""
        return max((each.oldest_age_s for each in self.backlog), default=0.0)

    def notice(self, order_id: OrderId) -> None:
        """Relay the events of the order's partition soon; does not wait."""
        if self._is_enabled():
            self._add(partition_of(order_id), self._linger_s)

    async def run(self) -> None:
        """Relay and sweep until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self._senders):
                tasks.create_task(self._relay_forever())
            tasks.create_task(self._sweep_forever())

    async def drain(self, timeout_s: float) -> bool:
        """Wait until the sink has the noticed events; False after `timeout_s`: a sweep finds the rest."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._is_idle.wait()
        except TimeoutError:
            logger.warning("not all events of orders were handed to %s in time; a later sweep does it", self.name)
            return False
        return True

    async def sweep(self) -> int:
        """Notice the partitions that have events; returns their number."""
        self.backlog = await self._outbox.backlog() if self._is_enabled() else ()
        for each in self.backlog:
            self._add(each.partition)
        return len(self.backlog)

    async def relay_once(self, *, lingers: bool = False) -> bool:
        """Relay the events of some noticed partitions, or those that were noticed `linger_s` ago; False if the sink failed."""
        partitions = self._available(self._clock() if lingers else math.inf)
        for partition in partitions:
            del self._noticed[partition]
        self._in_progress.update(partitions)
        is_relayed = False
        try:
            with unit_of_work(), self._pinned():
                is_relayed = await self._relay(partitions)
        finally:
            self._in_progress.difference_update(partitions)
            # Those that were noticed meanwhile are available now.
            self._has_work.set()
            # Also when this task is cancelled or dies.
            if not is_relayed:
                for partition in partitions:
                    self._add(partition)
            if not self._noticed and not self._in_progress:
                self._is_idle.set()
        return is_relayed

    def _available(self, now: float) -> list[str]:
        """Partitions for one round, those first that were noticed first."""
        due = (each for each, at in self._noticed.items() if at <= now and each not in self._in_progress)
        return list(itertools.islice(due, MAX_PARTITIONS))

    def _add(self, partition: str, linger_s: float = 0.0) -> None:
        self._noticed.setdefault(partition, self._clock() + linger_s)
        self._has_work.set()
        self._is_idle.clear()

    async def _sweep_forever(self) -> None:
        while True:
            await try_round(f"looking for events for {self.name}", self.sweep)
            # With jitter, so that processes do not sweep at the same time.
            await self._sleep(self._sweep_s * (0.5 + self._chance()))

    async def _relay_forever(self) -> None:
        backoff = Backoff(self._first_backoff_s, self._max_backoff_s, chance=self._chance)
        while True:
            while not self._available(self._clock()):
                await self._wait_for_work()
            if await self.relay_once(lingers=True):
                backoff.reset()
            else:
                await self._sleep(backoff.next_delay_s())

    async def _wait_for_work(self) -> None:
        due = min((at for each, at in self._noticed.items() if each not in self._in_progress), default=None)
        if due is None:
            self._has_work.clear()
            await self._has_work.wait()
        else:
            await self._sleep(max(due - self._clock(), 0.0))

    async def _relay(self, partitions: Sequence[str]) -> bool:
        """Relay until the partitions have no more events; False, with the claims released, if that failed."""
        try:
            batches = await asyncio.gather(*(_Batch.claim(self._outbox, partition) for partition in partitions))
            while batches := [batch for batch in batches if batch.entries]:
                await self._hand_over(batches)
                await asyncio.gather(*(batch.proceed() for batch in batches))
        except Exception as error:  # noqa: BLE001 - relayed later
            self.failures += 1
            if not isinstance(error, DependencyTripped):  # the breaker has logged it
                logger.log(
                    level_of(error),
                    "handing events of orders to %s failed; trying again: %s: %s",
                    self.name,
                    type(error).__name__,
                    error,
                )
            await self._release(partitions)
            return False
        return True

    async def _release(self, partitions: Sequence[str]) -> None:
        """Best effort: claims expire."""
        await asyncio.gather(*(self._outbox.release(each) for each in partitions), return_exceptions=True)

    async def _hand_over(self, batches: Sequence[_Batch]) -> None:
        order_ids = {entry.order_id for batch in batches for entry in batch.open_entries()}
        orders = dict(zip(order_ids, await asyncio.gather(*map(self._read, order_ids)), strict=True))
        events = [
            NewEvent(order, entry.number)
            for batch in batches
            for entry in batch.open_entries()
            # The store has lost an event that is not in the history; its change will be made again.
            if isinstance(order := orders[entry.order_id], Order) and entry.number <= len(order.history)
        ]
        refused: Collection[OrderId] = ()
        if events:
            async with asyncio.timeout(self._deadline_s):
                refused = await self._sink.take(events)
        waiting = {order_id for order_id, order in orders.items() if order is _NOT_DURABLE or order is _BROKEN}.union(
            refused
        )
        for batch in batches:
            batch.leave(waiting)
        self.relayed += sum(1 for event in events if event.order.id not in waiting)

    async def _read(self, order_id: OrderId) -> Order | object | None:
        """The order, None if it was rolled back, `_NOT_DURABLE`, or `_BROKEN`, which holds up no other order."""
        try:
            return await self._read_durable(order_id)
        except Exception as error:
            if self._is_outage(error):
                raise
            if order_id not in self._broken:
                self._broken.add(order_id)
                logger.exception(
                    "the record of order %s cannot be read; its events for %s wait", order_number(order_id), self.name
                )
            return _BROKEN

    async def _read_durable(self, order_id: OrderId) -> Order | object | None:
        receipt = await self._orders.receipt(order_id)
        if receipt is None:
            return None
        if not receipt.is_durable:
            return _NOT_DURABLE
        try:
            # Nobody outside hears of a change that the store may lose.
            await self._orders.make_durable(receipt.order)
        except ChangeNotDurable:
            return _NOT_DURABLE
        return receipt.order


_NOT_DURABLE: Final = object()
_BROKEN: Final = object()


class _Batch:
    """The claimed entries of a partition, page by page. Entries of orders that wait are passed over."""

    def __init__(self, outbox: EventOutbox, partition: str, entries: Sequence[EventEntry]) -> None:
        self.entries = entries
        self._outbox = outbox
        self._partition = partition
        self._waiting: set[OrderId] = set()

    @classmethod
    async def claim(cls, outbox: EventOutbox, partition: str) -> _Batch:
        return cls(outbox, partition, await outbox.claim(partition) or ())

    def open_entries(self) -> Sequence[EventEntry]:
        """The entries of this page whose orders do not wait."""
        return [entry for entry in self.entries if entry.order_id not in self._waiting]

    def leave(self, order_ids: Collection[OrderId]) -> None:
        """Keep the entries of these orders; a later sweep finds them."""
        self._waiting.update(order_ids)

    async def proceed(self) -> None:
        """Delete the entries that were taken and read the next page; there is none, and no claim, at the end."""
        last = self.entries[-1] if self._waiting else None
        self.entries = await self._outbox.proceed(self._partition, self.open_entries(), after=last) or ()
