"""The outbox dispatcher: sends accepted orders to the queue, at least once."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Final

from cart.model import OrderId
from checkout.errors import DependencyTripped
from checkout.message_traces import sending
from checkout.ports.outbox import Outbox, OutboxEntry
from checkout.ports.queue import OrderSink, Outgoing
from checkout.received_message import routing_of
from primitives.ages import Ages
from primitives.backoff import Backoff
from primitives.outages import level_of
from primitives.rounds import try_round
from primitives.tracing.tracer import Tracer
from primitives.unit_of_work import unit_of_work

# The limit of SQS, and the entries of each partition that a sweep looks at.
BATCH: Final = 10
# So often a refused entry is sent before it is left to the sweep.
MAX_REFUSALS: Final = 8
SWEEP_S: Final = 2.0
MIN_AGE_S: Final = 5.0
# An entry whose process died is seen, and later submitted, by one of the sweeps, which are one and a half times `SWEEP_S` apart at most.
SUBMITTED_WITHIN_S: Final = MIN_AGE_S + 2 * 1.5 * SWEEP_S

logger = logging.getLogger(__name__)


# The partition and the id of an entry.
_Name = tuple[str, str]


class OutboxDispatcher:
    """Sends the entries of an outbox to a queue, and deletes them when the queue has them.

    The process that wrote an entry submits it, and it is sent in a batch with others. The entries of a batch that the queue
    refuses are sent again after a pause, without those that it took. A sweep finds the entries that were never sent: their
    process died, or too many were waiting.

    `run` and `send` send; one of them runs at a time, and may be called again after it raised. `senders` batches are sent at a
    time, of up to `batch` entries; while one is sent, an entry waits up to `linger_s` for others to fill the next, because ten in a batch cost little more than one. While the queue is away,
    `max_waiting` entries wait in memory and the others wait for the sweep. An entry is swept when this process has seen
    it for `min_age_s` by its own `clock`, which never steps: by then the process that wrote it has sent it or rolled it
    back.

    `on_sent` is called with the order of each message that the queue has acknowledged. `tracer` records the sending of messages
    that carry a trace.

    A batch is `pinned` to one connection of the store (`store.pinned`), where the queue is in the same store: an entry is
    not deleted because of a message that the store has lost meanwhile.
    """

    def __init__(
        self,
        outbox: Outbox,
        queue: OrderSink,
        *,
        pinned: Callable[[], AbstractContextManager[None]] = nullcontext,
        batch: int = BATCH,
        senders: int = 4,
        linger_s: float = 0.005,
        max_waiting: int = 10_000,
        sweep_s: float = SWEEP_S,
        min_age_s: float = MIN_AGE_S,
        first_backoff_s: float = 0.1,
        max_backoff_s: float = 5.0,
        on_sent: Callable[[OrderId], None] | None = None,
        tracer: Tracer | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._outbox = outbox
        self._queue = queue
        self._pinned = pinned
        self._batch = batch
        self._senders = senders
        self._linger_s = linger_s
        self._max_waiting = max_waiting
        self._sweep_s = sweep_s
        self._min_age_s = min_age_s
        self._first_backoff_s = first_backoff_s
        self._max_backoff_s = max_backoff_s
        self._on_sent = on_sent
        self._tracer = tracer
        self._ages = Ages[_Name](clock)
        self._sleep = sleep
        self._chance = chance
        self._waiting: deque[OutboxEntry] = deque()
        # The entries that wait or are being sent, so that a sweep does not send them again.
        self._submitted: set[_Name] = set()
        # How often the queue has refused an entry, of a batch that it took otherwise.
        self._refusals: dict[_Name, int] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._has_work = asyncio.Event()
        # One sender at a time gathers a batch. It does not wait for more while none is sent, or once the batch is full.
        self._gathering = asyncio.Lock()
        self._sending = 0
        self._is_ripe = asyncio.Event()
        self._is_idle = asyncio.Event()
        self._is_idle.set()

    @property
    def waiting(self) -> int:
        """The number of entries in this process that the queue does not have yet."""
        return len(self._submitted)

    def submit(self, entry: OutboxEntry) -> None:
        """Send the entry soon; does not wait."""
        name = _name_of(entry)
        if name in self._submitted or len(self._submitted) >= self._max_waiting:
            return
        self._submitted.add(name)
        self._waiting.append(entry)
        self._has_work.set()
        if len(self._waiting) >= self._batch:
            self._is_ripe.set()
        self._is_idle.clear()

    async def run(self) -> None:
        """Send and sweep until cancelled."""
        await self._run(sweeps=True)

    async def send(self) -> None:
        """Send until cancelled, without sweeps: those of other processes find what this one leaves."""
        await self._run(sweeps=False)

    async def _run(self, *, sweeps: bool) -> None:
        async with asyncio.TaskGroup() as self._tasks:
            tasks = self._tasks
            self._refusals.clear()
            for _ in range(self._senders):
                tasks.create_task(self._send_forever())
            if sweeps:
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
        entries = await self._outbox.unsent(per_partition=BATCH)
        self._ages.update([_name_of(entry) for entry in entries])
        old = [entry for entry in entries if self._ages.is_older(_name_of(entry), self._min_age_s)]
        for entry in old:
            if _name_of(entry) not in self._refusals:
                self.submit(entry)
        return len(old)

    async def _sweep_forever(self) -> None:
        while True:
            await try_round("sweeping the outbox", self.sweep)
            # With jitter, so that processes do not sweep at the same time.
            await self._sleep(self._sweep_s * (0.5 + self._chance()))

    async def _send_forever(self) -> None:
        backoff = Backoff(self._first_backoff_s, self._max_backoff_s, chance=self._chance)
        while True:
            batch = await self._next_batch()
            self._sending += 1
            is_sent = False
            try:
                # With its sending, the entry is deleted from the outbox, else it would be sent again.
                with unit_of_work():
                    is_sent = await self._send(batch)
            finally:
                self._sending -= 1
                if not self._sending:
                    self._is_ripe.set()
                # Also when this task is cancelled or dies: the sweep skips entries that this process has submitted.
                if not is_sent:
                    self._waiting.extend(batch)
                    self._has_work.set()
            if is_sent:
                backoff.reset()
            else:
                await self._sleep(backoff.next_delay_s())

    async def _next_batch(self) -> list[OutboxEntry]:
        async with self._gathering:
            while not self._waiting:
                self._has_work.clear()
                await self._has_work.wait()
            if self._sending and len(self._waiting) < self._batch:
                await self._linger()
            return [self._waiting.popleft() for _ in range(min(self._batch, len(self._waiting)))]

    async def _linger(self) -> None:
        self._is_ripe.clear()
        timer = asyncio.get_running_loop().call_later(self._linger_s, self._is_ripe.set)
        try:
            await self._is_ripe.wait()
        finally:
            timer.cancel()

    async def _send(self, batch: Sequence[OutboxEntry]) -> bool:
        """Whether the queue accepted any entry of the batch; the others are sent again later, in other batches."""
        with self._pinned():
            return await self._send_and_mark(batch)

    async def _send_and_mark(self, batch: Sequence[OutboxEntry]) -> bool:
        messages = [outgoing(entry) for entry in batch]
        try:
            with sending(self._tracer, messages):
                are_sent = await self._queue.send(messages)
        except DependencyTripped:
            return False  # the breaker has logged it
        except Exception as error:  # noqa: BLE001 - sent later
            logger.log(
                level_of(error), "sending orders to the queue failed; trying again: %s: %s", type(error).__name__, error
            )
            return False
        # Those that were refused before, beside others that were not, do not hold up a sender.
        if not any(are_sent) and not all(_name_of(entry) in self._refusals for entry in batch):
            logger.warning("the queue refused a batch of %d orders; trying again", len(batch))
            return False
        by_outcome: dict[bool, list[OutboxEntry]] = {True: [], False: []}
        for entry, is_sent in zip(batch, are_sent, strict=True):
            by_outcome[is_sent].append(entry)
        if self._on_sent is not None:
            for entry in by_outcome[True]:
                self._on_sent(entry.order_id)
        await self._mark_sent(by_outcome[True])
        self._discard(batch)
        self._note_refusals(by_outcome[False], by_outcome[True])
        return True

    def _note_refusals(self, refused: Sequence[OutboxEntry], accepted: Sequence[OutboxEntry]) -> None:
        """Send the refused entries of a batch again after a pause, which grows with their refusals."""
        if self._refusals:
            for entry in accepted:
                self._refusals.pop(_name_of(entry), None)
        again = [entry for entry in refused if self._count_refusal(entry) < MAX_REFUSALS]
        if again and self._tasks is not None:
            delays = Backoff(self._first_backoff_s, self._max_backoff_s, chance=self._chance)
            delay_s = delays.delay_s(max(self._refusals[_name_of(entry)] for entry in again))
            self._tasks.create_task(self._submit_after(delay_s, again))

    def _count_refusal(self, entry: OutboxEntry) -> int:
        """How often it was refused; after `MAX_REFUSALS` it is left to the sweep, which finds whether it is still there."""
        name = _name_of(entry)
        count = self._refusals[name] = self._refusals.get(name, 0) + 1
        if count == MAX_REFUSALS:
            del self._refusals[name]
        return count

    async def _submit_after(self, delay_s: float, entries: Sequence[OutboxEntry]) -> None:
        await self._sleep(delay_s)
        for entry in entries:
            self.submit(entry)
            if _name_of(entry) not in self._submitted:  # too many wait
                self._refusals.pop(_name_of(entry), None)

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
        self._submitted.difference_update(map(_name_of, batch))
        if not self._submitted:
            self._is_idle.set()


def _name_of(entry: OutboxEntry) -> _Name:
    return entry.partition, entry.entry_id


def outgoing(entry: OutboxEntry) -> Outgoing:
    """The message of an entry. Entries of one order differ in their ids."""
    group, trace = routing_of(entry.message)
    return Outgoing(entry.order_id, entry.message, f"{entry.order_id}:{entry.entry_id}", group, trace)
