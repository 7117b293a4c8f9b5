"""The HTTP server of a process: makes a connection for every accepted socket, watches them all, and drains."""

from __future__ import annotations

import asyncio
from typing import Final, cast

from gateway.http.head_limits import DEFAULT_HEAD_LIMITS, HeadLimits
from gateway.http.router import Router
from gateway.server.connection import Connection
from gateway.server.context import ServerContext
from primitives.background import BackgroundTask

# Longer than the 60 s after which a balancer closes an idle connection, so that it never sends into a closed one.
KEEPALIVE_S: Final = 75.0
RECEIVE_TIMEOUT_S: Final = 10.0
# A response that the client leaves unread for so long is dropped.
SEND_TIMEOUT_S: Final = 30.0
# How long a client whose request is rejected before it has arrived whole may go on sending and read the response.
LINGER_S: Final = 2.0
_WATCH_S: Final = 0.5
# Connections that stay unused this long while draining are closed; busy ones end with their next response.
_UNUSED_S: Final = 0.3
_POLL_S: Final = 0.02
# How long cancelled handlers may take to end.
_CANCEL_S: Final = 0.1


class EdgeServer(ServerContext):
    """Serves HTTP on the sockets of a process."""

    def __init__(
        self,
        router: Router,
        *,
        keepalive_s: float = KEEPALIVE_S,
        receive_timeout_s: float = RECEIVE_TIMEOUT_S,
        send_timeout_s: float = SEND_TIMEOUT_S,
        linger_s: float = LINGER_S,
        limits: HeadLimits = DEFAULT_HEAD_LIMITS,
    ) -> None:
        super().__init__(
            router,
            keepalive_s=keepalive_s,
            receive_timeout_s=receive_timeout_s,
            send_timeout_s=send_timeout_s,
            linger_s=linger_s,
            limits=limits,
        )
        # Enforces the deadlines of connections.
        self.watcher = BackgroundTask("connections", self._watch)

    def protocol(self) -> asyncio.Protocol:
        """Make the protocol of one accepted socket: the factory for `loop.create_server`."""
        # It has the methods; a base class outside would keep it from being compiled to a native one.
        return cast("asyncio.Protocol", Connection(self))

    async def _watch(self) -> None:
        """Refresh the date, and end connections whose clients are too slow or idle for too long."""
        interval_s = min(_WATCH_S, self.receive_timeout_s / 2, self.send_timeout_s / 2, self.keepalive_s / 2)
        while True:
            await asyncio.sleep(interval_s)
            self.writer.refresh()
            now = self.loop.time()
            for connection in tuple(self.connections):
                connection.check(now)

    def leave(self) -> None:
        """Serve on, but say that no more traffic is wanted: the first part of a stop behind a balancer."""
        self.is_leaving = True

    async def drain(self, timeout_s: float) -> None:
        """Finish the requests in progress, then close: every response from now on ends its connection, idle ones end after a moment.

        Call it when no new connection can come any more. Returns when the last one is closed or `timeout_s` is over;
        requests still in progress are then cut off.
        """
        self.is_draining = True
        end = self.loop.time() + timeout_s
        unused_end = min(self.loop.time() + _UNUSED_S, end)
        while self.connections and self.loop.time() < end:
            if self.loop.time() >= unused_end:
                for connection in tuple(self.connections):
                    connection.close_if_idle()
            await asyncio.sleep(_POLL_S)
        await self.close()

    async def close(self) -> None:
        """Cut off all connections and tasks."""
        await self.watcher.close()
        for connection in tuple(self.connections):
            connection.abort()
        if self.tasks:
            for task in self.tasks:
                task.cancel()
            await asyncio.wait(tuple(self.tasks), timeout=_CANCEL_S)
