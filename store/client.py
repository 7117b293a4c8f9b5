"""The multiplexed client: every caller of a process shares one connection, one write per loop tick.

A command costs a packed bytes object, a future and a place in a queue. The commands of a loop tick leave in one
`write`; replies come back in the order of the commands, so the queue alone matches them. A caller that gives up
(cancelled, or past its deadline) keeps its place in the queue, and its reply is dropped when it comes.

redis-py does the rest: it reads the URL, opens the socket, speaks TLS and says HELLO, AUTH and SELECT. Then
this client takes the socket over.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, Protocol

import hiredis

from primitives.backoff import Backoff
from primitives.tracing.spans import CLIENT, Span, Value, child_of_open, current_span
from store import handshake
from store.errors import (
    REASON_BY_CODE,
    Reason,
    ReplyError,
    StoreError,
    StoreOverloaded,
    StoreTimeout,
    StoreUnavailable,
)
from store.resp import INCOMPLETE, Arg, encode_command, new_reader
from store.script import Script

Reply = Any

DEADLINE_S: Final = 0.25
CONNECT_TIMEOUT_S: Final = 1.0
MAX_WAITING: Final = 20_000
# A connection whose oldest command is this much past its deadline is given up: the server hangs or the peer is gone.
STALLED_S: Final = 1.0
SWEEP_S: Final = 0.05
FIRST_RECONNECT_S: Final = 0.02
MAX_RECONNECT_S: Final = 1.0

# The key that `probe` writes, and for how long: it proves that the store takes writes.
PROBE_KEY: Final = "peakgate:probe"
PROBE_TTL_MS: Final = 60_000

# A server that becomes a replica is left at once. One that only starts, has lost its replicas or is split from its
# cluster is left when this lasts: it may never serve again, and another may serve under the address by then.
LASTING: Final = frozenset({Reason.LOADING, Reason.TOO_FEW_REPLICAS, Reason.CLUSTER_DOWN})
LASTING_S: Final = 3.0
# How long the start waits for a server that is slow to answer, and for a primary behind an address that leads to a replica.
OPEN_S: Final = 5.0


class Store(Protocol):
    """The commands of adapters. Commands are routed by their first key, so the same calls serve a cluster."""

    def execute(self, *command: Arg) -> Awaitable[Reply]:
        """Send one command whose first argument after its name is its key; resolves to the RESP3 reply.

        The command is queued at once, whether or not the result is awaited yet: starting several and awaiting them
        afterwards is pipelining. Raises `StoreError` when awaited.
        """
        ...

    def execute_blocking(self, *command: Arg, timeout_s: float) -> Awaitable[Reply]:
        """Send a command that the server itself may hold back for `timeout_s` seconds. Needs a connection of its own."""
        ...

    def run(self, script: Script, keys: Sequence[Arg], args: Sequence[Arg] = ()) -> Awaitable[Reply]:
        """Run `script` by its SHA; it is loaded where the server does not know it yet."""
        ...


class Leader(Protocol):
    """A client that others follow to another server."""

    def on_moved(self, callback: Callable[[], None]) -> None:
        """Call this when the client has come to another server."""
        ...


# The script, for a server that does not know its SHA; the command; whether a cluster may send it elsewhere.
Called = tuple[Script | None, tuple[Arg, ...], bool]
# A reply awaited, the loop time by which it must come, and the call, if it may be sent again.
# A plain tuple: a named one takes five times as long to make, and every command makes one.
PendingCall = tuple[asyncio.Future[Reply], float, Called | None]


class Client(asyncio.Protocol):
    """A `Store` on one server over one connection, which is opened again whenever it is lost.

    `answered` and `failed` count the calls that the server answered, and those that were lost, came too late or found it
    unable to serve. `refused` counts those of the answered that a server without room refused: it goes on serving reads.
    A call whose caller has left, and one that was never sent because too many wait, is in neither.
    """

    def __init__(
        self,
        url: str,
        *,
        deadline_s: float = DEADLINE_S,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self._url = url
        self._deadline_s = deadline_s
        self._connect_timeout_s = connect_timeout_s
        self._max_waiting = max_waiting
        self._loop = asyncio.get_running_loop()
        self._now = self._loop.time
        self._new_future = self._loop.create_future
        # The stream owns the transport; it is only kept alive here.
        self._stream: asyncio.StreamWriter | None = None
        self._transport: asyncio.WriteTransport | None = None
        self._reader = new_reader()
        self._calls: deque[PendingCall] = deque()
        # The packed commands of the last len(_unsent) calls of the queue.
        self._unsent: list[bytes] = []
        self._flush_is_due = False
        self._sweeper: asyncio.TimerHandle | None = None
        self._swept_at = 0.0
        self._reconnecting: asyncio.Task[None] | None = None
        # Why the connection is being given up: nothing more is sent on it.
        self._leaving: str | None = None
        self._leaving_since = 0.0
        self._unfit_since: float | None = None
        # Whether this client left its server by its own decision, and the callbacks for the time when it has found another.
        self._has_left = False
        self._moved: list[Callable[[], None]] = []
        self._closed = False
        # Rises when a connection is lost.
        self.connection_number = 1
        # Unsent calls that must not be sent on the next connection.
        self._bound: list[asyncio.Future[Reply]] = []
        self._admits: Callable[[], bool] | None = None
        # Closed, or asking `_admits`: one look for the hot path.
        self._may_refuse = False
        self.answered = 0
        self.failed = 0
        self.refused = 0
        # What a server lacks that says it is out of memory: some set its limit to nothing when their disk is full.
        self.reason_of_oom = Reason.FULL_MEMORY
        self.probe_key = PROBE_KEY

    # Calls

    def execute(self, *command: Arg) -> asyncio.Future[Reply]:
        """See `Store.execute`."""
        return self.submit(command, self._deadline_s, None)

    def execute_blocking(self, *command: Arg, timeout_s: float) -> asyncio.Future[Reply]:
        """See `Store.execute_blocking`."""
        return self.submit(command, timeout_s + self._deadline_s, None)

    def run(self, script: Script, keys: Sequence[Arg], args: Sequence[Arg] = ()) -> asyncio.Future[Reply]:
        """See `Store.run`."""
        command = ("EVALSHA", script.sha, len(keys), *keys, *args)
        return self.submit(command, self._deadline_s, (script, command, False))

    def submit(self, command: tuple[Arg, ...], deadline_s: float, called: Called | None) -> asyncio.Future[Reply]:
        """Queue a command with its deadline, and the parts of the call for sending it again."""
        reply = self._new_future()
        if current_span() is not None:
            _trace(reply, command, called)
        if len(self._calls) < self._max_waiting and not self._may_refuse:
            self._queue((reply, self._now() + deadline_s, called), command)
        elif (refusal := self._refusal()) is not None:
            _fail(reply, refusal)
        else:
            self._queue((reply, self._now() + deadline_s, called), command)
        return reply

    def _refusal(self) -> StoreError | None:
        if self._closed:
            return StoreUnavailable("the store client is closed", reason=Reason.CLOSED)
        if len(self._calls) >= self._max_waiting:
            return StoreOverloaded(f"{len(self._calls)} commands are waiting for the store already")
        if self._admits is not None and not self._admits():
            return StoreUnavailable("the store is cut off for now, because it fails", reason=Reason.CUT_OFF)
        return None

    def _queue(self, call: PendingCall, command: tuple[Arg, ...]) -> None:
        self._unsent.append(encode_command(command))
        self._calls.append(call)
        if not self._flush_is_due:
            self._flush_is_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Write the commands of the tick; without a connection it stays queued until there is one, or its deadline."""
        self._flush_is_due = False
        if self._transport is not None and self._unsent and self._leaving is None:
            self._transport.write(b"".join(self._unsent))
            self._unsent.clear()
            if self._bound:
                self._bound.clear()
        if self._sweeper is None:
            self._swept_at = self._now()
            self._sweeper = self._loop.call_later(SWEEP_S, self._sweep)

    # Replies

    def data_received(self, data: bytes) -> None:
        """Hand each reply to the oldest call."""
        self._reader.feed(data)
        gets, next_call = self._reader.gets, self._calls.popleft
        # Counted once for all that came together, not once each.
        waiting, too_late = len(self._calls), 0
        try:
            while (reply := gets()) is not INCOMPLETE:
                kind = type(reply)
                if kind is hiredis.PushNotification:
                    continue
                call = next_call()
                if call[0].done():
                    too_late += 1
                    if kind is ReplyError:
                        self._judge(REASON_BY_CODE.get(reply.code))
                    continue
                if kind is not ReplyError:
                    call[0].set_result(reply)
                else:
                    self._resolve_error(call, reply)
            self.answered += waiting - len(self._calls) - too_late
        except (hiredis.ProtocolError, TypeError, IndexError) as error:
            # No RESP, a map whose key cannot be one, or more replies than commands.
            self._lose(f"the store sent what is no reply: {error}")
        if self._leaving is not None and len(self._calls) == len(self._unsent):
            self._lose(self._leaving)

    def _resolve_error(self, call: PendingCall, error: ReplyError) -> None:
        reply, deadline, called = call
        script = None if called is None else called[0]
        if called is not None and script is not None and error.code == "NOSCRIPT":
            command = ("EVAL", script.text, *called[1][2:])
            self._queue((reply, deadline, (None, command, called[2])), command)
        elif (reason := REASON_BY_CODE.get(error.code)) is not None:
            if reason is Reason.FULL_MEMORY:
                reason = self.reason_of_oom
            if reason.is_full:
                self.refused += 1
            else:
                self.failed += 1
                self.answered -= 1  # which `data_received` is about to count it as
            _fail(reply, StoreUnavailable(f"the store cannot serve now: {error}", reason=reason))
            self._judge(reason)
        else:
            _fail(reply, error)

    def _judge(self, reason: Reason | None) -> None:
        """Give the connection up if its server will not serve again, so that the address is resolved anew.

        The calls that are sent already get their replies first, so that they know whether they have run.
        """
        if self._leaving is not None:
            return
        if reason is Reason.READONLY:
            self._leave("the store has become a replica")
        elif reason in LASTING:
            if self._unfit_since is None:
                self._unfit_since = self._now()
            elif self._now() - self._unfit_since >= LASTING_S:
                self._leave(f"the store stays unable to serve: {reason}")

    def _leave(self, why: str) -> None:
        """Send nothing more on this connection, and lose it when the sent calls have their replies, or two sweeps later."""
        self._leaving, self._leaving_since = why, self._now()
        self._has_left = True

    def _sweep(self) -> None:
        """Fail the calls whose deadline has passed. One timer serves all of them, not one timer each.

        A call is late if it was late at the sweep before: when this process was busy or stopped for a while, the
        replies that came meanwhile are read first.
        """
        self._sweeper = None
        if not self._calls:
            return
        expired_by, self._swept_at = self._swept_at, self._now()
        if self._transport is None:
            self._drop_unsendable(expired_by)
        for reply, deadline, _ in self._calls:
            # All of them: behind a call that the server may hold back are others whose deadline comes first.
            if deadline <= expired_by and not reply.done():
                self.failed += 1
                _fail(reply, StoreTimeout("no reply from the store in time", may_have_run=True))
        if self._calls:
            self._sweeper = self._loop.call_later(SWEEP_S, self._sweep)
            if self._leaving is not None and expired_by >= self._leaving_since:
                self._lose(self._leaving)
            elif self._transport is not None and expired_by > self._calls[0][1] + STALLED_S:
                self._has_left = True
                self._lose("the store has stopped answering")

    def _drop_unsendable(self, expired_by: float) -> None:
        """Without a connection nothing is sent; expired and abandoned calls must not be sent later either."""
        waiting = list(zip(self._calls, self._unsent, strict=True))
        self._calls.clear()
        self._unsent.clear()
        for call, packed in waiting:
            reply, deadline, _ = call
            if deadline <= expired_by and not reply.done():
                self.failed += 1
                _fail(reply, StoreTimeout("the store could not be reached in time"))
            if not reply.done():
                self._calls.append(call)
                self._unsent.append(packed)

    def bind(self, reply: asyncio.Future[Reply]) -> None:
        """Fail this call, which was made just now, if it is not sent before the connection is lost."""
        self._bound.append(reply)

    # For a breaker

    def admit_only(self, admits: Callable[[], bool] | None) -> None:
        """From now on send only calls that `admits()` is true for; the others fail at once. None: send all again."""
        self._admits = admits
        self._may_refuse = self._closed or admits is not None

    def ping(self) -> asyncio.Future[Reply]:
        """Ask the server for a sign of life, also while no call is admitted. Raises `StoreError` when awaited."""
        return self._ask("PING")

    def probe(self) -> asyncio.Future[Reply]:
        """Write a key of the probe's own, also while no call is admitted: a full or read-only server answers PING.

        Raises `StoreError` when awaited; the `reason` of a `StoreUnavailable` says why writes fail.
        """
        return self._ask("SET", self.probe_key, 1, "PX", PROBE_TTL_MS)

    def _ask(self, *command: Arg) -> asyncio.Future[Reply]:
        reply = self._new_future()
        if self._closed:
            _fail(reply, StoreUnavailable("the store client is closed", reason=Reason.CLOSED))
        else:
            self._queue((reply, self._now() + self._deadline_s, None), command)
        return reply

    @property
    def oldest_queued_at(self) -> float | None:
        """The loop's time at which the oldest call was made that has no reply yet; None if all have theirs."""
        return self._calls[0][1] - self._deadline_s if self._calls else None

    # The connection

    def accompany(self, leader: Leader) -> None:
        """Leave the server when `leader` has left it and found another one.

        Commands that the server may hold back have long deadlines: alone, this client would wait for a dead server.
        """
        leader.on_moved(self._follow_leader)

    def on_moved(self, callback: Callable[[], None]) -> None:
        """Call this whenever the client has left its server by its own decision and has a connection again."""
        self._moved.append(callback)

    def _follow_leader(self) -> None:
        if self._transport is None or self._leaving is not None:
            return
        why = "the store's address leads to another server"
        if len(self._calls) == len(self._unsent):
            self._lose(why)
        else:
            self._leave(why)

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection now."""
        return self._transport is not None

    async def connect(self, *, timeout_s: float | None = None) -> None:
        """Open a connection, within the time of every connection or another; raises `StoreUnavailable` with the reason if that fails."""
        stream = await handshake.open_stream(self._url, timeout_s or self._connect_timeout_s)
        self._reader = new_reader()
        self._leaving = self._unfit_since = None
        self._drop_unsendable(self._now())
        self._stream = stream
        self._transport = stream.transport
        self._transport.set_protocol(self)
        self._flush()
        if self._has_left:
            self._has_left = False
            for callback in self._moved:
                callback()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the calls in flight, keep the unsent ones, and connect again."""
        self._lose(f"the connection to the store was lost{f': {exc}' if exc else ''}")

    def _lose(self, why: str) -> None:
        transport, self._transport = self._transport, None
        if transport is None:
            return
        transport.abort()
        # Its late connection_lost must not hit the connection that follows.
        transport.set_protocol(asyncio.Protocol())
        for _ in range(len(self._calls) - len(self._unsent)):
            reply = self._calls.popleft()[0]
            self.failed += not reply.done()
            _fail(reply, StoreUnavailable(why, may_have_run=True))
        self.connection_number += 1
        for reply in self._bound:
            self.failed += not reply.done()
            _fail(reply, StoreUnavailable(why))
        self._bound.clear()
        if not self._closed:
            self._reconnecting = self._loop.create_task(self._reconnect())

    async def _reconnect(self) -> None:
        backoff = Backoff(FIRST_RECONNECT_S, MAX_RECONNECT_S)
        while not self._closed:
            try:
                await self.connect()
                return
            except Exception:  # noqa: BLE001 - redis-py raises many kinds: a client that gave up would be lost for good
                await asyncio.sleep(backoff.next_delay_s())

    async def close(self, why: str = "the store client was closed") -> None:
        """Close the connection; calls that still wait fail with `StoreUnavailable`, which says why."""
        self._closed = self._may_refuse = True
        if self._reconnecting is not None:
            self._reconnecting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reconnecting
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._lose(why)
        while self._calls:
            _fail(self._calls.popleft()[0], StoreUnavailable(why, reason=Reason.CLOSED))
        self._unsent.clear()


async def open_client(url: str, *, deadline_s: float = DEADLINE_S, max_waiting: int = MAX_WAITING) -> Client:
    """Connect to the one Redis or Valkey server at `url` (`redis://`, `rediss://` or `unix://`).

    The first connection has more time than later ones: nobody waits behind it, and a machine that starts much at once is slow.
    Raises `ValueError` for an address that cannot be read and `StoreUnavailable` when nothing answers there, or only
    replicas, for `OPEN_S`.
    """
    client = Client(url, deadline_s=deadline_s, max_waiting=max_waiting)
    backoff = Backoff(FIRST_RECONNECT_S, MAX_RECONNECT_S)
    now = asyncio.get_running_loop().time
    give_up_at = now() + OPEN_S
    while True:
        try:
            await client.connect(timeout_s=OPEN_S)
        except StoreUnavailable as error:
            if error.reason is not Reason.READONLY or now() >= give_up_at:
                raise
            await asyncio.sleep(backoff.next_delay_s())
        else:
            return client


def _trace(reply: asyncio.Future[Reply], command: tuple[Arg, ...], called: Called | None) -> None:
    """Make a call a span of the trace that it belongs to: its command and its script, never a key or a value."""
    name = str(command[0])
    attributes: dict[str, Value] = {"db.system.name": "redis", "db.operation.name": name}
    script = None if called is None else called[0]
    if script is not None:
        attributes["db.stored_procedure.name"] = script.name
        name = f"{name} {script.name}"
    call = child_of_open(name, CLIENT, attributes)
    if call is not None:
        reply.add_done_callback(partial(_end_call, call))


def _end_call(call: Span, reply: asyncio.Future[Reply]) -> None:
    if reply.cancelled():
        call.fail("cancelled")
    elif (error := reply.exception()) is not None:
        call.fail(type(error).__name__)
    call.end()


def _fail(reply: asyncio.Future[Reply], error: StoreError) -> None:
    if not reply.done():
        reply.set_exception(error)
        # Looked at once, so that asyncio does not complain where a caller left at the first failure of several.
        reply.exception()
