"""The connection pool of a target: idle connections, new ones up to a limit, and requests that wait for one."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import deque
from collections.abc import Callable
from typing import Final, cast

from gateway.http.head_limits import DEFAULT_HEAD_LIMITS, HeadLimits
from gateway.proxy.address import Address
from gateway.proxy.connection import Connection
from gateway.proxy.errors import ConnectFailed, PoolFull, ResponseTimeout, StreamsFull, UpstreamFault
from primitives.futures import ignore_exception
from primitives.stream_limit import StreamLimit

# Shorter than servers commonly keep an idle connection (5 s), so that they seldom close one while it is taken.
IDLE_S: Final = 4.0
SWEEP_S: Final = 0.05
# The largest share of the connections for all streams, and for those of one client. The rest is for whole requests.
MAX_STREAM_SHARE: Final = 0.75
MAX_CLIENT_SHARE: Final = 0.125


class ConnectionPool:
    """Takes the connection that was used last, so that those not needed are closed for being idle.

    One timer serves all deadlines. `on_stream_end` is called for each streamed response, with its fault if it was
    truncated.
    """

    def __init__(
        self,
        address: Address,
        *,
        max_connections: int,
        connect_timeout_s: float,
        buffer_bytes: int,
        tls: ssl.SSLContext,
        on_stream_end: Callable[[UpstreamFault | None], None],
        limits: HeadLimits = DEFAULT_HEAD_LIMITS,
    ) -> None:
        self._address = address
        self.max_connections = max_connections
        self.connect_timeout_s = connect_timeout_s
        # The longest body of a response that is received whole.
        self.buffer_bytes = buffer_bytes
        # A whole request holds its connection for as long as the upstream takes, a streamed body for as long as its client does.
        self.stream_limit = StreamLimit(*_stream_shares(max_connections))
        self._tls = tls
        self._limits = limits
        self._on_stream_end = on_stream_end
        self._loop = asyncio.get_running_loop()
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()
        self._connecting = 0
        # The requests that wait, with the loop's time until which they do.
        self._waiting: deque[tuple[asyncio.Future[Connection | None], float]] = deque()
        self._is_retired = False
        self._is_closed = False
        self._sweeper: asyncio.TimerHandle | None = None
        self._swept_at = 0.0

    def configure(self, *, max_connections: int, connect_timeout_s: float, buffer_bytes: int) -> None:
        """Apply other settings; connections in use stay."""
        self.max_connections = max_connections
        self.connect_timeout_s = connect_timeout_s
        self.buffer_bytes = buffer_bytes
        self.stream_limit.resize(*_stream_shares(max_connections))

    @property
    def outstanding(self) -> int:
        """Requests that have a connection, or wait for one."""
        return len(self._busy) + self._connecting + len(self._waiting)

    @property
    def idle(self) -> int:
        """Idle connections."""
        return len(self._idle)

    def take(self) -> Connection | None:
        """An idle connection, if there is one. It must be used for a request or closed."""
        if not self._idle:
            return None
        connection = self._idle.pop()
        self._busy.add(connection)
        return connection

    async def obtain(self, deadline: float) -> Connection:
        """An idle connection, a new one, or the next to be released. Raises an `UpstreamFault`. Awaits futures only."""
        while True:
            if self._is_closed:
                raise ConnectFailed("the gateway stops")
            connection = self.take()
            if connection is not None:
                return connection
            if len(self._busy) + len(self._idle) + self._connecting < self.max_connections:
                return await self._connect(deadline)
            connection = await self._wait(deadline)
            if connection is not None and connection.is_open:
                return connection

    async def obtain_for_stream(self, client: str, deadline: float) -> Connection:
        """As `obtain`, for a request whose body is streamed. Raises `StreamsFull` if this client may not have another."""
        if not self.try_stream(client):
            raise StreamsFull("streams hold as many connections as they may")
        try:
            connection = await self.obtain(deadline)
        except BaseException:
            self.stream_left(client)
            raise
        connection.is_stream_counted = True
        return connection

    # Connecting

    async def _connect(self, deadline: float) -> Connection:
        """Open a connection, in a task: the loop's `create_connection` needs one."""
        self._connecting += 1
        opening = self._loop.create_task(self._open(deadline))
        connection: Connection | None = None
        try:
            connection = await opening
            self._busy.add(connection)
            self._start_sweeping()
            return connection
        finally:
            self._connecting -= 1
            if connection is None:
                self._abandon(opening)

    def _abandon(self, opening: asyncio.Task[Connection]) -> None:
        """The connection failed or its request was cancelled: another can be opened."""
        if not opening.done():
            opening.add_done_callback(ignore_exception)
            opening.cancel()
        elif not opening.cancelled() and opening.exception() is None:
            opening.result().close()  # opened in the moment of the cancellation
        self._wake_next(None)

    async def _open(self, deadline: float) -> Connection:
        address = self._address
        connect_deadline = self._loop.time() + self.connect_timeout_s
        connection = Connection(self, self._limits)
        try:
            async with asyncio.timeout_at(min(deadline, connect_deadline)):
                await self._loop.create_connection(
                    lambda: cast("asyncio.Protocol", connection),
                    address.host,
                    address.port,
                    ssl=self._tls if address.is_tls else None,
                )
                return connection
        except TimeoutError:
            if deadline < connect_deadline:
                raise ResponseTimeout("the request's time ended while connecting") from None
            raise ConnectFailed("no connection in time") from None
        except (OSError, UnicodeError) as error:
            # Among them: an invalid certificate, an unknown name.
            raise ConnectFailed(str(error)) from None

    # Waiting

    async def _wait(self, deadline: float) -> Connection | None:
        """Wait for a connection to be released, or for room for a new one (None). As many may wait as are served."""
        if len(self._waiting) >= self.max_connections:
            raise PoolFull("too many requests wait for a connection already")
        waiter: asyncio.Future[Connection | None] = self._loop.create_future()
        self._waiting.append((waiter, min(deadline, self._loop.time() + self.connect_timeout_s)))
        self._start_sweeping()
        try:
            return await waiter
        except BaseException:
            if not waiter.done():
                waiter.cancel()
            elif not waiter.cancelled() and waiter.exception() is None:
                self._hand_over(waiter.result())
            raise

    def _hand_over(self, connection: Connection | None) -> None:
        """The request to which this was given was cancelled in the same moment."""
        if connection is not None and connection.is_open:
            self.released(connection)
        else:
            self._wake_next(None)

    def _wake_next(self, connection: Connection | None) -> bool:
        while self._waiting:
            waiter, _ = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return True
        return False

    # The connections' owner

    def released(self, connection: Connection) -> None:
        """See `ConnectionOwner`."""
        if self._waiting and self._wake_next(connection):
            return
        self._busy.discard(connection)
        if self._is_retired or len(self._busy) + len(self._idle) >= self.max_connections:
            connection.close()
            return
        # Late by at most a sweep, which saves a call of the clock.
        connection.idle_since = self._swept_at
        self._idle.append(connection)

    def lost(self, connection: Connection) -> None:
        """See `ConnectionOwner`."""
        self._busy.discard(connection)
        with contextlib.suppress(ValueError):
            self._idle.remove(connection)
        if self._waiting:
            self._wake_next(None)

    def try_stream(self, client: str) -> bool:
        """See `ConnectionOwner`."""
        return self.stream_limit.try_enter(client)

    def stream_left(self, client: str) -> None:
        """See `ConnectionOwner`."""
        self.stream_limit.leave(client)

    def stream_ended(self, fault: UpstreamFault | None) -> None:
        """See `ConnectionOwner`."""
        self._on_stream_end(fault)

    # Deadlines

    def _start_sweeping(self) -> None:
        if self._sweeper is None:
            self._swept_at = self._loop.time()
            self._sweeper = self._loop.call_later(SWEEP_S, self._sweep)

    def _sweep(self) -> None:
        """Fail requests whose deadline is before the last sweep, and close connections that are idle too long.

        Not before this one: if the process was busy or suspended, responses that arrived meanwhile are read first.
        """
        expired_at, self._swept_at = self._swept_at, self._loop.time()
        for connection in [each for each in self._busy if each.deadline <= expired_at]:
            connection.time_out()
        while self._waiting and (self._waiting[0][1] <= expired_at or self._waiting[0][0].done()):
            waiter, _ = self._waiting.popleft()
            _fail(waiter, PoolFull("no connection was released in time"))
        idle_before = self._swept_at - IDLE_S
        while self._idle and self._idle[0].idle_since <= idle_before:
            self._idle[0].close()
        is_needed = self._busy or self._idle or self._waiting
        self._sweeper = self._loop.call_later(SWEEP_S, self._sweep) if is_needed else None

    # The end

    def retire(self) -> None:
        """No more requests will come; those in progress go on."""
        self._is_retired = True
        for connection in [*self._idle]:
            connection.close()

    def close(self) -> None:
        """Close all connections now; requests in progress fail."""
        self._is_closed = True
        self.retire()
        for connection in [*self._busy]:
            connection.fail(ConnectFailed("the gateway stops"))
        while self._waiting:
            _fail(self._waiting.popleft()[0], ConnectFailed("the gateway stops"))
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None


def _stream_shares(max_connections: int) -> tuple[int, int]:
    """The streams of all clients and of one client that may hold so many connections."""
    return int(max_connections * MAX_STREAM_SHARE), int(max_connections * MAX_CLIENT_SHARE)


def _fail(waiter: asyncio.Future[Connection | None], fault: UpstreamFault) -> None:
    if not waiter.done():
        waiter.set_exception(fault)
        # Retrieved here, so that asyncio does not log it if no request waits any more.
        waiter.exception()
