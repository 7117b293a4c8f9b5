"""Durability of order writes: the reply of the store, WAITAOF for its append-only file, or WAIT for a replica.

The settings `memory`, `queue` and `server`, and `aof` with `appendfsync always`, use `OnReply`; `aof` with another `appendfsync` uses
`AofWait`, and `replica` uses `ReplicaWait`. docs/durability.md says what each can lose.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, Final, Protocol

from primitives.backoff import Backoff
from store import ClusterClient, Reason, ReplyError, Script, Store, StoreClient, StoreError, StoreUnavailable

WAIT_MS: Final = 2_000
# Bounds a batch, so that all its replies arrive within the deadline of its commands.
MAX_BATCH: Final = 256
# How often a write is sent again that a cluster redirects or refuses for the moment, and after which pauses.
MAX_REDIRECTS: Final = 8
FIRST_PAUSE_S: Final = 0.01
MAX_PAUSE_S: Final = 0.1

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

    __slots__ = ("args", "done", "is_asking", "keys", "script")

    def __init__(
        self,
        script: Script,
        keys: Sequence[str],
        args: Sequence[Arg],
        done: asyncio.Future[tuple[Any, bool]],
        is_asking: bool,
    ) -> None:
        self.script = script
        self.keys = keys
        self.args = args
        self.done = done
        self.is_asking = is_asking


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

    def write(
        self, script: Script, keys: Sequence[str], args: Sequence[Arg], *, is_asking: bool = False
    ) -> Awaitable[tuple[Any, bool]]:
        """See `Durability.write`; `is_asking` sends ASKING before it, for a slot that moves to this server of a cluster."""
        done: asyncio.Future[tuple[Any, bool]] = asyncio.get_running_loop().create_future()
        self._gathered.append(_Write(script, keys, args, done, is_asking))
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
        replies = [self._send(write) for write in batch]
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

    def _send(self, write: _Write) -> Awaitable[Any]:
        if write.is_asking:
            self._store.execute("ASKING")
        return self._store.execute("EVALSHA", write.script.sha, len(write.keys), *write.keys, *write.args)

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


class ClusterWait:
    """Durable once the server that ran the write says so: a `BatchedWait` for each primary of a cluster.

    `cluster` must be a client used for nothing else.
    """

    reply_is_durable = False

    def __init__(self, cluster: ClusterClient, wait: type[BatchedWait]) -> None:
        self._cluster = cluster
        self._wait = wait
        self._waits: dict[Store, BatchedWait] = {}
        self.undo_is_safe = not issubclass(wait, ReplicaWait)

    async def write(self, script: Script, keys: Sequence[str], args: Sequence[Arg]) -> tuple[Any, bool]:
        """See `Durability.write`."""
        node, is_asking = self._cluster.node_of(keys[0]), False
        pauses = Backoff(FIRST_PAUSE_S, MAX_PAUSE_S)
        while True:
            try:
                return await self._of(node).write(script, keys, args, is_asking=is_asking)
            except ReplyError as error:
                redirected = self._cluster.redirect(node, error)
                if redirected is None or pauses.failures >= MAX_REDIRECTS:
                    raise
                node, is_asking = redirected
            except StoreUnavailable as error:
                # TRYAGAIN and CLUSTERDOWN, which run nothing and pass.
                if error.reason is not Reason.CLUSTER_DOWN or error.may_have_run or pauses.failures >= MAX_REDIRECTS:
                    raise
                node, is_asking = self._cluster.node_of(keys[0]), False
            # The first redirect of a slot is the rule; more are servers that have not heard of it yet.
            pause_s = pauses.next_delay_s()
            await asyncio.sleep(pause_s if pauses.failures > 1 else 0)

    def _of(self, node: Store) -> BatchedWait:
        wait = self._waits.get(node)
        if wait is None:
            # Those of servers that have left are forgotten.
            self._waits = {each: known for each, known in self._waits.items() if each in self._cluster.nodes}
            wait = self._waits[node] = self._wait(node)
        return wait


def wait_on(client: StoreClient, wait: type[BatchedWait]) -> Durability:
    """The durability of writes to this store by waiting for its servers; `client` must be used for nothing else."""
    return ClusterWait(client, wait) if isinstance(client, ClusterClient) else wait(client)


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
