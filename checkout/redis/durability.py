"""Durability of order writes: the reply of the store, WAITAOF for its append-only file, or WAIT for a replica.

The settings `memory`, `queue` and `server`, and `aof` with `appendfsync always`, use `OnReply`; `aof` with another `appendfsync` uses
`AofWait`, and `replica` uses `ReplicaWait`. docs/durability.md says what each can lose.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, Final, Protocol

from store import ReplyError, Script, Store, StoreError

WAIT_MS: Final = 2_000
# Bounds a batch, so that all its replies arrive within the deadline of its commands.
MAX_BATCH: Final = 256

Arg = bytes | str | int | float


class Durability(Protocol):
    """Writes by script, and reports whether the write is as durable as promised."""

    reply_is_durable: bool
    """Whether a write is durable as soon as its reply arrives."""
    undo_is_safe: bool
    """Whether a write that is not durable is gone for good once it is undone on the server that ran it."""

    def write(self, script: Script, keys: Sequence[str], args: Sequence[Arg]) -> Awaitable[tuple[Any, bool]]:
        """Run the script; returns its reply, and whether its writes and all earlier ones are durable. Raises `StoreError`."""
        ...


class OnReply:
    """Durable on reply: the store has no append-only file, or flushes it before it replies."""

    reply_is_durable = True
    undo_is_safe = True

    def __init__(self, store: Store) -> None:
        self._store = store

    async def write(self, script: Script, keys: Sequence[str], args: Sequence[Arg]) -> tuple[Any, bool]:
        """See `Durability.write`."""
        return await self._store.run(script, keys, args), True


class _Write:
    """A write that waits for its batch."""

    __slots__ = ("args", "done", "keys", "script")

    def __init__(
        self, script: Script, keys: Sequence[str], args: Sequence[Arg], done: asyncio.Future[tuple[Any, bool]]
    ) -> None:
        self.script = script
        self.keys = keys
        self.args = args
        self.done = done


class BatchedWait:
    """Durable once a command that waits says so; one such command for a batch of writes.

    The command covers the writes of its own connection, and blocks it. So `store` must be a connection used for nothing else.
    Writes that arrive while it waits form the next batch. It waits for `wait_ms` at most.
    """

    reply_is_durable = False
    undo_is_safe = True

    def __init__(self, store: Store, *, wait_ms: int = WAIT_MS) -> None:
        self._store = store
        self._wait_ms = wait_ms
        self._gathered: list[_Write] = []
        self._writing: asyncio.Task[None] | None = None

    async def probe(self) -> bool:
        """Whether all writes until now are durable. Raises `ReplyError` with the server's reason if it cannot wait."""
        return self._is_durable(await self._wait())

    def _wait(self) -> Awaitable[Any]:
        raise NotImplementedError

    def _is_durable(self, reply: Any) -> bool:
        raise NotImplementedError

    def write(self, script: Script, keys: Sequence[str], args: Sequence[Arg]) -> Awaitable[tuple[Any, bool]]:
        """See `Durability.write`."""
        done: asyncio.Future[tuple[Any, bool]] = asyncio.get_running_loop().create_future()
        self._gathered.append(_Write(script, keys, args, done))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_all())
        return done

    async def _write_all(self) -> None:
        while self._gathered:
            batch, self._gathered = self._gathered[:MAX_BATCH], self._gathered[MAX_BATCH:]
            await self._write_batch(batch)

    async def _write_batch(self, batch: Sequence[_Write]) -> None:
        # EVALSHA, not `run`, which would repeat an unknown script after the wait that is to cover it.
        # All commands are queued before the first await, so they are sent in one write on one connection, or fail together.
        replies = [self._store.execute("EVALSHA", w.script.sha, len(w.keys), *w.keys, *w.args) for w in batch]
        results = await asyncio.gather(*replies, self._wait(), return_exceptions=True)
        is_durable = not isinstance(results[-1], BaseException) and self._is_durable(results[-1])
        unknown: list[_Write] = []
        for write, result in zip(batch, results[:-1], strict=True):
            if isinstance(result, ReplyError) and result.code == "NOSCRIPT":
                unknown.append(write)
            else:
                _resolve(write.done, result, is_durable)
        if unknown:
            await self._load({write.script for write in unknown}, unknown)

    async def _load(self, scripts: set[Script], writes: Sequence[_Write]) -> None:
        """Load these scripts, and put the writes that need them at the head of the next batch."""
        try:
            await asyncio.gather(*(self._store.execute("SCRIPT", "LOAD", script.text) for script in scripts))
        except StoreError as error:
            for write in writes:
                _resolve(write.done, error, is_durable=False)
        else:
            self._gathered[:0] = writes


class AofWait(BatchedWait):
    """Durable once WAITAOF confirms that the append-only file is flushed to disk.

    Needs Redis 7.2 or Valkey 7.2 with `appendonly yes`; `probe` checks that, and without it no write is durable.
    """

    def _wait(self) -> Awaitable[Any]:
        return self._store.execute_blocking("WAITAOF", 1, 0, self._wait_ms, timeout_s=self._wait_ms / 1000)

    def _is_durable(self, reply: Any) -> bool:
        return bool(reply[0] >= 1)


class ReplicaWait(BatchedWait):
    """Durable once WAIT confirms that a replica has the writes in its memory.

    A write that no replica confirmed in time may be on its way to one. If that one is promoted before an undo reaches it, the
    write stands.
    """

    undo_is_safe = False

    def _wait(self) -> Awaitable[Any]:
        return self._store.execute_blocking("WAIT", 1, self._wait_ms, timeout_s=self._wait_ms / 1000)

    def _is_durable(self, reply: Any) -> bool:
        return bool(reply >= 1)


def _resolve(done: asyncio.Future[tuple[Any, bool]], result: Any, is_durable: bool) -> None:
    if done.done():
        return
    if isinstance(result, BaseException):
        done.set_exception(result)
    else:
        done.set_result((result, is_durable))


async def fsync_policy(store: Store) -> str | None:
    """The server's `appendfsync`: `always`, `everysec` or `no`; `off` with `appendonly no`; None if CONFIG is not allowed."""
    try:
        options = await store.execute("CONFIG", "GET", "append*")
    except ReplyError:
        return None
    return str(options[b"appendfsync"].decode()) if options.get(b"appendonly") == b"yes" else "off"
