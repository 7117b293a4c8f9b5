"""The order queue on a Redis or Valkey stream with a consumer group: the embedded default.

A delivery is pending until it is acknowledged. A delivery that is idle for `visibility_s` is claimed by the next worker
that receives. Its idle time is also set to extend and to delay a delivery.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from checkout.errors import ServiceUnavailable
from checkout.ports.queue import Delivery, Outgoing
from store import ReplyError, Script, Store, StoreError

_log = logging.getLogger(__name__)

_CLAIM: Final = Script.from_package("checkout.queues", "scripts/claim.lua")
_RELEASE: Final = Script.from_package("checkout.queues", "scripts/release.lua")
_DEFER: Final = Script.from_package("checkout.queues", "scripts/defer.lua")
_PAGE: Final = 1000

# One hash tag: a script moves entries between the two.
QUEUE: Final = "{orders}:queue"
DEAD: Final = "{orders}:dead"


class RedisQueue:
    """An `OrderQueue` and its `Backlog` on the stream `key`; dead letters, with their reason, go to the stream `dead_key`.

    `consumer` names this worker process and stays the same after a restart: deliveries that it held before are delivered
    to it at once. Processes that run at the same time need different names.

    `blocking_store` must be a connection used for nothing else: replies on it wait behind a blocking read.
    """

    def __init__(
        self,
        store: Store,
        blocking_store: Store,
        *,
        consumer: str,
        key: str = QUEUE,
        dead_key: str = DEAD,
        group: str = "workers",
        visibility_s: float = 30.0,
        max_deliveries: int = 5,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._now = now
        self._store = store
        self._blocking_store = blocking_store
        self._consumer = consumer
        self._key = key
        self._dead_key = dead_key
        self._group = group
        self._visibility_ms = _ms(visibility_s)
        self._max_deliveries = max_deliveries
        self._has_group = False
        self._has_own = False
        self._cursor: bytes | str = "0-0"
        # The server's id of the blocking connection, while it reads.
        self._reader_id: asyncio.Future[Any] | None = None

    async def send(self, messages: Sequence[Outgoing]) -> Sequence[bool]:
        """See `OrderQueue.send`."""
        sent = [self._store.execute("XADD", self._key, "*", "body", message.body) for message in messages]
        replies = await asyncio.gather(*sent, return_exceptions=True)
        errors = [reply for reply in replies if isinstance(reply, BaseException)]
        if errors and len(errors) == len(messages):
            raise ServiceUnavailable(str(errors[0])) from errors[0]
        return [not isinstance(reply, BaseException) for reply in replies]

    async def receive(self, limit: int, wait_s: float) -> Sequence[Delivery]:
        """See `OrderQueue.receive`."""
        try:
            if not self._has_group:
                await self._create_group()
            if not self._has_own:
                await self._release_own()
            return await self._claim(limit) or await self._read(limit, wait_s)
        except StoreError as error:
            # The store was emptied or replaced: create the group again at the next call.
            if isinstance(error, ReplyError) and error.code == "NOGROUP":
                self._has_group = False
            raise ServiceUnavailable(str(error)) from error

    async def interrupt(self) -> None:
        """See `OrderQueue.interrupt`."""
        if self._reader_id is not None:
            await _reply(self._store.execute("CLIENT", "UNBLOCK", await _reply(self._reader_id)))

    async def extend(self, delivery: Delivery, seconds: float) -> None:
        """See `OrderQueue.extend`; for `visibility_s` at most."""
        await _reply(self._set_idle([delivery.receipt], self._idle_ms(seconds)))

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """See `OrderQueue.acknowledge`."""
        ids = [delivery.receipt for delivery in deliveries]
        # Both are sent in one write. If only the first arrives, the group drops the deleted entry at its next claim.
        deleted = self._store.execute("XDEL", self._key, *ids)
        acknowledged = self._store.execute("XACK", self._key, self._group, *ids)
        await _reply(asyncio.gather(deleted, acknowledged))

    async def release(self, delivery: Delivery, delay_s: float, *, reason: str) -> bool:
        """See `OrderQueue.release`; the delay is `visibility_s` at most."""
        idle_ms = self._idle_ms(delay_s)
        args = (self._group, self._consumer, delivery.receipt, idle_ms, self._max_deliveries, reason)
        return bool(await _reply(self._store.run(_RELEASE, [self._key, self._dead_key], args)))

    async def defer(self, delivery: Delivery, delay_s: float) -> None:
        """See `OrderQueue.defer`; the delay is `visibility_s` at most."""
        args = (self._group, self._consumer, delivery.receipt, self._idle_ms(delay_s))
        await _reply(self._store.run(_DEFER, [self._key], args))

    async def oldest_age_s(self) -> float | None:
        """See `Backlog.oldest_age_s`."""
        # Acknowledged entries are deleted, so the first entry is the oldest. Its id begins with its time, in ms.
        entries = await _reply(self._store.execute("XRANGE", self._key, "-", "+", "COUNT", 1))
        if not entries:
            return None
        written_ms, _, _ = entries[0][0].partition(b"-")
        return max(0.0, self._now() - int(written_ms) / 1000)

    async def _create_group(self) -> None:
        try:
            await self._store.execute("XGROUP", "CREATE", self._key, self._group, "0", "MKSTREAM")
        except ReplyError as error:
            if error.code != "BUSYGROUP":
                raise
        self._has_group = True

    async def _release_own(self) -> None:
        """Make visible the deliveries that this consumer held before a restart. Only at the start: later they are in progress."""
        start = "-"
        while True:
            pending = await self._store.execute("XPENDING", self._key, self._group, start, "+", _PAGE, self._consumer)
            if not pending:
                break
            await self._set_idle([entry[0] for entry in pending], self._visibility_ms)
            start = f"({pending[-1][0].decode()}"
        self._has_own = True

    async def _claim(self, limit: int) -> list[Delivery]:
        args = (self._group, self._consumer, self._visibility_ms, self._cursor, limit, self._max_deliveries)
        self._cursor, claimed, died = await self._store.run(_CLAIM, [self._key, self._dead_key], args)
        if died:
            _log.error("%d orders are dead-lettered: their workers died or hung %d times", died, self._max_deliveries)
        return [Delivery(body=body, receipt=entry_id, attempt=attempt) for entry_id, body, attempt in claimed]

    async def _read(self, limit: int, wait_s: float) -> list[Delivery]:
        """New entries. If the reply is lost, they are claimed when their visibility ends."""
        block_ms = _ms(wait_s)
        block = ("BLOCK", block_ms) if block_ms else ()  # 0 would block for ever
        command = ("XREADGROUP", "GROUP", self._group, self._consumer, "COUNT", limit, *block)
        self._reader_id = asyncio.ensure_future(self._blocking_store.execute("CLIENT", "ID"))
        reading = self._blocking_store.execute_blocking(*command, "STREAMS", self._key, ">", timeout_s=wait_s)
        try:
            _, reply = await asyncio.gather(self._reader_id, reading)
        finally:
            self._reader_id = None
        entries = itertools.chain.from_iterable(reply.values()) if reply else ()
        return [Delivery(body=fields[1], receipt=entry_id, attempt=1) for entry_id, fields in entries]

    def _set_idle(self, ids: Sequence[bytes], idle_ms: int) -> Awaitable[Any]:
        """Set the idle time of these, without counting a delivery."""
        return self._store.execute("XCLAIM", self._key, self._group, self._consumer, 0, *ids, "IDLE", idle_ms, "JUSTID")

    def _idle_ms(self, seconds: float) -> int:
        """The idle time of a delivery that becomes visible after `seconds`."""
        return max(0, self._visibility_ms - _ms(seconds))


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


async def _reply(reply: Awaitable[Any]) -> Any:
    try:
        return await reply
    except StoreError as error:
        raise ServiceUnavailable(str(error)) from error
