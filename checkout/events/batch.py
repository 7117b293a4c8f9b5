"""The orders of one SQS event of AWS Lambda, worked off by an `OrderWorker`.

Lambda receives the messages and deletes them once the function has returned, but for those that its response names
(https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html#services-sqs-batchfailurereporting).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import msgspec

from cart.model import OrderId
from checkout.ports.queue import Delivery, OrderQueue, Outgoing
from checkout.processor import Later
from checkout.worker import OrderWorker

_log = logging.getLogger(__name__)

# The function returns so long before Lambda would kill it.
MARGIN_S: Final = 3.0


class Record(msgspec.Struct, rename="camel"):
    """A message in an event; `attributes` may lack any of its members."""

    message_id: str
    receipt_handle: str
    body: str
    attributes: dict[str, str] = {}
    event_source_arn: str = msgspec.field(default="", name="eventSourceARN")

    @property
    def group(self) -> str:
        """The group in which messages have a sequence; on a standard queue each is its own."""
        is_fifo = self.event_source_arn.endswith(".fifo")
        return self.attributes.get("MessageGroupId", "") if is_fifo else self.message_id


class _Event(msgspec.Struct, rename="pascal"):
    records: list[Record]


async def work_off(
    event: Any,
    queue: OrderQueue,
    process: Callable[[OrderId], Awaitable[Later | None]],
    *,
    remaining_s: float,
    visibility_s: float = 30.0,
) -> dict[str, Any]:
    """Process the orders of an event within `remaining_s`; returns the response of the function to Lambda.

    The messages of orders that did not end are reported, and `queue` delivers them again after their delay. Those that are
    no orders of this shop are dead-lettered. Raises `msgspec.ValidationError` if it is no event of SQS.
    """
    batch = EventBatch(msgspec.convert(event, _Event).records, queue)
    # With a free slot the worker waits for the batch, which can be interrupted.
    worker = OrderWorker(batch, process, concurrency=len(batch) + 1, visibility_s=visibility_s, drain_s=0.0)
    running = asyncio.ensure_future(worker.run())
    try:
        async with asyncio.timeout(max(0.0, remaining_s - MARGIN_S)):
            await batch.ended.wait()
    except TimeoutError:
        _log.warning("the time of the function is over; unfinished orders are delivered again")
    worker.stop()
    await running
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in batch.failures]}


class EventBatch:
    """An `OrderQueue` with the messages of one event; `queue` is the one that they came from.

    The messages of a group on a FIFO queue are delivered one after another, and no more once one is to be delivered again.
    `ended` is set when nothing is left to deliver and to wait for.
    """

    def __init__(self, records: Sequence[Record], queue: OrderQueue) -> None:
        self.ended = asyncio.Event()
        self._queue = queue
        self._done: set[str] = set()
        self._all = [record.message_id for record in records]
        self._groups: dict[str, deque[Record]] = {}
        for record in records:
            self._groups.setdefault(record.group, deque()).append(record)
        # Receipts of deliveries in progress, with their records.
        self._in_progress: dict[str, Record] = {}
        self._ready = deque(self._groups)
        self._woken = asyncio.Event()
        self._note_end()

    def __len__(self) -> int:
        return len(self._all)

    @property
    def failures(self) -> list[str]:
        """The ids of the messages that are to be delivered again."""
        return [message_id for message_id in self._all if message_id not in self._done]

    async def send(self, messages: Sequence[Outgoing]) -> Sequence[bool]:
        """See `OrderQueue.send`."""
        return await self._queue.send(messages)

    async def receive(self, limit: int, wait_s: float) -> Sequence[Delivery]:
        """See `OrderQueue.receive`."""
        if not self._ready:
            self._woken.clear()
            try:
                async with asyncio.timeout(wait_s):
                    await self._woken.wait()
            except TimeoutError:
                return []
        return [self._deliver(self._groups[self._ready.popleft()]) for _ in range(min(limit, len(self._ready)))]

    async def interrupt(self) -> None:
        """See `OrderQueue.interrupt`."""
        self._woken.set()

    async def extend(self, deliveries: Sequence[Delivery], seconds: float) -> None:
        """See `OrderQueue.extend`."""
        await self._queue.extend(deliveries, seconds)

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """See `OrderQueue.acknowledge`; Lambda deletes them."""
        for delivery in deliveries:
            self._end(delivery, is_done=True)

    async def release(self, delivery: Delivery, delay_s: float) -> None:
        """See `OrderQueue.release`."""
        try:
            await self._queue.release(delivery, delay_s)
        finally:
            self._end(delivery, is_done=False)

    async def dead_letter(self, delivery: Delivery, *, reason: str) -> None:
        """See `OrderQueue.dead_letter`."""
        await self._queue.dead_letter(delivery, reason=reason)
        self._end(delivery, is_done=True)

    def _deliver(self, group: deque[Record]) -> Delivery:
        record = group.popleft()
        self._in_progress[record.receipt_handle] = record
        attempt = int(record.attributes.get("ApproximateReceiveCount", "1"))
        return Delivery(record.body.encode(), record.receipt_handle, attempt)

    def _end(self, delivery: Delivery, *, is_done: bool) -> None:
        record = self._in_progress.pop(delivery.receipt, None)
        if record is None:
            return
        rest = self._groups[record.group]
        if is_done:
            self._done.add(record.message_id)
        else:
            rest.clear()  # in sequence: they are delivered after this one
        if rest:
            self._ready.append(record.group)
            self._woken.set()
        self._note_end()

    def _note_end(self) -> None:
        if not self._in_progress and not self._ready:
            self.ended.set()
