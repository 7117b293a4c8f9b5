"""Notices of changes by sharded publish and subscribe: one connection for all that a process listens to.

A notice may be lost while the connection is: so each listener is called again whenever its subscription is made, and reads
the state then. A script publishes with `SPUBLISH`, to a channel in the hash slot of its keys, such as one named like a key.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any, Final

import hiredis

from primitives.backoff import Backoff
from store import handshake
from store.errors import ReplyError, StoreError
from store.resp import INCOMPLETE, encode_command, new_reader

CONNECT_TIMEOUT_S: Final = 1.0
FIRST_RECONNECT_S: Final = 0.02
MAX_RECONNECT_S: Final = 1.0
# A connection that is silent for twice this time, though it was pinged, is given up.
PING_S: Final = 5.0

Listener = Callable[[], None]

_log = logging.getLogger(__name__)
# Kinds of pushed messages that a listener must hear of.
_NOTICES: Final = frozenset({b"smessage", b"ssubscribe"})


class Subscriber(asyncio.Protocol):
    """Calls the listeners of a channel when a notice is published there, and when the subscription begins anew.

    `run` must run in the background: it connects, and connects again. Listeners may be added before. They are called in
    the loop, must not block or raise, and must bear to be called without a cause.
    """

    def __init__(self, url: str, *, ping_s: float = PING_S, on_moved: Callable[[], None] | None = None) -> None:
        """`on_moved` is called where a server of a cluster says that it does not serve a channel."""
        self._url = url
        self._ping_s = ping_s
        self._on_moved = on_moved
        self._listeners: dict[bytes, list[Listener]] = {}
        # The stream owns the transport; it is only kept alive here.
        self._stream: asyncio.StreamWriter | None = None
        self._reader = new_reader()
        self._unsent: list[bytes] = []
        self._has_heard = False
        self._lost = asyncio.Event()

    @property
    def is_connected(self) -> bool:
        """Whether notices arrive now."""
        return self._stream is not None

    @property
    def channels(self) -> int:
        """The number of channels that have a listener."""
        return len(self._listeners)

    def listen(self, channel: str, listener: Listener) -> None:
        """Call `listener` at each notice of the channel, and once as soon as none can be missed any more."""
        name = channel.encode()
        listeners = self._listeners.setdefault(name, [])
        listeners.append(listener)
        # Also for a second listener: the confirmation tells it that it misses nothing.
        self._send("SSUBSCRIBE", name)

    def forget(self, channel: str, listener: Listener) -> None:
        """Call `listener` no more."""
        name = channel.encode()
        listeners = self._listeners[name]
        listeners.remove(listener)
        if not listeners:
            del self._listeners[name]
            self._send("SUNSUBSCRIBE", name)

    def confirm(self, channel: str) -> None:
        """Subscribe again, which calls the listeners."""
        self._send("SSUBSCRIBE", channel)

    async def run(self) -> None:
        """Stay connected until cancelled."""
        backoff = Backoff(FIRST_RECONNECT_S, MAX_RECONNECT_S)
        try:
            while True:
                try:
                    await self._connect()
                except StoreError:
                    await asyncio.sleep(backoff.next_delay_s())
                    continue
                backoff.reset()
                await self._ping_until_lost()
        finally:
            self._drop()

    def reconnect(self) -> None:
        """Leave the server: it answers still, but the store is another one now."""
        self._drop()

    async def _connect(self) -> None:
        stream = await handshake.open_stream(self._url, CONNECT_TIMEOUT_S)
        self._reader = new_reader()
        self._lost.clear()
        self._unsent.clear()
        self._stream = stream
        stream.transport.set_protocol(self)
        for channel in self._listeners:
            self._send("SSUBSCRIBE", channel)

    async def _ping_until_lost(self) -> None:
        while not self._lost.is_set():
            self._has_heard = False
            self._send("PING")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._ping_s):
                    await self._lost.wait()
            if not self._has_heard:
                self._drop()

    def _send(self, *command: bytes | str) -> None:
        """Send with the other commands of this tick of the loop; without a connection nothing is sent."""
        if self._stream is None:
            return
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._flush)
        self._unsent.append(encode_command(command))

    def _flush(self) -> None:
        if self._stream is not None:
            self._stream.transport.write(b"".join(self._unsent))
        self._unsent.clear()

    def data_received(self, data: bytes) -> None:
        """Call the listeners of the notices."""
        self._has_heard = True
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not INCOMPLETE:
                self._handle(reply)
        except hiredis.ProtocolError:
            self._drop()

    def _handle(self, reply: Any) -> None:
        is_ended = isinstance(reply, hiredis.PushNotification) and reply[0] == b"sunsubscribe"
        if self._on_moved is not None and (
            (is_ended and reply[1] in self._listeners)
            or (isinstance(reply, ReplyError) and reply.code in {"MOVED", "CLUSTERDOWN", "TRYAGAIN"})
        ):
            self._on_moved()
        elif isinstance(reply, ReplyError):
            # Without the permission, listeners read by and by; other subscriptions may be allowed.
            _log.warning("the store refuses a subscription: %s", reply)
        elif isinstance(reply, hiredis.PushNotification) and reply[0] in _NOTICES:
            for listener in tuple(self._listeners.get(reply[1], ())):
                listener()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - whatever the reason
        """Connect again."""
        self._drop()

    def _drop(self) -> None:
        stream, self._stream = self._stream, None
        self._unsent.clear()
        self._lost.set()
        if stream is not None:
            # Its late connection_lost must not hit the connection that follows.
            stream.transport.set_protocol(asyncio.Protocol())
            stream.transport.abort()
