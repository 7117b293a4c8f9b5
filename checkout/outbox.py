"""The outbox dispatcher: sends accepted orders to the queue, at least once."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from cart.timestamps import unix_ms
from checkout.errors import DependencyTripped
from checkout.ports.outbox import Outbox, OutboxEntry
from checkout.ports.queue import OrderSink, Outgoing
from primitives.backoff import Backoff
from primitives.outages import level_of

# The limit of a queue.
BATCH: Final = 10

logger = logging.getLogger(__name__)


class OutboxDispatcher:
    """Sends the entries of an outbox to a queue, and deletes them when the queue has them.

    The process that wrote an entry submits it, and it is sent in a batch with others. A sweep finds the entries that
    were never sent: their process died, too many were waiting, or the queue refused one of a batch.

    `run` sends; it may be called again after it raised. `senders` batches are sent at a time. While the queue is away,
    `max_waiting` entries wait in memory and the others wait for the sweep. An entry is swept when it is `min_age_ms` old:
    by then the process that wrote it has sent it or rolled it back.
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
        first_backoff_s: float = 0.1,
        max_backoff_s: float = 5.0,
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
        self._first_backoff_s = first_backoff_s
        self._max_backoff_s = max_backoff_s
        self._clock_ms = clock_ms
        self._sleep = sleep
        self._chance = chance
        self._waiting: deque[OutboxEntry] = deque()
        # The entries that wait or are being sent, so that a sweep does not send them again.
        self._submitted: set[tuple[str, str]] = set()
        self._has_work = asyncio.Event()
        self._is_idle = asyncio.Event()
        self._is_idle.set()

    @property
    def waiting(self) -> int:
        """The number of entries in this process that the queue does not have yet."""
        return len(self._submitted)

    def submit(self, entry: OutboxEntry) -> None:
        """Send the entry soon; does not wait."""
        name = (entry.partition, entry.entry_id)
        if name in self._submitted or len(self._submitted) >= self._max_waiting:
            return
        self._submitted.add(name)
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
        """Wait until the queue has all submitted entries; False after `timeout_s`: a later sweep sends the rest."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._is_idle.wait()
        except TimeoutError:
            logger.warning("%d orders were not sent to the queue in time; a later sweep sends them", self.waiting)
            return False
        return True

    async def sweep(self) -> int:
        """Submit the older entries of all partitions; returns their number."""
        entries = await self._outbox.unsent(before_ms=self._clock_ms() - self._min_age_ms, per_partition=BATCH)
        for entry in entries:
            self.submit(entry)
        return len(entries)

    async def _sweep_forever(self) -> None:
        while True:
            try:
                await self.sweep()
            except Exception as error:  # noqa: BLE001 - the next sweep repeats it
                logger.log(
                    level_of(error),
                    "sweeping the outbox failed; the next sweep tries again: %s: %s",
                    type(error).__name__,
                    error,
                )
            # With jitter, so that processes do not sweep at the same time.
            await self._sleep(self._sweep_s * (0.5 + self._chance()))

    async def _send_forever(self) -> None:
        backoff = Backoff(self._first_backoff_s, self._max_backoff_s, chance=self._chance)
        while True:
            batch = await self._next_batch()
            is_sent = False
            try:
                is_sent = await self._send(batch)
            finally:
                # Also when this task is cancelled or dies: the sweep skips entries that this process has submitted.
                if not is_sent:
                    self._waiting.extend(batch)
                    self._has_work.set()
            if is_sent:
                backoff.reset()
            else:
                await self._sleep(backoff.next_delay_s())

    async def _next_batch(self) -> list[OutboxEntry]:
        while not self._waiting:
            self._has_work.clear()
            await self._has_work.wait()
        return [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]

    async def _send(self, batch: Sequence[OutboxEntry]) -> bool:
        """Whether the queue accepted any entry of the batch; the sweep sends the others again."""
        try:
            are_sent = await self._queue.send([Outgoing(entry.order_id, entry.message) for entry in batch])
        except DependencyTripped:
            return False  # the breaker has logged it
        except Exception as error:  # noqa: BLE001 - sent later
            logger.log(
                level_of(error), "sending orders to the queue failed; trying again: %s: %s", type(error).__name__, error
            )
            return False
        if not any(are_sent):
            logger.warning("the queue refused a batch of %d orders; trying again", len(batch))
            return False
        await self._mark_sent([entry for entry, is_sent in zip(batch, are_sent, strict=True) if is_sent])
        self._discard(batch)
        return True

    async def _mark_sent(self, entries: Sequence[OutboxEntry]) -> None:
        try:
            await self._outbox.mark_sent(entries)
        except Exception as error:  # noqa: BLE001 - sent later
            logger.log(
                level_of(error),
                "deleting sent orders from the outbox failed; they will be sent again: %s: %s",
                type(error).__name__,
                error,
            )

    def _discard(self, batch: Sequence[OutboxEntry]) -> None:
        self._submitted.difference_update((entry.partition, entry.entry_id) for entry in batch)
        if not self._submitted:
            self._is_idle.set()
