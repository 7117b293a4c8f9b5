"""One shopper's connection: aiohttp's `RequestHandler`, with a short path for the hot routes.

aiohttp parses, keeps the connection and serves whatever is unusual. A message that is complete when it arrives, whose
route is hot, is answered here instead: no task, no aiohttp request, no aiohttp response, one write. That
is a little over half of what aiohttp's own empty application costs (docs/performance.md).

What is held for a connection is bounded: what comes while an answer is due is taken in once and then not read on, an answer
goes in pieces no faster than it is read, and a header section, trailers and chunks that say nothing have their limits.

Order on a connection: messages that cannot be answered yet wait in aiohttp's own queue. Either the short path or
aiohttp's `start()` takes the next one, never both, so pipelined requests are answered in their order.

The only module that leans on aiohttp's private attributes (`_loop`, `_parser`, `_messages`, `_waiter`, `_close`,
`_force_close`, `_paused`, `_keepalive_timeout`, `_next_keepalive_close_time`, `_process_keepalive`, `_current_request`,
`_reading_paused`, `_buffer_paused`, `_msg_queue_resume_size`, `_pause_reading_for_buffer`,
`_resume_reading_if_drained`, `_resume_transport_reading`, `_drain_helper`, `_ErrInfo`); a test fails loudly when one of them is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Coroutine, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, cast

from aiohttp.http_exceptions import BadStatusLine, HttpProcessingError, LineTooLong
from aiohttp.http_parser import RawRequestMessage
from aiohttp.http_writer import HttpVersion10, HttpVersion11
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web import BaseRequest, RequestPayloadError, StreamResponse
from aiohttp.web_protocol import RequestHandler, _ErrInfo

from gateway.http import problems
from gateway.http.error_responses import answer
from gateway.http.message import Request, Response, StreamedResponse, unread
from gateway.server.normal_way import PIECE_BYTES, as_stream_response, in_pieces, is_ambiguous
from gateway.server.request_check import is_ambiguous_path, is_host, says_twice
from gateway.server.response_writer import peer_address

if TYPE_CHECKING:
    from multidict import MultiMapping

    from gateway.http.endpoint import Endpoint
    from gateway.server.early_reject import UnreadRefusals
    from gateway.server.edge_server import EdgeServer

_log = logging.getLogger("peakgate")

MAX_HEADER_BYTES: Final = 32 * 1024
# More of an answer than this is not left with the transport while the shopper does not read, but for the last piece.
_UNSENT_MOST: Final = 4 * 1024
# So many requests are parsed while others wait for their answers, and none behind so many bytes: parsed, they take
# between two and twenty times as much.
_WAITING_MOST: Final = 2
_WAITING_BYTES: Final = 4 * 1024
# What nginx calls it; only counted, never sent.
_HUNG_UP: Final = Response(499)
_SPOKEN: Final = frozenset({HttpVersion10, HttpVersion11})
_SECTION_END: Final = b"\r\n\r\n"
# More pieces than this are not told apart: they are no honest pipeline.
_MOST_PIECES: Final = 40
_LARGE_PIECE: Final = 4 * 1024


class Connection(RequestHandler):
    """See the module. `edge` is what all connections of the process share."""

    __slots__ = (
        *("_answering", "_body", "_body_bytes", "_closes_after", "_coroutine", "_edge", "_header_bytes", "_host"),
        "_is_between",
        *("_peer", "_receiving_since", "_request", "_rest", "_socket", "_streaming", "_unread", "_unread_since"),
    )

    def __init__(self, edge: EdgeServer, **options: Any) -> None:
        super().__init__(edge, loop=asyncio.get_running_loop(), **options)
        self._msg_queue_resume_size = _WAITING_MOST // 2
        self._edge = edge
        # What the short path is answering: one request at a time, so its state is here and not in an object of its own.
        self._answering: Endpoint | None = None
        self._request: Request | None = None
        self._coroutine: Coroutine[Any, Any, Response] | None = None
        self._closes_after = False
        # What sends the pieces of an answer that comes as such.
        self._streaming: asyncio.Task[None] | None = None
        self._peer = ""
        self._host: str | None = None
        # How much of a header section has come that is not complete yet, and since when.
        self._header_bytes = 0
        # Whether nothing has come since the end of a message, or at all.
        self._is_between = True
        self._receiving_since = 0.0
        # What has come and is not parsed yet; no more is read meanwhile.
        self._rest = b""
        # The body that is being received, and how much of it had come when last looked at.
        self._body: StreamReader | None = None
        self._body_bytes = 0
        # How much the shopper had left unread when last looked at, and since when he takes none of it. aiohttp forgets
        # its transport before that is flushed.
        self._unread = 0
        self._unread_since = 0.0
        self._socket: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A shopper has connected."""
        super().connection_made(transport)
        self._socket = cast("asyncio.Transport", transport)
        self._peer = peer_address(transport)
        self._socket.set_write_buffer_limits(_UNSENT_MOST)

    def connection_lost(self, exc: BaseException | None) -> None:
        """The shopper has hung up, or was cut off."""
        super().connection_lost(exc)
        if self._streaming is not None:
            self._streaming.cancel()
        coroutine, self._coroutine = self._coroutine, None
        if coroutine is not None:
            # Nobody is left to answer: what it holds, such as a connection to an upstream, is let go.
            coroutine.close()
            self._finish(_HUNG_UP)

    # Receiving

    def data_received(self, data: bytes) -> None:
        """Parse, and answer at once what the short path takes."""
        parser = self._parser
        if self._force_close or self._close or parser is None:
            return
        if self._rest:
            data, self._rest = self._rest + data, b""
        was_between, self._is_between = self._is_between, False
        if self._edge.unread is not None and was_between and self._refuse_unread(self._edge.unread, data):
            return
        messages: Sequence[Any]
        fault: HttpProcessingError | None = None
        try:
            if data.count(_SECTION_END) < 2:
                messages, is_upgrade, tail = parser.feed_data(data)
                if is_upgrade:
                    parser.set_upgraded(False)
                    messages, fault = self._feed_on(parser, messages, tail)
            else:
                messages, fault = self._feed_on(parser, (), data)
        except HttpProcessingError as error:
            self._refuse(error)
            return
        if fault is not None:
            self._queue(messages, len(data))
            self._refuse(fault)
            return
        if not messages:
            if not self._rest:
                self._watch_headers(len(data))
            return
        came_in_pieces, self._header_bytes = self._header_bytes, 0
        if (came_in_pieces or len(data) > MAX_HEADER_BYTES) and any(
            _header_size(message) > MAX_HEADER_BYTES for message, _ in messages
        ):
            self._refuse(LineTooLong(b"", MAX_HEADER_BYTES))
            return
        # The usual case, spared the queue: one request, and nothing else going on.
        if (
            len(messages) == 1
            and not (self._messages or self._rest)
            and self._is_idle
            and self._take_short(*messages[0])
        ):
            parser.message_consumed()
            self._is_between = _ends_with(messages[0], data, was_begun=not was_between)
            return
        self._queue(messages, len(data))
        self._take_next()

    def _refuse_unread(self, unread: UnreadRefusals, data: bytes) -> bool:
        """Refuse what has come without parsing it, if that is to be and can be; says whether it was."""
        if self._host is None or not self._is_idle or self.transport is None or self._edge.is_draining:
            return False
        refusal = unread.answer(data, self._host)
        if refusal is None:
            return False
        self.transport.write(refusal)
        self._is_between = True
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        return True

    def _feed_on(
        self, parser: Any, messages: Sequence[Any], data: bytes
    ) -> tuple[Sequence[Any], HttpProcessingError | None]:
        """Parse pipelined messages one header section at a time, up to a fault, which is returned with those before it.

        Given all at once, the parser would keep to itself the messages in front of a fault. What is one too many stays
        unparsed.
        """
        found = [*messages]
        most = _WAITING_MOST - len(self._messages)
        start = pieces = 0
        while start < len(data):
            pieces += 1
            end = data.find(_SECTION_END, start if pieces < _MOST_PIECES else start + _LARGE_PIECE) + len(_SECTION_END)
            if end < len(_SECTION_END):
                end = len(data)
            if len(found) >= most or (found and end > _WAITING_BYTES):
                self._rest = data[start:]
                break
            try:
                more, is_upgrade, tail = parser.feed_data(data[start:end])
            except HttpProcessingError as fault:
                return found, fault
            found += more
            start = end
            if is_upgrade:
                data, start = tail + data[end:], 0
                # Nobody here speaks another protocol, so what follows is HTTP (RFC 9110, 7.8).
                parser.set_upgraded(False)
        return found, None

    def _queue(self, messages: Sequence[Any], received: int) -> None:
        for count, (message, _) in enumerate(messages):
            if message.version not in _SPOKEN:
                self._messages.extend(messages[:count])
                self._refuse(BadStatusLine(error="only HTTP/1.0 and HTTP/1.1 are spoken here"))
                return
        self._messages.extend(messages)
        if messages:
            payload = messages[-1][1]
            self._body, self._body_bytes = (None if payload.is_eof() else payload), 0
        is_full = self._rest or len(self._messages) >= _WAITING_MOST or received > _WAITING_BYTES
        if is_full and not self._buffer_paused:
            self._pause_reading_for_buffer()

    @property
    def _is_idle(self) -> bool:
        """Whether nobody is answering on this connection: aiohttp's `start()` waits, and so does the short path."""
        waiter = self._waiter
        return self._answering is None and waiter is not None and not waiter.done() and not self._paused

    def _take_next(self) -> None:
        """Answer the oldest waiting message, by the short path if it can be."""
        while self._messages and self._is_idle:
            if isinstance(self._messages[0][0], _ErrInfo):
                self._respond_unasked(_problem_of(self._messages[0][0].exc))
            elif self._take_short(*self._messages[0]):
                self._drop_first()
            else:
                # The task of aiohttp takes it, and all that have come by the time it is done.
                assert self._waiter is not None
                self._waiter.set_result(None)

    def _take_short(self, message: Any, payload: StreamReader) -> bool:
        """Start answering a message if the short path may; says whether it did."""
        if message.version is not HttpVersion11 or type(message) is not RawRequestMessage or message.upgrade:
            return False
        headers = message.headers
        if payload is not EMPTY_PAYLOAD and (
            not payload.is_eof()
            or payload.exception() is not None
            or "Content-Encoding" in headers
            or "Expect" in headers
            or headers.get("Transfer-Encoding", "chunked") != "chunked"
        ):
            return False
        edge = self._edge
        path, _, query = message.path.partition("?")
        endpoint, params = edge.router.find(message.method, path)
        if not endpoint.hot or path[:1] != "/":
            return False
        body = b"" if payload is EMPTY_PAYLOAD else payload.read_nowait()
        request = Request(
            message.method, path, query, headers, body, edge.ids.of(headers), params, self._peer, monotonic()
        )
        self._answering, self._request, self._closes_after = endpoint, request, message.should_close
        refused = self._refused(request, endpoint)
        if refused is not None:
            self._closes_after = True
            self._finish(problems.response(refused, request.id))
            return True
        try:
            outcome = endpoint.handler(request)
        except Exception as error:  # noqa: BLE001 - whatever it is, the shopper gets an answer
            outcome = answer(error, request)
        if isinstance(outcome, Response):
            self._finish(outcome)
        else:
            self._coroutine = outcome
            self._step()
        return True

    def _refused(self, request: Request, endpoint: Endpoint) -> problems.Problem | None:
        """What is wrong with the size or the form of a request."""
        if len(request.body) > endpoint.body_limit:
            return problems.BODY_TOO_LARGE
        host = request.headers.get("Host")
        if host != self._host:  # checked once where a connection serves one host
            if host is None or not is_host(host):
                return problems.AMBIGUOUS
            self._host = host
            self._edge.learn_address(request.headers)
        if says_twice(request.method, cast("MultiMapping[str]", request.headers)):
            return problems.AMBIGUOUS
        return problems.AMBIGUOUS if is_ambiguous_path(request.path) or "#" in request.query else None

    def _drop_first(self) -> None:
        self._messages.popleft()
        if self._parser is None:
            return  # the message taken was the last of its connection
        self._parser.message_consumed()
        if self._buffer_paused and len(self._messages) <= self._msg_queue_resume_size:
            # Not from here: resuming parses what was held back, and may take the next message.
            self._loop.call_soon(self._resume_if_drained)

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Read on if a full body has stopped it. aiohttp's streams ask for this at every read of a body.

        Without need it would parse what is held back in the middle of taking a message, and take that one twice.
        """
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def _resume_if_drained(self) -> None:
        if self._buffer_paused and self.transport is not None:
            self._resume_reading_if_drained()

    def _resume_reading_if_drained(self) -> None:
        """Parse what was held back, and read on unless that is too much once more. The short path may answer all of it.

        While the shopper does not read, nothing is read from him.
        """
        if self._paused:
            return
        self._buffer_paused = False
        self.data_received(b"")
        if not self._buffer_paused and not self._reading_paused:
            self._resume_transport_reading()

    # Answering

    def _go_on(self, _done: asyncio.Future[Any]) -> None:
        """What the handler waited for is done."""
        if self._coroutine is None:
            return  # the shopper has hung up meanwhile
        self._step()
        if self._messages:
            self._take_next()

    def _step(self) -> None:
        """Run the handler until it waits for a future or has its response: a task of its own would cost 5 µs.

        Hot handlers await nothing but futures, so all there is to do is to go on when the future is done.
        """
        assert self._coroutine is not None
        try:
            waits_for = self._coroutine.send(None)
        except StopIteration as end:
            response: Response = end.value
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - whatever it is, the shopper gets an answer
            assert self._request is not None
            response = answer(error, self._request)
        else:
            # As a task does: else nobody could wait for the same future beside us.
            waits_for._asyncio_future_blocking = False  # noqa: SLF001 - part of how asyncio awaits
            waits_for.add_done_callback(self._go_on)
            return
        self._coroutine = None
        self._finish(response)

    def _finish(self, response: Response) -> None:
        """Write the response to the request that is being answered."""
        endpoint, request, edge = self._answering, self._request, self._edge
        assert endpoint is not None
        assert request is not None
        edge.record(endpoint, request, response)
        if isinstance(response, StreamedResponse):
            # The connection stays taken until the last piece.
            self._streaming = self._loop.create_task(self._stream(response, request))
            return
        if len(response.body) > PIECE_BYTES and request.method != "HEAD":
            self._streaming = self._loop.create_task(self._stream(in_pieces(response), request))
            return
        self._answering = self._request = None
        if self.transport is None:
            return  # the shopper has hung up
        close = self._closes_after or edge.is_draining or (response.status == 400 and is_ambiguous(response))
        self.transport.write(edge.writer.render(response, request, close=close))
        if close:
            self.force_close()
        else:
            # aiohttp's own timer closes idle connections; it asks this when it fires.
            self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout

    async def _stream(self, response: StreamedResponse, request: Request) -> None:
        """Send an answer piece by piece, no faster than the shopper reads; then go on with what has waited."""
        close = self._closes_after or self._edge.is_draining
        try:
            async with contextlib.aclosing(response.chunks) as chunks:
                await self._send(chunks, response, request, close=close)
        except Exception as error:  # noqa: BLE001 - whatever stopped it, half an answer must not pass for a whole one
            if self.transport is not None:
                _log.error("an answer was cut off (request %s): %r", request.id, error)
                self.transport.abort()
        finally:
            self._streaming = None
            self._answering = self._request = None
        if self.transport is None:
            return
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if close:
            self.force_close()
        elif self._messages:
            self._take_next()

    async def _send(
        self, chunks: AsyncIterator[bytes], response: StreamedResponse, request: Request, *, close: bool
    ) -> None:
        await self._write(self._edge.writer.render_head(response, request, close=close))
        if request.method == "HEAD":
            return
        if response.length is not None:
            async for chunk in chunks:
                await self._write(chunk)
            return
        async for chunk in chunks:
            if chunk:
                await self._write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        await self._write(b"0\r\n\r\n")

    async def _write(self, data: bytes) -> None:
        if self.transport is None:
            raise ConnectionResetError("the shopper has hung up")
        self.transport.write(data)
        if self._paused:
            await self._drain_helper()

    def pause_writing(self) -> None:
        """The shopper does not read what is sent: nothing more is answered until they do."""
        super().pause_writing()
        self._unread_since = self._loop.time()
        if not self._buffer_paused:
            self._pause_reading_for_buffer()

    def force_close(self) -> None:
        """Close, after what was written is sent."""
        super().force_close()
        self._unread_since = self._loop.time()

    def resume_writing(self) -> None:
        """The shopper reads again: go on with what has waited."""
        super().resume_writing()
        self._take_next()
        if self._buffer_paused and len(self._messages) <= self._msg_queue_resume_size:
            self._loop.call_soon(self._resume_if_drained)

    # Refusing

    def _watch_headers(self, received: int) -> None:
        """Bound what comes in pieces and is no body: a header section, or what surrounds chunks and follows the last one."""
        if not received:
            return
        body = self._body
        if body is not None:
            if body.is_eof():
                # Whatever came behind its end counts from the next piece on.
                self._body, self._header_bytes = None, 0
                return
            if body.total_bytes != self._body_bytes:
                self._body_bytes, self._header_bytes = body.total_bytes, 0
                return
        if not self._header_bytes:
            self._receiving_since = self._loop.time()
        self._header_bytes += received
        if self._header_bytes > MAX_HEADER_BYTES:
            self._refuse(LineTooLong(b"", MAX_HEADER_BYTES))

    def check(self, now: float, *, receive_timeout_s: float, send_timeout_s: float) -> None:
        """End the connection if a header section comes, or an answer goes, too slowly; called every second or so."""
        if self._header_bytes:
            if not self._is_idle:
                self._receiving_since = now  # it is we who make it wait, or a body's own time runs
            elif now - self._receiving_since > receive_timeout_s:
                self._header_bytes = 0
                self._respond_unasked(problems.REQUEST_TIMEOUT)
        assert self._socket is not None
        unread = self._socket.get_write_buffer_size()
        if unread != self._unread and not self._paused and not self._force_close:
            self._unread_since = now
        self._unread = unread
        if (unread or self._force_close) and now - self._unread_since > send_timeout_s:
            self._socket.abort()

    def _refuse(self, error: HttpProcessingError) -> None:
        """Answer what is not HTTP, after the requests before it, and close."""
        if self._parser is None:
            return  # for an earlier fault
        # Nothing is read any more: what follows a fault has no meaning.
        self._parser = None
        self._rest = b""
        unfinished = self._unfinished_body()
        if unfinished is not None:
            # Its own request is the malformed one, and is refused where its body is awaited.
            unfinished.set_exception(RequestPayloadError(error.message))
            unfinished.feed_eof()
        else:
            self._messages.append((_ErrInfo(status=400, exc=error, message=error.message), EMPTY_PAYLOAD))
        self._take_next()

    def _unfinished_body(self) -> StreamReader | None:
        if self._messages:
            body = self._messages[-1][1]
        elif self._current_request is not None:
            body = self._current_request.content
        else:
            return None
        return None if body.is_eof() else body

    def _respond_unasked(self, problem: problems.Problem) -> None:
        """Refuse what is no request, and stop listening."""
        self._parser = None
        self._messages.clear()
        self.close()
        if self.transport is None:
            return
        request = unread(self._edge.ids.of({}))
        self.transport.write(self._edge.writer.render(problems.response(problem, request.id), request, close=True))
        # To close at once, while the shopper still sends, would reset the connection and lose the answer on its way.
        self.transport.write_eof()
        self._loop.call_later(self._edge.linger_s, self.transport.abort)

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,  # noqa: ARG002 - aiohttp's signature
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002
    ) -> StreamResponse:
        """What aiohttp answers to a message that is no HTTP, or when the normal way itself fails."""
        if isinstance(exc, ConnectionError):
            raise exc  # the shopper has hung up: there is nobody to answer
        request_id = self._edge.ids.of({})
        if isinstance(exc, HttpProcessingError):
            response = problems.response(_problem_of(exc), request_id)
        else:
            self.logger.error("a request failed outside its handler (request %s)", request_id, exc_info=exc)
            if request.writer.output_size > 0:
                raise ConnectionError("half an answer is sent already; the other half cannot be an error")
            response = problems.response(problems.INTERNAL, request_id)
        answered = as_stream_response(response, unread(request_id), self._edge.writer)
        answered.force_close()
        return answered

    def _process_keepalive(self) -> None:
        """Close an idle connection. aiohttp knows of its own handlers only, so the short path's count here."""
        if self._answering is not None or self._header_bytes:
            self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        super()._process_keepalive()

    # Draining

    def close_if_idle(self) -> None:
        """Close the connection unless something is being received or answered on it."""
        if self._is_idle and not self._messages and not self._header_bytes:
            self.force_close()


def _ends_with(parsed: tuple[RawRequestMessage, StreamReader], data: bytes, *, was_begun: bool) -> bool:
    """Whether the message parsed last surely ends where `data` does; it `was_begun` before `data` came, or maybe."""
    message, body = parsed
    if body is EMPTY_PAYLOAD:
        return data[-4:] == _SECTION_END
    length = message.headers.get("Content-Length")
    if was_begun or length is None:
        return False
    return data.find(_SECTION_END) + len(_SECTION_END) + int(length) == len(data)


def _problem_of(error: BaseException) -> problems.Problem:
    is_too_large = isinstance(error, LineTooLong) or "Too many headers" in str(error)
    return problems.HEADERS_TOO_LARGE if is_too_large else problems.MALFORMED_REQUEST


def _header_size(message: RawRequestMessage) -> int:
    return len(message.path) + sum(len(name) + len(value) + 4 for name, value in message.raw_headers)
