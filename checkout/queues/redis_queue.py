"""The order queue on a Redis or Valkey stream with a consumer group: the embedded default.

A delivery is pending until it is acknowledged. A delivery that is idle for `visibility_s` is claimed by the next worker
that receives. Its idle time is also set to extend and to delay a delivery.

The queue is a fair one: the messages of a group that has many in the queue go to a second stream, the bulk queue, and
workers receive half of their messages from each. So the orders of a drop do not delay the others.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Literal

from checkout.errors import ServiceUnavailable
from checkout.ports.queue import Delivery, Outgoing
from store import Connection, ReplyError, Script, Store, StoreError, StoreUnavailable, beside, connection_of

_log = logging.getLogger(__name__)

SEND: Final = Script.from_package("checkout.queues", "scripts/send.lua")
_RECEIVE: Final = Script.from_package("checkout.queues", "scripts/receive.lua")
_RELEASE: Final = Script.from_package("checkout.queues", "scripts/release.lua")
_DEAD_LETTER: Final = Script.from_package("checkout.queues", "scripts/dead_letter.lua")
ACKNOWLEDGE: Final = Script.from_package("checkout.queues", "scripts/acknowledge.lua")
_DELETE_CONSUMERS: Final = Script.from_package("checkout.queues", "scripts/delete_consumers.lua")
_DELETE_GHOSTS: Final = Script.from_package("checkout.queues", "scripts/delete_ghosts.lua")
_PAGE: Final = 1000
_START: Final = b"0-0"
# The outage itself is logged where it is noticed.
_OUTLIVED: Final = StoreUnavailable("another connection")
# Between two looks for ghosts in one process, and the entries of one look.
_GHOSTS_EVERY_S: Final = 10.0
_GHOSTS_PAGE: Final = 500
# Between two looks for the consumers of workers that are gone, in one process.
_CONSUMERS_EVERY_S: Final = 60.0
# Longer than any pause of a worker that goes on. One that does after all is a consumer again when it next receives.
CONSUMER_LIFE_S: Final = 3600.0

# One hash tag: scripts move entries between them.
QUEUE: Final = "{orders}:queue"
BULK: Final = "{orders}:bulk"
DEAD: Final = "{orders}:dead"
# The number of messages of each group in both streams.
GROUPS: Final = "{orders}:groups"
# So many messages of a group are in the queue before its next ones are bulk: a worker does them in less than a second.
MOST_OF_A_GROUP: Final = 100

# The messages that one call sends, during which the server does nothing else.
MAX_BATCH: Final = 64

# The queue and the bulk queue, as the scripts number them.
_Stream = Literal[1, 2]


class EntryId(bytes):
    """The id of an entry that was received, with its stream, the group of its message, and the connection at that time."""

    connection: Connection | None = None
    stream: _Stream = 1
    group: bytes = b""

    @property
    def is_outlived(self) -> bool:
        """Whether that connection is lost, and with it, perhaps, the work on the order."""
        return self.connection is not None and self.connection.is_lost


class RedisQueue:
    """An `OrderQueue` and its `Backlog` on two streams; dead letters, with their reason, go to a third.

    A group with more than `most_of_a_group` messages sends its further ones to the bulk queue.

    `consumer` names this worker process and stays the same after a restart: deliveries that it held before are delivered
    to it at once. Processes that run at the same time need different names. A consumer that has nothing pending, and has not
    received for `consumer_life_s`, is removed from the group by the others.

    `blocking_store` must be a connection used for nothing else: replies on it wait behind a blocking read.

    Orders are stored in the same `store`. A delivery is acknowledged on the connection that there was when it was received,
    or not at all: the server of another connection may have lost what was stored about its order since.
    """

    def __init__(
        self,
        store: Store,
        blocking_store: Store,
        *,
        consumer: str,
        group: str = "workers",
        most_of_a_group: int = MOST_OF_A_GROUP,
        visibility_s: float = 30.0,
        consumer_life_s: float = CONSUMER_LIFE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._store = store
        self._blocking_store = blocking_store
        self._consumer = consumer
        self._group = group
        self._most_of_a_group = most_of_a_group
        self._visibility_ms = _ms(visibility_s)
        self._consumer_life_ms = _ms(consumer_life_s)
        self._has_group = False
        self._has_own = False
        # Of the next claim from each stream.
        self._cursors: list[bytes] = [_START, _START]
        # The stream that is received from first, in turn.
        self._first: _Stream = 1
        self._look_for_ghosts_at = -math.inf
        self._look_for_consumers_at = -math.inf
        self._ghosts_from = {QUEUE: "-", BULK: "-"}
        # The oldest entry at the latest look, and when it was seen first.
        self._head: tuple[bytes, float] | None = None
        # The server's id of the blocking connection, while it reads.
        self._reader_id: asyncio.Future[Any] | None = None

    async def send(self, messages: Sequence[Outgoing]) -> Sequence[bool]:
        """See `OrderQueue.send`. Sends all or none."""
        args: list[str | bytes | int] = [self._most_of_a_group]
        for message in messages:
            args += (message.body, message.group)
        await _reply(self._store.run(SEND, [QUEUE, BULK, GROUPS], args))
        return [True] * len(messages)

    async def receive(self, limit: int, wait_s: float) -> Sequence[Delivery]:
        """See `OrderQueue.receive`."""
        try:
            if not self._has_group:
                await self._create_group()
            if not self._has_own:
                await self._release_own()
            if self._clock() >= self._look_for_ghosts_at:
                await self._delete_ghosts()
            if self._clock() >= self._look_for_consumers_at:
                await self._delete_consumers()
            if received := await self._take(limit):
                return received
            # While claims have not looked at every delivery, do not wait for new ones.
            return await self._read(limit, wait_s if self._cursors == [_START, _START] else 0)
        except StoreError as error:
            # The store was emptied or replaced: create the group again at the next call.
            if isinstance(error, ReplyError) and error.code == "NOGROUP":
                self._has_group = False
            raise ServiceUnavailable(str(error)) from error

    async def interrupt(self) -> None:
        """See `OrderQueue.interrupt`."""
        if self._reader_id is not None:
            await _reply(beside(self._store, QUEUE).execute("CLIENT", "UNBLOCK", await _reply(self._reader_id)))

    async def extend(self, deliveries: Sequence[Delivery], seconds: float) -> None:
        """See `OrderQueue.extend`; for `visibility_s` at most."""
        ids = [delivery.receipt for delivery in deliveries]
        by_stream = [[entry_id for entry_id in ids if entry_id.stream == stream] for stream in (1, 2)]
        await asyncio.gather(*(self._show_after(seconds, own) for own in by_stream if own))

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """See `OrderQueue.acknowledge`."""
        ids = [delivery.receipt for delivery in deliveries]
        sound = [entry_id for entry_id in ids if not entry_id.is_outlived]
        if sound:
            store = sound[0].connection or self._store
            args = itertools.chain.from_iterable((entry_id.stream, entry_id, entry_id.group) for entry_id in sound)
            await _reply(store.run(ACKNOWLEDGE, [QUEUE, BULK, GROUPS], [self._group, *args]))
        if len(sound) < len(ids):
            raise ServiceUnavailable("the connection to the store was lost since they were received") from _OUTLIVED

    async def release(self, delivery: Delivery, delay_s: float) -> None:
        """See `OrderQueue.release`; the delay is `visibility_s` at most."""
        await self._show_after(delay_s, [delivery.receipt])

    async def _show_after(self, seconds: float, ids: Sequence[EntryId]) -> None:
        """Make those of one stream visible after so long, but for those that this consumer no longer holds."""
        args: list[str | bytes | int] = [self._group, self._consumer, self._idle_ms(seconds), *ids]
        await _reply(self._store.run(_RELEASE, [_key_of(ids[0])], args))

    async def dead_letter(self, delivery: Delivery, *, reason: str) -> None:
        """See `OrderQueue.dead_letter`."""
        entry_id = delivery.receipt
        args = (self._group, self._consumer, entry_id, reason, entry_id.group)
        await _reply(self._store.run(_DEAD_LETTER, [_key_of(entry_id), DEAD, GROUPS], args))

    async def count_messages(self) -> int | None:
        """See `QueueGauge.count_messages`."""
        counting = asyncio.gather(*(self._store.execute("XLEN", key) for key in (QUEUE, BULK)))
        lengths: list[int] = await _reply(counting)
        return sum(lengths)

    async def count_dead_letters(self) -> int | None:
        """See `Backlog.count_dead_letters`."""
        count: int = await _reply(self._store.execute("XLEN", DEAD))
        return count

    async def oldest_age_s(self) -> float | None:
        """See `Backlog.oldest_age_s`."""
        # Acknowledged entries are deleted, so the first entry of a stream is its oldest. Its id begins with its time in ms,
        # by the clock of the server: no clock of this process is compared to it.
        (seconds, microseconds), *firsts = await _reply(
            asyncio.gather(
                self._store.execute("TIME"),
                *(self._store.execute("XRANGE", key, "-", "+", "COUNT", 1) for key in (QUEUE, BULK)),
            )
        )
        heads = [entries[0][0] for entries in firsts if entries]
        if not heads:
            self._head = None
            return None
        entry_id, now = min(heads, key=_ms_of), self._clock()
        if self._head is None or self._head[0] != entry_id:
            self._head = entry_id, now
        # The clock of a server that took over may be behind that of the server that wrote the entry.
        return max(now - self._head[1], int(seconds) + int(microseconds) / 1e6 - _ms_of(entry_id) / 1000)

    async def _create_group(self) -> None:
        for key in (QUEUE, BULK):
            try:
                await self._store.execute("XGROUP", "CREATE", key, self._group, "0", "MKSTREAM")
            except ReplyError as error:
                if error.code != "BUSYGROUP":
                    raise
        self._has_group = True

    async def _release_own(self) -> None:
        """Make visible the deliveries that this consumer held before a restart. Only at the start: later they are in progress."""
        for key in (QUEUE, BULK):
            start = "-"
            while True:
                pending = await self._store.execute("XPENDING", key, self._group, start, "+", _PAGE, self._consumer)
                if not pending:
                    break
                await self._set_idle(key, [entry[0] for entry in pending], self._visibility_ms)
                start = f"({pending[-1][0].decode()}"
        self._has_own = True

    async def _delete_ghosts(self) -> None:
        """Delete acknowledged entries that are still in the streams. A ghost would be the oldest entry for good."""
        self._look_for_ghosts_at = self._clock() + _GHOSTS_EVERY_S
        for key, start in self._ghosts_from.items():
            args = (self._group, start, _GHOSTS_PAGE)
            deleted, last = await self._store.run(_DELETE_GHOSTS, [key, GROUPS], args)
            self._ghosts_from[key] = f"({last.decode()}" if last else "-"
            if deleted:
                _log.warning("%d acknowledged orders were still in the queue; they are deleted from it", deleted)

    async def _delete_consumers(self) -> None:
        """Remove the consumers of workers that are gone from the group: a new worker has a new name where hosts come and go."""
        self._look_for_consumers_at = self._clock() + _CONSUMERS_EVERY_S
        args = (self._group, self._consumer, self._consumer_life_ms)
        for key in (QUEUE, BULK):
            if removed := await self._store.run(_DELETE_CONSUMERS, [key], args):
                _log.info("%d workers that are gone left the group of %s", removed, key)

    async def _take(self, limit: int) -> list[Delivery]:
        """Deliveries whose visibility has ended, and new entries, of both streams."""
        args = (self._group, self._consumer, self._visibility_ms, limit, self._first, *self._cursors)
        self._first = 2 if self._first == 1 else 1
        *self._cursors, taken = await self._store.run(_RECEIVE, [QUEUE, BULK], args)
        return [self._delivery(stream, entry_id, fields, attempt) for stream, entry_id, fields, attempt in taken]

    async def _read(self, limit: int, wait_s: float) -> list[Delivery]:
        """New entries of both streams, with a wait. If the reply is lost, they are claimed when their visibility ends."""
        block_ms = _ms(wait_s)
        block = ("BLOCK", block_ms) if block_ms else ()  # 0 would block for ever
        # The count is that of each stream.
        count = max(1, limit // 2)
        command = ("XREADGROUP", "GROUP", self._group, self._consumer, "COUNT", count, *block)
        self._reader_id = asyncio.ensure_future(beside(self._blocking_store, QUEUE).execute("CLIENT", "ID"))
        reading = self._blocking_store.execute_blocking(*command, "STREAMS", QUEUE, BULK, ">", ">", timeout_s=wait_s)
        try:
            _, reply = await asyncio.gather(self._reader_id, reading)
        finally:
            self._reader_id = None
        received = [
            self._delivery(2 if key == BULK.encode() else 1, entry_id, fields, 1)
            for key, entries in (reply or {}).items()
            for entry_id, fields in entries
        ]
        # Of a limit of one, each stream may have had an entry.
        for surplus in received[limit:]:
            await self.release(surplus, 0)
        return received[:limit]

    def _delivery(self, stream: _Stream, entry_id: bytes, fields: Sequence[bytes], attempt: int) -> Delivery:
        receipt = EntryId(entry_id)
        receipt.connection = connection_of(self._store)
        receipt.stream = stream
        receipt.group = fields[3] if len(fields) > 3 else b""
        return Delivery(fields[1], receipt, attempt)

    def _set_idle(self, key: str, ids: Sequence[bytes], idle_ms: int) -> Awaitable[Any]:
        """Set the idle time of these, without counting a delivery."""
        return self._store.execute("XCLAIM", key, self._group, self._consumer, 0, *ids, "IDLE", idle_ms, "JUSTID")

    def _idle_ms(self, seconds: float) -> int:
        """The idle time of a delivery that becomes visible after `seconds`."""
        return max(0, self._visibility_ms - _ms(seconds))


def _key_of(entry_id: EntryId) -> str:
    return QUEUE if entry_id.stream == 1 else BULK


def _ms_of(entry_id: bytes) -> int:
    """The time at which an entry was written, in Unix milliseconds."""
    return int(entry_id.partition(b"-")[0])


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


async def _reply(reply: Awaitable[Any]) -> Any:
    try:
        return await reply
    except StoreError as error:
        raise ServiceUnavailable(str(error)) from error
