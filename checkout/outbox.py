"""Handing accepted orders to the queue: at once if it can be, later if it must be, at least once in any case."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from cart.model import unix_ms
from checkout.errors import DependencyTripped
from checkout.ports.outbox import Outbox, OutboxEntry
from checkout.ports.queue import OrderSink, Outgoing

# What every queue takes at once.
BATCH: Final = 10

logger = logging.getLogger(__name__)


class OutboxDispatcher:
    """Sends the entries of an outbox to a queue, and strikes them out when the queue has them.

    Entries that this process wrote are submitted, and leave in batches with those of other requests. A sweep finds those
    that were never acknowledged: their process died, its memory was full, or the queue refused one of a batch.

    `run` must run beside it. `senders` batches are under way at once. `max_waiting` bounds what is remembered while the
    queue is away; the rest is left to the sweep. An entry is sweep when it is `min_age_ms` old: by then the process that
    wrote it has sent it or, if the order could not be kept, taken it back.
    """

    def __init__(
        self,
        outbox: Outbox,
        queue: OrderSink,
        *,
        senders: int = 4,
        max_waiting: int = 10_000,
        sweep_s: float = 2.0,
        min_age_ms: int = 5_000,
        backoff_first_s: float = 0.1,
        backoff_most_s: float = 5.0,
        clock_ms: Callable[[], int] = unix_ms,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._outbox = outbox
        self._queue = queue
        self._senders = senders
        self._max_waiting = max_waiting
        self._sweep_s = sweep_s
        self._min_age_ms = min_age_ms
        self._backoff_first_s = backoff_first_s
        self._backoff_most_s = backoff_most_s
        self._clock_ms = clock_ms
        self._sleep = sleep
        self._chance = chance
        self._waiting: deque[OutboxEntry] = deque()
        # Those waiting and those under way, so that a sweep does not send them a second time.
        self._known: set[tuple[str, str]] = set()
        self._has_work = asyncio.Event()
        self._is_idle = asyncio.Event()
        self._is_idle.set()

    @property
    def waiting(self) -> int:
        """How many entries this process remembers that the queue does not have yet."""
        return len(self._known)

    def submit(self, entry: OutboxEntry) -> None:
        """Send the entry soon; returns at once."""
        name = (entry.partition, entry.entry_id)
        if name in self._known or len(self._known) >= self._max_waiting:
            return
        self._known.add(name)
        self._waiting.append(entry)
        self._has_work.set()
        self._is_idle.clear()

    async def run(self) -> None:
        """Send and sweep until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self._senders):
                tasks.create_task(self._send_forever())
            tasks.create_task(self._sweep_forever())

    async def drain(self, timeout_s: float) -> bool:
        """Wait until the queue has all that was submitted; False if it has not in time: a later sweep will send the rest."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._is_idle.wait()
        except TimeoutError:
            logger.warning("%d orders are left in the outbox", self.waiting)
            return False
        return True

    async def sweep(self) -> int:
        """Submit the older entries of all partitions; returns how many were found."""
        entries = await self._outbox.unsent(before_ms=self._clock_ms() - self._min_age_ms, per_partition=BATCH)
        for entry in entries:
            self.submit(entry)
        return len(entries)

    async def _sweep_forever(self) -> None:
        while True:
            try:
                await self.sweep()
            except Exception as error:  # noqa: BLE001 - it is only late
                logger.warning(
                    "the outbox could not be sweep; the next sweep tries again: %s: %s", type(error).__name__, error
                )
            # Not all processes at the same moment.
            await self._sleep(self._sweep_s * (0.5 + self._chance()))

    async def _send_forever(self) -> None:
        failures = 0
        while True:
            batch = await self._next_batch()
            if await self._send(batch):
                failures = 0
                continue
            failures += 1
            self._waiting.extend(batch)
            self._has_work.set()
            await self._sleep(self._backoff_s(failures))

    async def _next_batch(self) -> list[OutboxEntry]:
        while not self._waiting:
            self._has_work.clear()
            await self._has_work.wait()
        return [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]

    async def _send(self, batch: Sequence[OutboxEntry]) -> bool:
        """Whether the queue took any of the batch; what it refused beside others is left to the sweep."""
        try:
            taken = await self._queue.send([Outgoing(entry.order_id, entry.message) for entry in batch])
        except DependencyTripped:
            return False  # told once, when it tripped
        except Exception as error:  # noqa: BLE001 - it is only late
            logger.warning("the queue takes no orders; they stay in the outbox: %s: %s", type(error).__name__, error)
            return False
        if not any(taken):
            logger.warning("the queue refused a whole batch of %d orders; they stay in the outbox", len(batch))
            return False
        await self._mark_sent([entry for entry, is_taken in zip(batch, taken, strict=True) if is_taken])
        self._forget(batch)
        return True

    async def _mark_sent(self, entries: Sequence[OutboxEntry]) -> None:
        try:
            await self._outbox.mark_sent(entries)
        except Exception as error:  # noqa: BLE001 - it is only late
            logger.warning(
                "orders that were sent stay in the outbox; they will be sent again: %s: %s", type(error).__name__, error
            )

    def _forget(self, batch: Sequence[OutboxEntry]) -> None:
        self._known.difference_update((entry.partition, entry.entry_id) for entry in batch)
        if not self._known:
            self._is_idle.set()

    def _backoff_s(self, failures: int) -> float:
        """Twice as long after each failure, up to the most; a random half of it is left out."""
        longest_s = min(self._backoff_first_s * 2.0 ** min(failures - 1, 30), self._backoff_most_s)
        return longest_s * (0.5 + self._chance() / 2)
