"""How sure the store is of what it has written when it says so; the composition root chooses one.

`memory`, and `aof` under `appendfsync always`: `OnReply`. `aof` otherwise: `AofWait`. (`replica` will be a third; `queue` is
no matter of the store but of the dispatcher.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, Final, Protocol

import msgspec

from store import ReplyError, Script, Store, StoreError

WAIT_MS: Final = 2_000
# However many orders come together, what is on one connection must be answered within its commands' deadline.
MAX_BATCH: Final = 256

Arg = bytes | str | int | float


class Durability(Protocol):
    """Writes by script, and tells whether the write is as durable as was promised."""

    reply_is_durable: bool
    """Whether the reply of a write is the promise itself."""

    def write(self, script: Script, keys: Sequence[str], args: Sequence[Arg]) -> Awaitable[tuple[Any, bool]]:
        """Run the script; returns its reply, and whether what it and all before it wrote is durable. Raises `StoreError`."""
        ...


class OnReply:
    """The reply is the promise: the store keeps orders in memory, or flushes its file before it replies."""

    reply_is_durable = True

    def __init__(self, store: Store) -> None:
        self._store = store

    async def write(self, script: Script, keys: Sequence[str], args: Sequence[Arg]) -> tuple[Any, bool]:
        """See `Durability.write`."""
        return await self._store.run(script, keys, args), True


class _Write(msgspec.Struct, frozen=True, eq=False):
    script: Script
    keys: Sequence[str]
    args: Sequence[Arg]
    done: asyncio.Future[tuple[Any, bool]]


class AofWait:
    """WAITAOF after each batch of writes: they are kept when they are in the append-only file on disk.

    WAITAOF speaks for its own connection only, and blocks it; so this needs a `store` of its own, and while one batch
    waits, the writes that come gather for the next. Needs Redis 7.2 or Valkey 7.2 with `appendonly yes`, which `probe`
    finds out; without it nothing is ever kept.
    """

    reply_is_durable = False

    def __init__(self, store: Store, *, wait_ms: int = WAIT_MS) -> None:
        self._store = store
        self._wait_ms = wait_ms
        self._gathered: list[_Write] = []
        self._writing: asyncio.Task[None] | None = None

    async def probe(self) -> None:
        """Raises `ReplyError`, with the server's reason, where it cannot wait for its append-only file."""
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
        # EVALSHA itself, not `run`: a script loaded and repeated after WAITAOF would not be what WAITAOF spoke for.
        # All are queued before the first await, so they leave in one write on one connection, or fail together.
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
        """Teach the server these scripts, and put the writes that need them at the head of the next batch."""
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
    """How the server keeps its append-only file: `always`, `everysec` or `no`; `off` without one; None if it does not tell."""
    try:
        told = await store.execute("CONFIG", "GET", "append*")
    except ReplyError:
        return None
    return str(told[b"appendfsync"].decode()) if told.get(b"appendonly") == b"yes" else "off"
