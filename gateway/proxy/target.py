"""One server of an upstream: where it is, how it is, and the connections to it."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import deque
from dataclasses import dataclass
from functools import cached_property
from typing import Final
from urllib.parse import urlsplit

from gateway.proxy.connection import Connection
from gateway.proxy.errors import AllBusy, NotReached, TimedOut, UpstreamFault
from gateway.proxy.health import TargetHealth

# Shorter than what servers commonly keep an idle connection for (5 s), so that they seldom close one as it is used.
IDLE_S: Final = 4.0
SWEEP_S: Final = 0.05


@dataclass(frozen=True)
class Place:
    """Where a target is. `base` is the path that all of its paths begin with, empty mostly."""

    url: str
    is_tls: bool
    host: str
    port: int
    base: str

    @classmethod
    def of(cls, url: str) -> Place:
        """Read `http[s]://host[:port][/base]`; raises `ValueError` for anything else."""
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
            raise ValueError(f"{url} is no address of an HTTP server")
        if parts.username is not None or parts.password is not None:
            raise ValueError("an upstream's address holds no user and password")
        is_tls = parts.scheme == "https"
        return cls(url, is_tls, parts.hostname, parts.port or (443 if is_tls else 80), parts.path.rstrip("/"))

    @cached_property
    def authority(self) -> str:
        """Its `Host` (RFC 9110, 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.is_tls else 80) else f"{host}:{self.port}"


class Target:
    """Connections to one server: the one used last is used first, so that those not needed grow old and are closed."""

    def __init__(
        self,
        place: Place,
        health: TargetHealth,
        *,
        max_connections: int,
        connect_timeout_s: float,
        failures_to_eject: int,
        eject_s: float,
        tls: ssl.SSLContext,
    ) -> None:
        self.place = place
        self.health = health
        self.max_connections = max_connections
        self.connect_timeout_s = connect_timeout_s
        self.failures_to_eject = failures_to_eject
        self.eject_s = eject_s
        # Streamed answers that ended too early.
        self.cut_off = 0
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()
        self._connecting = 0
        self._waiting: deque[tuple[asyncio.Future[Connection | None], float]] = deque()
        self._is_retired = self._is_closed = False
        self._sweeper: asyncio.TimerHandle | None = None
        self._swept_at = 0.0

    @property
    def outstanding(self) -> int:
        """Requests under way."""
        return len(self._busy) + self._connecting + len(self._waiting)

    @property
    def idle(self) -> int:
        """Connections that wait for a request."""
        return len(self._idle)

    def failed(self, reason: str) -> None:
        """It did not serve a request."""
        self.health.failed(reason, most=self.failures_to_eject, eject_s=self.eject_s)

    # Connections

    def take(self) -> Connection | None:
        """An idle connection, if there is one. Must be asked or closed."""
        if not self._idle:
            return None
        connection = self._idle.pop()
        self._busy.add(connection)
        return connection

    async def obtain(self, deadline: float) -> Connection:
        """A connection: an idle one, a new one, or the next to be freed. Raises an `UpstreamFault`.

        Waits for plain futures only.
        """
        while True:
            if self._is_closed:
                raise NotReached("the gateway stops")
            connection = self.take()
            if connection is not None:
                return connection
            if len(self._busy) + len(self._idle) + self._connecting < self.max_connections:
                return await self._connect(deadline)
            connection = await self._wait_turn(deadline)
            if connection is not None and connection.is_open:
                return connection

    async def _connect(self, deadline: float) -> Connection:
        """Open a connection, in a task: the loop's own way to connect may not be run without one."""
        self._connecting += 1
        opening = self._loop.create_task(self._open(deadline))
        connection: Connection | None = None
        try:
            connection = await opening
            self._busy.add(connection)
            self._watch()
            return connection
        finally:
            self._connecting -= 1
            if connection is None:
                self._forget(opening)

    def _forget(self, opening: asyncio.Task[Connection]) -> None:
        """The connection has failed, or its request was given up: there is room for another."""
        if not opening.done():
            opening.cancel()
        elif not opening.cancelled() and opening.exception() is None:
            opening.result().close()  # it came just as its request was given up
        self._wake_next(None)

    async def _open(self, deadline: float) -> Connection:
        place = self.place
        give_up_at = self._loop.time() + self.connect_timeout_s
        try:
            async with asyncio.timeout_at(min(deadline, give_up_at)):
                _, connection = await self._loop.create_connection(
                    lambda: Connection(self), place.host, place.port, ssl=self._tls if place.is_tls else None
                )
                return connection
        except TimeoutError:
            if deadline < give_up_at:
                raise TimedOut("the request's time ended while it was connected to") from None
            raise NotReached("it could not be connected to in time") from None
        except (OSError, UnicodeError) as error:
            # Its certificate or its name not being right are among these.
            raise NotReached(str(error)) from None

    async def _wait_turn(self, deadline: float) -> Connection | None:
        """Wait for a connection to be freed, or for room for a new one (None). As many may wait as are served."""
        if len(self._waiting) >= self.max_connections:
            raise AllBusy("too many requests wait for a connection already")
        turn: asyncio.Future[Connection | None] = self._loop.create_future()
        self._waiting.append((turn, min(deadline, self._loop.time() + self.connect_timeout_s)))
        self._watch()
        try:
            return await turn
        except BaseException:
            if not turn.done():
                turn.cancel()
            elif not turn.cancelled() and turn.exception() is None:
                self._pass_on(turn.result())
            raise

    def _pass_on(self, connection: Connection | None) -> None:
        """What was given to a request that has gone goes to the next one."""
        if connection is not None and connection.is_open:
            self.freed(connection)
        else:
            self._wake_next(None)

    def _wake_next(self, connection: Connection | None) -> bool:
        while self._waiting:
            turn, _ = self._waiting.popleft()
            if not turn.done():
                turn.set_result(connection)
                return True
        return False

    # The connections' owner

    def freed(self, connection: Connection) -> None:
        """See `Owner`."""
        if self._waiting and self._wake_next(connection):
            return
        self._busy.discard(connection)
        if self._is_retired or len(self._busy) + len(self._idle) >= self.max_connections:
            connection.close()
            return
        # Near enough, and spares a look at the clock.
        connection.idle_since = self._swept_at
        self._idle.append(connection)

    def lost(self, connection: Connection) -> None:
        """See `Owner`."""
        self._busy.discard(connection)
        with contextlib.suppress(ValueError):
            self._idle.remove(connection)
        if self._waiting:
            self._wake_next(None)

    def streamed(self, fault: UpstreamFault | None) -> None:
        """See `Owner`."""
        if fault is None:
            self.health.succeeded()
        else:
            self.cut_off += 1
            self.failed(str(fault))

    # Time

    def _watch(self) -> None:
        """One timer serves all deadlines, not one timer each."""
        if self._sweeper is None:
            self._swept_at = self._loop.time()
            self._sweeper = self._loop.call_later(SWEEP_S, self._sweep)

    def _sweep(self) -> None:
        """End what is late, and close what was idle for long.

        Late is what was so at the sweep before: when this process was busy or stopped for a while, answers that came
        meanwhile are read first.
        """
        late_by, self._swept_at = self._swept_at, self._loop.time()
        for connection in [each for each in self._busy if each.deadline <= late_by]:
            connection.time_out()
        while self._waiting and (self._waiting[0][1] <= late_by or self._waiting[0][0].done()):
            turn, _ = self._waiting.popleft()
            if not turn.done():
                turn.set_exception(AllBusy("no connection was free in time"))
                turn.exception()
        idle_before = self._swept_at - IDLE_S
        while self._idle and self._idle[0].idle_since <= idle_before:
            self._idle[0].close()
        is_needed = self._busy or self._idle or self._waiting
        self._sweeper = self._loop.call_later(SWEEP_S, self._sweep) if is_needed else None

    def retire(self) -> None:
        """No more requests will come; those under way go on."""
        self._is_retired = True
        for connection in [*self._idle]:
            connection.close()

    def close(self) -> None:
        """End everything now."""
        self._is_closed = True
        self.retire()
        for connection in [*self._busy]:
            connection.fail(NotReached("the gateway stops"))
        while self._waiting:
            turn, _ = self._waiting.popleft()
            if not turn.done():
                turn.set_exception(NotReached("the gateway stops"))
                turn.exception()
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
