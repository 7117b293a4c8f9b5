"""Durability of order writes: the reply of the store, or WAITAOF for its append-only file.

The setting `memory`, and `aof` with `appendfsync always`, use `OnReply`; `aof` with another `appendfsync` uses `AofWait`.
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

    def write(self, script: Script, keys: Sequence[str], args: Sequence[Arg]) -> Awaitable[tuple[Any, bool]]:
        """Run the script; returns its reply, and whether its writes and all earlier ones are durable. Raises `StoreError`."""
        ...


class OnReply:
    """Durable on reply: the store has no append-only file, or flushes it before it replies."""

    reply_is_durable = True

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


class AofWait:
    """Durable once WAITAOF confirms that the append-only file is flushed to disk; one WAITAOF for a batch of writes.

    WAITAOF covers the writes of its own connection, and blocks it. So `store` must be a connection used for nothing else.
    Writes that arrive during a WAITAOF form the next batch. Needs Redis 7.2 or Valkey 7.2 with `appendonly yes`; `probe`
    checks that, and without it no write is durable.
    """

    reply_is_durable = False

    def __init__(self, store: Store, *, wait_ms: int = WAIT_MS) -> None:
        self._store = store
        self._wait_ms = wait_ms
        self._gathered: list[_Write] = []
        self._writing: asyncio.Task[None] | None = None

    async def probe(self) -> None:
        """Raises `ReplyError` with the server's reason if it does not support WAITAOF."""
        await self._wait()

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
        # EVALSHA, not `run`, which would repeat an unknown script after the WAITAOF that is to cover it.
        # All commands are queued before the first await, so they are sent in one write on one connection, or fail together.
        replies = [self._store.execute("EVALSHA", w.script.sha, len(w.keys), *w.keys, *w.args) for w in batch]
        results = await asyncio.gather(*replies, self._wait(), return_exceptions=True)
        is_durable = not isinstance(results[-1], BaseException) and results[-1][0] >= 1
        unknown: list[_Write] = []
        for write, result in zip(batch, results[:-1], strict=True):
            if isinstance(result, ReplyError) and result.code == "NOSCRIPT":
                unknown.append(write)
            else:
                _resolve(write.done, result, is_durable)
        if unknown:
            await self._load({write.script for write in unknown}, unknown)

    def _wait(self) -> Awaitable[Any]:
        return self._store.execute_blocking("WAITAOF", 1, 0, self._wait_ms, timeout_s=self._wait_ms / 1000)

    async def _load(self, scripts: set[Script], writes: Sequence[_Write]) -> None:
        """Load these scripts, and put the writes that need them at the head of the next batch."""
        try:
            await asyncio.gather(*(self._store.execute("SCRIPT", "LOAD", script.text) for script in scripts))
        except StoreError as error:
            for write in writes:
                _resolve(write.done, error, is_durable=False)
        else:
            self._gathered[:0] = writes


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
