"""One keep-alive connection to a target: sends a request, receives its response, then the next.

A small response that arrives whole resolves the future that the handler awaits; there is no task, stream reader or timer.

The class is the protocol object itself and inherits nothing: event loops call its methods directly.
"""

from __future__ import annotations

import asyncio
import math
import re
import socket
from typing import Final, Protocol, cast

from gateway.http.head_limits import DEFAULT_HEAD_LIMITS, HeadLimits
from gateway.http.message import InterimReceiver, Response, StreamedResponse, UnsizedResponse
from gateway.proxy.body_stream import BodyStream
from gateway.proxy.errors import (
    BadResponse,
    ConnectionClosed,
    ResponseTimeout,
    StreamsFull,
    Truncated,
    UpstreamFault,
)
from gateway.proxy.response_head import ResponseHead
from gateway.proxy.response_reader import ResponseReader

# How long a short body of unknown length is awaited before it is streamed: the segments of one response follow each other
# within a millisecond, and a page that is written while it is computed is not held up noticeably.
HOLD_S: Final = 0.025
# One read returns at most one and a half times this, and a slow client makes the gateway hold two reads.
RECEIVE_BUFFER_BYTES: Final = 24 * 1024
_NEVER: Final = math.inf
_UNBUFFERED: Final = re.compile(rb"^x-accel-buffering:[ \t]*no[ \t]*\r$", re.IGNORECASE | re.MULTILINE)


class ConnectionOwner(Protocol):
    """Owns connections. After each request exactly one of `released` and `lost` is called."""

    # The longest body of a response that is received whole.
    buffer_bytes: int

    def released(self, connection: Connection) -> None:
        """The connection can be used for another request."""
        ...

    def lost(self, connection: Connection) -> None:
        """The connection is closed."""
        ...

    def try_stream(self, client: str) -> bool:
        """Whether another connection may be held by a stream of this client; then `stream_left` is called in the end."""
        ...

    def stream_left(self, client: str) -> None:
        """A connection is no longer held by a stream of this client."""
        ...

    def stream_ended(self, fault: UpstreamFault | None) -> None:
        """A streamed response has ended, or was truncated."""
        ...


class Connection:
    """A connection to one target. One request at a time."""

    __slots__ = (
        "_allows_reuse",
        "_body",
        "_client",
        "_collected",
        "_collected_bytes",
        "_drained",
        "_hold",
        "_idle_timeout_s",
        "_is_sending",
        "_loop",
        "_new_future",
        "_owner",
        "_reader",
        "_response",
        "_transport",
        "deadline",
        "idle_since",
        "is_open",
        "is_stream_counted",
        "was_reused",
    )

    def __init__(self, owner: ConnectionOwner, limits: HeadLimits = DEFAULT_HEAD_LIMITS) -> None:
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._new_future = self._loop.create_future
        self._transport: asyncio.Transport
        self._reader = ResponseReader(limits)
        self.is_open = False
        # It has served a request before the current one.
        self.was_reused = False
        self.idle_since = 0.0
        # The loop's time by which the next bytes must arrive; the owner checks it.
        self.deadline = _NEVER
        self._idle_timeout_s = _NEVER
        # Resolved with the response, or with its head if its body is streamed.
        self._response: asyncio.Future[Response] | None = None
        # The body so far: buffered, or streamed.
        self._collected: list[bytes] = []
        self._collected_bytes = 0
        self._body: BodyStream | None = None
        # Runs while a body of unknown length may still turn out to be short.
        self._hold: asyncio.TimerHandle | None = None
        # Whether the owner counts this connection as held by a stream of the client.
        self._client = ""
        self.is_stream_counted = False
        self._allows_reuse = True
        # The request's body is still being sent; it waits for `_drained` while the upstream does not read.
        self._is_sending = False
        self._drained: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self._transport = cast("asyncio.Transport", transport)
        if (own := transport.get_extra_info("socket")) is not None:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        self.is_open = True

    # Requests

    def request(
        self,
        data: bytes,
        *,
        is_bodiless: bool,
        deadline: float,
        idle_timeout_s: float,
        client: str = "",
        is_whole: bool = True,
        allows_reuse: bool = True,
        interims: InterimReceiver | None = None,
    ) -> asyncio.Future[Response]:
        """Send a request; the result is a `StreamedResponse` if its body is long, or pauses and has no length.

        `is_bodiless`: the response has no body (HEAD). `deadline` is the loop's time by which its head must arrive; then
        a buffered body must arrive whole, and a streamed one continue, within `idle_timeout_s`. Unless `is_whole`, the
        body of the request follows by `send`. Unless `allows_reuse`, the connection is closed afterwards. Raises an
        `UpstreamFault` when awaited.
        """
        self._reader.start(is_bodiless=is_bodiless, interims=interims)
        self._client = client
        self._allows_reuse = allows_reuse
        self.deadline = deadline
        self._idle_timeout_s = idle_timeout_s
        self._is_sending = not is_whole
        response = self._response = self._new_future()
        self._transport.write(data)
        return response

    async def send(self, piece: bytes) -> None:
        """Send a piece of the request's body; waits while the upstream does not read. Raises `Truncated`."""
        if not self.is_open:
            raise Truncated("the connection was closed while the request was sent")
        self._transport.write(piece)
        while self._drained is not None and self.is_open:
            self.deadline = self._loop.time() + self._idle_timeout_s
            await self._drained
            self.deadline = _NEVER

    def sent(self, *, deadline: float) -> None:
        """The whole body of the request was sent; the head of the response must arrive before `deadline`."""
        self._is_sending = False
        if self._response is not None and self._reader.head is None:
            self.deadline = deadline

    def pause_writing(self) -> None:
        """The upstream does not read."""
        self._drained = self._new_future()

    def resume_writing(self) -> None:
        """The upstream reads again."""
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    # Responses

    def data_received(self, data: bytes) -> None:
        """Bytes of the response, or bytes that belong to no request."""
        reader = self._reader
        if self._response is None and self._body is None:
            self.abort()  # no request is in progress
            return
        was_head_received = reader.head is not None
        try:
            pieces = reader.receive(data)
        except BadResponse as fault:
            self.fail(fault)
            return
        head = reader.head
        if head is None:
            return
        if was_head_received:
            self._receive_body(head, pieces)
        elif reader.is_complete and _size_of(pieces) <= self._owner.buffer_bytes:
            self._finish(head, pieces)
        else:
            self._begin_body(head, pieces)

    def _begin_body(self, head: ResponseHead, pieces: list[bytes]) -> None:
        """The head of a response has arrived, and its body has not, or is long."""
        length = self._reader.body_length
        self.deadline = self._loop.time() + self._idle_timeout_s
        if length > self._owner.buffer_bytes or (length < 0 and is_written_live(head)):
            self._start_stream(head)
        elif length < 0:
            self._hold = self._loop.call_later(HOLD_S, self._hold_ended)
        if self.is_open:
            self._receive_body(head, pieces)

    def _hold_ended(self) -> None:
        """The body pauses: what has arrived of it is streamed."""
        self._hold = None
        head = self._reader.head
        if head is not None:
            self._start_stream(head)

    def _receive_body(self, head: ResponseHead, pieces: list[bytes]) -> None:
        body = self._body
        if body is None:
            self._collected += pieces
            self._collected_bytes += _size_of(pieces)
            if self._collected_bytes <= self._owner.buffer_bytes:
                if self._reader.is_complete:
                    self._finish(head, self._collected)
                return
            self._start_stream(head)
            body, pieces = self._body, []
            if body is None:
                return
        for piece in pieces:
            body.feed(piece)
        if self._reader.is_complete:
            if body.is_paused:
                self._transport.resume_reading()  # for the next response
            self._release()
            body.end()
            self._owner.stream_ended(None)
        elif not body.is_paused:
            self.deadline = self._loop.time() + self._idle_timeout_s

    def _start_stream(self, head: ResponseHead) -> None:
        response = self._response
        assert response is not None
        if response.done():
            self.abort()  # the handler was cancelled
            return
        if not self.is_stream_counted and not self._owner.try_stream(self._client):
            self.fail(StreamsFull("streams hold as many connections as they may"))
            return
        self.is_stream_counted = True
        self._response = None
        self._stop_holding()
        length = self._reader.body_length
        body = self._body = BodyStream(self)
        for piece in self._collected:
            body.feed(piece)
        self._collected = []
        response.set_result(_streamed(head, body, length if length >= 0 else None))

    def _stop_holding(self) -> None:
        hold, self._hold = self._hold, None
        if hold is not None:
            hold.cancel()

    def _finish(self, head: ResponseHead, pieces: list[bytes]) -> None:
        """The whole response has arrived."""
        future, length = self._response, head.length
        response: Response
        if length and self._reader.body_length == 0 and head.status not in {204, 304}:
            # To HEAD: the length that GET would have got, or None if it is unknown (RFC 9110, 8.6).
            nothing = BodyStream(self)
            nothing.end()
            response = _streamed(head, nothing, length if length > 0 else None)
        else:
            body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            kind = Response if length >= 0 else UnsizedResponse
            response = kind(head.status, body, header_block=head.header_block, content_type=head.content_type)
        self._release()
        assert future is not None
        if not future.done():
            future.set_result(response)

    def _release(self) -> None:
        """Get ready for the next request, or close."""
        self._response = None
        self._body = None
        self.deadline = _NEVER
        if self._reader.keeps_alive and self._allows_reuse and self.is_open and self._is_request_sent():
            self._forget_body()
            self.was_reused = True
            self._owner.released(self)
        else:
            self.close()

    def _is_request_sent(self) -> bool:
        """Whether the upstream has, or can read at once, the whole request: else it may have stopped reading it."""
        return not self._is_sending and self._transport.get_write_buffer_size() == 0

    def _forget_body(self) -> None:
        if self._collected_bytes:
            self._collected = []
            self._collected_bytes = 0
        if self._hold is not None:
            self._stop_holding()
        if self.is_stream_counted:
            self.is_stream_counted = False
            self._owner.stream_left(self._client)

    # The source of the body stream

    def pause(self) -> None:
        """See `Source`: the client reads slowly, so the upstream's time does not run."""
        self.deadline = _NEVER
        self._transport.pause_reading()

    def resume(self) -> None:
        """See `Source`."""
        if self.is_open and self._body is not None:
            self.deadline = self._loop.time() + self._idle_timeout_s
            self._transport.resume_reading()

    # The end

    def eof_received(self) -> bool:
        """The upstream sends nothing more, which ends the connection."""
        return False

    def time_out(self) -> None:
        """The deadline has passed."""
        self.fail(ResponseTimeout("nothing was received in time"))

    def fail(self, fault: UpstreamFault) -> None:
        """Close the connection, and raise the fault in the handler or the reader of the stream."""
        response, body = self._response, self._body
        self._closed()
        self._transport.abort()
        if response is not None and not response.done():
            response.set_exception(fault)
            # Retrieved here, so that asyncio does not log it if no handler waits any more.
            response.exception()
        if body is not None:
            body.end(fault)
            self._owner.stream_ended(fault)

    def abort(self) -> None:
        """Close the connection: the rest of the response is not wanted."""
        if self._response is not None:
            self._response.cancel()
        self._closed()
        self._transport.abort()

    def close(self) -> None:
        """Close the connection once everything written is sent."""
        self._closed()
        self._transport.close()

    def _closed(self) -> None:
        self._response = None
        self._body = None
        self._forget_body()
        self.deadline = _NEVER
        self.resume_writing()
        if self.is_open:
            self.is_open = False
            self._owner.lost(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The upstream has closed the connection."""
        if not self.is_open:
            return
        reader, body = self._reader, self._body
        if reader.head is not None and reader.ends_with_connection and exc is None:
            if body is None:
                self._finish(reader.head, self._collected)
                return
            self._closed()
            body.end()
            self._owner.stream_ended(None)
        elif self._response is not None and reader.is_untouched:
            self.fail(ConnectionClosed("it closed the connection before a response", was_reused=self.was_reused))
        else:
            self.fail(Truncated("it closed the connection in the middle of a response"))


def is_written_live(head: ResponseHead) -> bool:
    """Whether the upstream writes a body for a reader who follows it: events, or a response marked for nginx."""
    if head.content_type.lower().startswith(b"text/event-stream"):
        return True
    return _UNBUFFERED.search(head.header_block) is not None


def _size_of(pieces: list[bytes]) -> int:
    return len(pieces[0]) if len(pieces) == 1 else sum([len(piece) for piece in pieces])


def _streamed(head: ResponseHead, body: BodyStream, length: int | None) -> StreamedResponse:
    return StreamedResponse(
        head.status, body, header_block=head.header_block, content_type=head.content_type, length=length
    )
