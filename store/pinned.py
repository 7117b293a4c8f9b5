"""Commands that run on one connection, or not at all.

A server that crashes or fails over may lose writes whose replies have arrived. A prefix of all its writes is left: as long
as commands run on one connection, no write is there without those before it. But a client that connects again may
send a write that relies on a lost one, such as the acknowledgement of a message whose order was completed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from typing import Any, Final, TypeVar

from primitives.unit_of_work import in_context
from store.client import Client, Reply, Store
from store.cluster import ClusterClient
from store.errors import StoreUnavailable
from store.resp import Arg
from store.script import Script

T = TypeVar("T")


class Connection:
    """A `Store` on the present connection of a client. Once that is lost, every command fails and is not sent.

    Of a cluster it is the present connections to all primaries: the loss of any may have undone writes that the work builds on.
    """

    def __init__(self, client: Client | ClusterClient) -> None:
        self.client: Final = client
        self._number = client.connection_number

    @property
    def is_lost(self) -> bool:
        """Whether the client has another connection by now, or none."""
        return self._number != self.client.connection_number

    def execute(self, *command: Arg) -> Awaitable[Reply]:
        """See `Store.execute`."""
        return self._lost() if self.is_lost else self._bound(self.client.execute(*command))

    def execute_blocking(self, *command: Arg, timeout_s: float) -> Awaitable[Reply]:
        """See `Store.execute_blocking`."""
        if self.is_lost:
            return self._lost()
        return self._bound(self.client.execute_blocking(*command, timeout_s=timeout_s))

    def run(self, script: Script, keys: Sequence[Arg], args: Sequence[Arg] = ()) -> Awaitable[Reply]:
        """See `Store.run`."""
        return self._lost() if self.is_lost else self._bound(self.client.run(script, keys, args))

    def _bound(self, reply: asyncio.Future[Reply]) -> asyncio.Future[Reply]:
        self.client.bind(reply)
        return reply

    def _lost(self) -> asyncio.Future[Reply]:
        reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        reply.set_exception(StoreUnavailable("the connection to the store was lost since this work began"))
        reply.exception()  # retrieved here too, because a caller may leave at the first failure of several
        return reply


_pinned: Final[ContextVar[Connection | None]] = ContextVar("pinned_connection", default=None)


class PinnedStore:
    """A `Store` whose commands within a `pinned` block run on the connection that there was when the block began.

    So no command of the block relies on a write that a later server has lost: when the connection is lost, the rest of
    the block fails with `StoreUnavailable`. It may begin again, and reads first. A block on a store that is none of one
    connection, such as those of tests, is not pinned.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    @contextmanager
    def pinned(self) -> Iterator[None]:
        """Run the block, and the tasks that it creates, on one connection.

        Only in a task: the steps of a handler do not share a context, so code that handlers await uses `run_pinned`.
        """
        token = _pinned.set(connection_of(self._store))
        try:
            yield
        finally:
            _pinned.reset(token)

    async def run_pinned(self, work: Coroutine[Any, Any, T]) -> T:
        """Await this work as a `pinned` block, in a context of its own."""
        context = copy_context()
        context.run(_pinned.set, connection_of(self._store))
        return await in_context(context, work)

    def connection(self) -> Connection | None:
        """The connection of the block, or the present one."""
        return self._pinned() or connection_of(self._store)

    def execute(self, *command: Arg) -> Awaitable[Reply]:
        """See `Store.execute`."""
        return (self._pinned() or self._store).execute(*command)

    def execute_blocking(self, *command: Arg, timeout_s: float) -> Awaitable[Reply]:
        """See `Store.execute_blocking`."""
        return (self._pinned() or self._store).execute_blocking(*command, timeout_s=timeout_s)

    def run(self, script: Script, keys: Sequence[Arg], args: Sequence[Arg] = ()) -> Awaitable[Reply]:
        """See `Store.run`."""
        return (self._pinned() or self._store).run(script, keys, args)

    def _pinned(self) -> Connection | None:
        pinned = _pinned.get()
        return pinned if pinned is not None and pinned.client is self._store else None


def connection_of(store: Store) -> Connection | None:
    """The connection that a store uses now; None if it is none of one connection."""
    if isinstance(store, PinnedStore):
        return store.connection()
    return Connection(store) if isinstance(store, Client | ClusterClient) else None
