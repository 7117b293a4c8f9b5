"""One kept-alive connection to an upstream: a request goes out, its answer comes back, then the next.

A small answer that arrives whole resolves the future that its handler waits for, and that is all there is: no task, no
reader object, no timer of its own.
"""

from __future__ import annotations

import asyncio
import math
import socket
from typing import Final, Protocol, cast

from gateway.http.message import Response, StreamedResponse
from gateway.proxy.body_stream import BodyStream
from gateway.proxy.errors import BadAnswer, CutOff, HungUp, TimedOut, UpstreamFault
from gateway.proxy.response_body import Framing, framing
from gateway.proxy.response_head import UNTIL_CLOSE, AnswerHead, read_head

# A body up to this length is waited for and answered in one write; a longer one, or of unknown length, is streamed.
SHORT_MOST: Final = 64 * 1024
# A header section; interim answers before it count too.
HEAD_MOST: Final = 64 * 1024
# One read brings at most one and a half times this: a shopper who does not read makes us hold two of them, and no more.
RECEIVE_BUFFER_BYTES: Final = 24 * 1024
_INTERIM_MOST: Final = 16
_NEVER: Final = math.inf
_BODILESS: Final = frozenset({204, 304})


class Owner(Protocol):
    """Who keeps connections. After each request exactly one of `freed` and `lost` is called."""

    def freed(self, connection: Connection) -> None:
        """It can be asked again."""
        ...

    def lost(self, connection: Connection) -> None:
        """It is closed."""
        ...

    def streamed(self, fault: UpstreamFault | None) -> None:
        """A streamed answer has ended, or was cut off."""
        ...


class Connection(asyncio.Protocol):
    """A connection to one target. One request at a time."""

    __slots__ = (
        *("_answer", "_awaits_head", "_body", "_bodiless", "_collected", "_drained", "_framing", "_head", "_held"),
        *("_idle_timeout_s", "_interims", "_is_sending", "_loop", "_new_future", "_owner", "_transport"),
        *("deadline", "idle_since", "is_open", "was_kept"),
    )

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._new_future = self._loop.create_future
        self._transport: asyncio.Transport
        self.is_open = False
        # Has served a request before the one that it serves now.
        self.was_kept = False
        self.idle_since = 0.0
        # The loop's time by which something must come; the owner looks after it.
        self.deadline = _NEVER
        self._idle_timeout_s = _NEVER
        # What the request waits for: the head, or the whole of a short answer.
        self._answer: asyncio.Future[Response] | None = None
        self._awaits_head = False
        self._bodiless = False
        # A header section that has come in part.
        self._held = b""
        self._interims = 0
        # An answer whose body has not come whole: its head, and either its pieces or its stream.
        self._head: AnswerHead | None = None
        self._framing: Framing | None = None
        self._collected: list[bytes] = []
        self._body: BodyStream | None = None
        # The body of the request is still being sent; it waits for this where the upstream does not read.
        self._is_sending = False
        self._drained: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self._transport = cast("asyncio.Transport", transport)
        if (own := transport.get_extra_info("socket")) is not None:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        self.is_open = True

    # Asking

    def ask(
        self, request: bytes, *, bodiless: bool, deadline: float, idle_timeout_s: float, is_whole: bool = True
    ) -> asyncio.Future[Response]:
        """Send a request, and get its answer: a `StreamedResponse` where its body is long or has no known length.

        `bodiless`: the answer has no body whatever it says (HEAD). `deadline` is the loop's time by which its head must
        have come; from there on, a short body must come whole and a long one go on within `idle_timeout_s`. If not
        `is_whole`, the body of the request follows by `send`. Raises an `UpstreamFault` when awaited.
        """
        self._bodiless = bodiless
        self.deadline = deadline
        self._idle_timeout_s = idle_timeout_s
        self._is_sending = not is_whole
        self._awaits_head = True
        answer = self._answer = self._new_future()
        self._transport.write(request)
        return answer

    async def send(self, piece: bytes) -> None:
        """Send a piece of the request's body; waits while the upstream does not read. Raises `CutOff`."""
        if not self.is_open:
            raise CutOff("closed while it was sent to")
        self._transport.write(piece)
        while self._drained is not None and self.is_open:
            self.deadline = self._loop.time() + self._idle_timeout_s
            await self._drained
            self.deadline = _NEVER

    def sent(self, *, deadline: float) -> None:
        """The whole body of the request has been sent; now the head must come until `deadline`."""
        self._is_sending = False
        if self._awaits_head:
            self.deadline = deadline

    def pause_writing(self) -> None:
        """The upstream does not read what is sent."""
        self._drained = self._new_future()

    def resume_writing(self) -> None:
        """It reads again."""
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    # Answers

    def data_received(self, data: bytes) -> None:
        """Something of the answer has come."""
        try:
            if self._awaits_head:
                self._take_head(data)
            elif self._framing is not None:
                self._take_body(data)
            else:
                self.abort()  # what nobody has asked for
        except BadAnswer as fault:
            self.fail(fault)

    def _take_head(self, data: bytes) -> None:
        if self._held:
            data, self._held = self._held + data, b""
        start = 0
        while True:
            end = data.find(b"\r\n\r\n", start)
            if end < 0:
                if len(data) - start > HEAD_MOST:
                    raise BadAnswer("a header section that is too large")
                self._held = data[start:]
                return
            if end - start > HEAD_MOST:
                raise BadAnswer("a header section that is too large")
            head = read_head(data[start:end])
            start = end + 4
            if head.status >= 200:
                break
            self._pass_over(head)
        self._awaits_head = False
        length = 0 if self._bodiless or head.status in _BODILESS else head.length
        if len(data) - start == length:
            # The usual case: here is the whole answer, and nothing else.
            self._finish(head, data[start:], keeps=head.keeps)
        else:
            self._begin_body(head, length, data[start:])

    def _pass_over(self, head: AnswerHead) -> None:
        """An interim answer (RFC 9110, 15.2): there is nothing in it for us."""
        self._interims += 1
        if head.status == 101 or self._interims > _INTERIM_MOST:
            raise BadAnswer("another protocol that was not asked for, or interim answers without end")

    def _begin_body(self, head: AnswerHead, length: int, data: bytes) -> None:
        self._head = head
        self._framing = framing(length)
        self.deadline = self._loop.time() + self._idle_timeout_s
        if length < 0 or length > SHORT_MOST:
            pieces = self._framing.feed(data)
            if self._framing.is_done and sum(map(len, pieces)) <= SHORT_MOST:
                self._finish(head, b"".join(pieces), keeps=head.keeps and not self._framing.has_more)
                return
            self._begin_stream(head, length)
            self._take_pieces(pieces)
        else:
            self._take_body(data)

    def _begin_stream(self, head: AnswerHead, length: int) -> None:
        body = self._body = BodyStream(self)
        answer, self._answer = self._answer, None
        assert answer is not None
        if answer.done():
            self.abort()  # who asked has gone
            return
        answer.set_result(
            StreamedResponse(
                head.status,
                body,
                header_block=head.lines,
                content_type=head.content_type,
                length=length if length >= 0 else None,
            )
        )

    def _take_body(self, data: bytes) -> None:
        assert self._framing is not None
        self._take_pieces(self._framing.feed(data))

    def _take_pieces(self, pieces: list[bytes]) -> None:
        if self._framing is None:
            return  # aborted meanwhile
        if self._body is None:
            self._collected += pieces
            if self._framing.is_done:
                assert self._head is not None
                keeps = self._head.keeps and not self._framing.has_more
                self._finish(self._head, b"".join(self._collected), keeps=keeps)
            return
        for piece in pieces:
            self._body.feed(piece)
        if self._framing.is_done:
            assert self._head is not None
            body = self._body
            if body.is_paused:
                self._transport.resume_reading()  # for the next answer; this one has come
            self._free(keeps=self._head.keeps and not self._framing.has_more)
            body.end()
            self._owner.streamed(None)
        elif not self._body.is_paused:
            self.deadline = self._loop.time() + self._idle_timeout_s

    def _finish(self, head: AnswerHead, body: bytes, *, keeps: bool) -> None:
        """The whole answer is here."""
        answer, response = (
            self._answer,
            Response(head.status, body, header_block=head.lines, content_type=head.content_type),
        )
        if self._bodiless and head.length and head.status not in _BODILESS:
            response = self._without_body(head)
        self._free(keeps=keeps)
        assert answer is not None
        if not answer.done():
            answer.set_result(response)

    def _without_body(self, head: AnswerHead) -> StreamedResponse:
        """What HEAD gets: the length that GET would have got, or that it is not known (RFC 9110, 8.6)."""
        nothing = BodyStream(self)
        nothing.end()
        length = head.length if head.length > 0 else None
        return StreamedResponse(
            head.status, nothing, header_block=head.lines, content_type=head.content_type, length=length
        )

    def _free(self, *, keeps: bool) -> None:
        """Be ready for the next request, or close where that cannot be."""
        self._answer = None
        if self._framing is not None:
            self._framing = self._head = self._body = None
            self._collected = []
        self._interims = 0
        self.deadline = _NEVER
        if keeps and not self._is_sending and self.is_open:
            self.was_kept = True
            self._owner.freed(self)
        else:
            self.close()

    # The stream's source

    def pause(self) -> None:
        """See `Source`: the shopper reads slowly, so the upstream's time does not run."""
        self.deadline = _NEVER
        self._transport.pause_reading()

    def resume(self) -> None:
        """See `Source`."""
        if self.is_open and self._framing is not None:
            self.deadline = self._loop.time() + self._idle_timeout_s
            self._transport.resume_reading()

    # The end

    def time_out(self) -> None:
        """What was to come until the deadline has not."""
        self.fail(TimedOut("nothing came in time"))

    def fail(self, fault: UpstreamFault) -> None:
        """Give the connection up, and tell whoever waits for it why."""
        answer, body = self._answer, self._body
        self._let_go()
        if answer is not None and not answer.done():
            answer.set_exception(fault)
            # Looked at once, so that asyncio does not complain where nobody waits for it any more.
            answer.exception()
        if body is not None:
            body.end(fault)
            self._owner.streamed(fault)

    def abort(self) -> None:
        """Give the connection up: nobody wants what it still has to say."""
        if self._answer is not None:
            self._answer.cancel()
        self._let_go()

    def close(self) -> None:
        """Close it; what was written is still sent."""
        self._is_over()
        self._transport.close()

    def _let_go(self) -> None:
        self._is_over()
        self._transport.abort()

    def _is_over(self) -> None:
        self._answer = self._framing = self._head = self._body = None
        self._awaits_head = False
        self.deadline = _NEVER
        self.resume_writing()
        if self.is_open:
            self.is_open = False
            self._owner.lost(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The upstream has closed."""
        if not self.is_open:
            return
        head, answer, body = self._head, self._answer, self._body
        if self._framing is not None and head is not None and head.length == UNTIL_CLOSE and exc is None:
            # That is how such a body ends.
            self._is_over()
            if body is not None:
                body.end()
                self._owner.streamed(None)
        elif answer is not None and self._awaits_head and not self._held and not self._interims:
            self.fail(HungUp("closed before it answered", was_kept=self.was_kept))
        else:
            self.fail(CutOff("closed in the middle of its answer"))
