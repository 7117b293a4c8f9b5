"""One connection of a client: the transport around `http1`, and the one place where requests are answered.

A request that arrives alone and whole, and whose handler is hot, takes one pass: no task, no future of its own, one write.
Bodies, streams and handlers that need a task take the same methods with more steps.

The class is the protocol object itself and inherits nothing: event loops call its methods directly.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from time import monotonic
from typing import Any, Final

from multidict import istr

from gateway.http import problems
from gateway.http.contained import FAILURES
from gateway.http.endpoint import Endpoint
from gateway.http.error_responses import error_response
from gateway.http.message import (
    BodyMalformed,
    BodyTooLarge,
    BodyTooSlow,
    Request,
    Response,
    StreamedResponse,
    UnsizedResponse,
    unparsed_request,
)
from gateway.server import http1
from gateway.server.context import ServerContext
from gateway.server.http1 import Http1
from gateway.server.interim_sender import InterimSender
from gateway.server.problem_pages import for_browser, preferences
from gateway.server.protocol_error import ProtocolError
from gateway.server.request_check import is_host, is_smuggling_risk
from gateway.server.request_head import RequestHead
from gateway.server.request_stream import RequestStream
from gateway.server.response_sender import PIECE_BYTES, ResponseSender
from gateway.server.response_writer import BODILESS, CLOSE, KEEP_ALIVE
from gateway.tracing.request_tracer import run_traced
from primitives.futures import ignore_exception

# More of a response than this is not left with the transport while the client does not read, but for the last piece.
_MAX_UNSENT_BYTES: Final = 4 * 1024
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
# nginx's status for a client that closed; only counted, never sent.
_CLIENT_CLOSED: Final = Response(499)
_HOST: Final = istr("Host")
_EXPECT: Final = istr("Expect")
_CONTENT_ENCODING: Final = istr("Content-Encoding")


class Connection:
    """See the module. `context` is shared by all connections of the server."""

    __slots__ = (
        "_body",
        "_connection_field",
        "_context",
        "_coroutine",
        "_endpoint",
        "_host",
        "_http",
        "_is_closing",
        "_is_http11",
        "_is_reading_paused",
        "_is_writing_paused",
        "_lingers",
        "_peer",
        "_request",
        "_sender",
        "_stream",
        "_transport",
        "_unsent_bytes",
        "_unsent_since",
    )

    def __init__(self, context: ServerContext) -> None:
        self._context = context
        self._http = Http1(
            keepalive_s=context.keepalive_s,
            receive_timeout_s=context.receive_timeout_s,
            plain_heads=context.plain_heads,
            limits=context.limits,
        )
        self._transport: asyncio.Transport | None = None
        # The address at the other end, and the Host that its last request named.
        self._peer = ""
        self._host: str | None = None
        # The request that is received or responded to, and where it goes; None between requests.
        self._request: Request | None = None
        self._endpoint: Endpoint | None = None
        # Its body so far, where it is buffered until it is complete; or the stream its handler reads.
        self._body: bytes | None = None
        self._stream: RequestStream | None = None
        # Its hot handler, waiting for a future; or the sender of its response, if that is sent piece by piece.
        self._coroutine: Coroutine[Any, Any, Response] | None = None
        self._sender: ResponseSender | None = None
        # The Connection field of its response: `CLOSE` if it is the last one.
        self._connection_field = b""
        self._is_http11 = True
        # Whether the client may still be sending when the connection closes.
        self._lingers = False
        self._is_closing = False
        self._is_reading_paused = False
        self._is_writing_paused = False
        # How much the client had left unread when last checked, and since when it reads nothing of it.
        self._unsent_bytes = 0
        self._unsent_since = 0.0

    # The transport's side

    def connection_made(self, transport: asyncio.Transport) -> None:
        """A client has connected."""
        self._transport = transport
        self._peer = _peer_address(transport)
        transport.set_write_buffer_limits(_MAX_UNSENT_BYTES)
        self._context.connections.add(self)

    def connection_lost(self, _error: BaseException | None) -> None:
        """The client has closed, or the connection was cut off."""
        self._transport = None
        self._context.connections.discard(self)
        self._http.close()
        is_receiving, self._body = self._body is not None, None
        coroutine, self._coroutine = self._coroutine, None
        if coroutine is not None:
            # There is no client left: the resources of the handler, such as a connection to an upstream, are freed.
            try:
                coroutine.close()
            except Exception as error:  # noqa: BLE001 - one that goes on awaiting; no client waits for it
                FAILURES.add("the end of a handler whose client has closed", error)
            self._finish(_CLIENT_CLOSED)
        elif is_receiving:
            self._finish(_CLIENT_CLOSED)
        if self._stream is not None:
            self._stream.end(ConnectionResetError("the client has closed the connection"))
        if self._sender is not None:
            self._sender.cancel()

    def eof_received(self) -> bool:
        """The client sends nothing more; as with most servers that ends the connection."""
        return False

    def data_received(self, data: bytes) -> None:
        """Serve the request in `data` at once if it can be, else buffer it."""
        http = self._http
        if http.is_closed:
            return
        if self._request is not None:
            http.receive_data(data)
            if http.body is not None:
                self._receive_body()
        elif self._is_writing_paused:
            http.receive_data(data)
        elif self._context.early_rejecter is None or not self._reject_early(data):
            self._serve(data)
            return
        self._update_reading()

    def pause_writing(self) -> None:
        """The client does not read its responses: nothing more is served until it does."""
        self._is_writing_paused = True
        self._unsent_since = self._context.loop.time()
        if self._sender is not None:
            self._sender.pause()
        self._update_reading()

    def resume_writing(self) -> None:
        """The client reads again."""
        self._is_writing_paused = False
        if self._sender is not None:
            self._sender.resume()
        self._serve_next()

    def _update_reading(self) -> None:
        """Read on, or pause, so that the buffer of a client is bounded."""
        transport = self._transport
        if transport is None:
            return
        pause = not self._http.is_closed and (
            self._is_writing_paused
            or (self._stream is not None and self._stream.is_full)
            or (
                self._http.body is None
                and self._request is not None
                and self._http.buffered_bytes > http1.MAX_PIPELINED_BYTES
            )
        )
        if pause != self._is_reading_paused and not transport.is_closing():
            self._is_reading_paused = pause
            if pause:
                transport.pause_reading()
            else:
                transport.resume_reading()

    # Requests

    def _serve_next(self) -> None:
        """Serve the requests received meanwhile, unless one is in progress."""
        if self._request is None and not self._is_writing_paused and not self._http.is_closed:
            self._serve(b"")
        self._update_reading()

    def _serve(self, data: bytes) -> None:
        """Serve the buffered requests and those in `data`, up to one that has to wait."""
        http = self._http
        try:
            head = http.next_request(data)
            while head is not None:
                self._begin(head)
                if self._request is not None or self._is_writing_paused:
                    if http.buffered_bytes:
                        self._update_reading()
                    return
                head = http.next_request()
        except ProtocolError as error:
            self._reject(error.problem)

    def _begin(self, head: RequestHead) -> None:
        """Serve a request as far as it has been received."""
        context = self._context
        line, headers = head.line, head.headers
        route = line.route
        if route is None:
            route = context.route_of(line, headers)
        endpoint, params = route
        request = Request(
            line.method, line.path, line.query, headers, b"", context.ids.of(headers), params, self._peer, monotonic()
        )
        self._endpoint = endpoint
        self._request = request
        self._is_http11 = head.is_http11
        if endpoint.streams:
            request.interims = InterimSender(self, request.id)
        if head.should_close:
            self._connection_field = CLOSE
        else:
            self._connection_field = b"" if self._is_http11 else KEEP_ALIVE
        host = headers.get(_HOST)
        if host != self._host and host is not None:  # checked once where a connection serves one host
            if not is_host(host):
                self._reject_request(problems.AMBIGUOUS)
                return
            self._host = host
            context.learn_address(headers)
        if line.is_ambiguous or (not head.is_plain and is_smuggling_risk(line, headers)):
            self._reject_request(problems.AMBIGUOUS)
        elif self._http.body is None or self._begin_body(head, endpoint, request):
            self._run(endpoint, request)

    def _run(self, endpoint: Endpoint, request: Request) -> None:
        """Call the handler of a request, and respond if it has its response at once."""
        context = self._context
        try:
            if context.tracer is not None and (root := context.tracer.begin(endpoint, request)) is not None:
                outcome = run_traced(root, context.handler_of(endpoint), request)
            elif context.run_unit is None:
                outcome = endpoint.handler(request)
            else:
                outcome = context.run_unit(endpoint.handler, request)
        except Exception as error:  # noqa: BLE001 - any error gets a response
            outcome = error_response(error, request, endpoint.path)
        if isinstance(outcome, Response):
            self._finish(outcome)
        elif endpoint.hot and request.stream is None:
            self._coroutine = outcome
            self._step()
        else:
            self._spawn(self._complete(outcome, request))

    def _step(self) -> None:
        """Run the handler until it waits for a future or has its response: a task of its own would cost 5 µs.

        Hot handlers await nothing but futures, so all there is to do is to go on when the future is done.
        """
        assert self._coroutine is not None
        assert self._request is not None
        try:
            future = self._coroutine.send(None)
        except StopIteration as end:
            response: Response = end.value
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - any error gets a response
            assert self._endpoint is not None
            response = error_response(error, self._request, self._endpoint.path)
        else:
            # As a task does: else no other coroutine could await the same future.
            future._asyncio_future_blocking = False  # noqa: SLF001 - part of how asyncio awaits
            future.add_done_callback(self._future_done)
            return
        self._coroutine = None
        self._finish(response)

    def _future_done(self, future: asyncio.Future[Any]) -> None:
        """The future that the handler awaited is done."""
        if self._coroutine is None:
            ignore_exception(future)  # the client has closed meanwhile
            return
        self._step()
        if self._request is None:
            self._serve_next()

    async def _complete(self, awaitable: Coroutine[Any, Any, Response], request: Request) -> None:
        """Await a handler that needs a task, and send its response."""
        try:
            response = await awaitable
        except (Exception, asyncio.CancelledError) as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            assert self._endpoint is not None
            is_closed = self._transport is None
            response = _CLIENT_CLOSED if is_closed else error_response(error, request, self._endpoint.path)
        self._finish(response)
        if self._request is None:
            self._serve_next()

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._context.loop.create_task(coroutine)
        self._context.tasks.add(task)
        task.add_done_callback(self._context.tasks.discard)
        return task

    # Bodies

    def _begin_body(self, head: RequestHead, endpoint: Endpoint, request: Request) -> bool:
        """Receive the body that a request announces; says whether its handler can run already."""
        http, headers = self._http, head.headers
        if not endpoint.streams and _CONTENT_ENCODING in headers:
            # A compressed body is never unpacked: no bombs.
            self._reject_request(problems.UNSUPPORTED_MEDIA_TYPE)
            return False
        length = http.content_length
        if length > endpoint.body_limit:
            self._reject_request(problems.BODY_TOO_LARGE)
            return False
        expected = headers.get(_EXPECT)
        if expected is not None and expected.lower() != "100-continue":
            self._reject_request(problems.EXPECTATION_FAILED)
            return False
        try:
            data = http.read_body(endpoint.body_limit)
        except ProtocolError as error:
            self._reject_request(error.problem)
            return False
        if http.body is None:
            request.body = data
            return True
        if expected is not None and self._is_http11:
            assert self._transport is not None
            self._transport.write(_CONTINUE)
        # The pace of a client is checked in both cases; one that is not to be streamed has a deadline as well.
        http.is_body_buffered = not endpoint.streams
        http.is_body_awaited = True
        if max(length, len(data)) > endpoint.stream_above:
            self._begin_stream(request, data)
            return True
        self._body = data
        return False

    def _begin_stream(self, request: Request, data: bytes) -> None:
        """Hand the body of a request to its handler as it arrives, beginning with `data`."""
        self._http.is_body_awaited = False
        self._stream = request.stream = RequestStream(self, self._context.loop)
        if data:
            self._stream.feed(data, len(data))

    def _receive_body(self) -> None:
        """More of a body has been received."""
        http, endpoint, request, stream = self._http, self._endpoint, self._request, self._stream
        assert endpoint is not None
        assert request is not None
        wire_bytes = http.buffered_bytes
        try:
            data = http.read_body(endpoint.body_limit)
        except ProtocolError as error:
            if stream is None:
                self._reject_request(error.problem)
            else:
                stream.end(BodyTooLarge() if error.problem is problems.BODY_TOO_LARGE else BodyMalformed())
            return
        if stream is not None:
            if data:
                stream.feed(data, wire_bytes)
            if http.body is None:
                stream.end()
            return
        assert self._body is not None
        # A bytearray would take an eighth more than a slow client has sent.
        self._body += data
        if http.body is None:
            request.body, self._body = self._body, None
        elif len(self._body) > endpoint.stream_above:
            data, self._body = self._body, None
            self._begin_stream(request, data)
        else:
            return
        request.started_at = monotonic()
        self._run(endpoint, request)
        if self._request is None:
            self._serve_next()

    def body_awaited(self, is_awaited: bool) -> None:
        """See `StreamSource`."""
        self._http.is_body_awaited = is_awaited
        if is_awaited and self._is_reading_paused:
            self._update_reading()

    # Responses

    def _finish(self, response: Response) -> None:
        """Record the response to the request and send it, or begin to. Nothing here can leave the request open."""
        endpoint, request, context = self._endpoint, self._request, self._context
        assert endpoint is not None
        assert request is not None
        if response.problem is not None:
            if response.problem is problems.AMBIGUOUS:
                # A layer or the handler has found the request ambiguous: nothing more may be read.
                self._lingers = True
            response = self._for_browser(response, request)
        if isinstance(response, StreamedResponse):
            if response.status not in BODILESS:
                self._send_in_pieces(response, endpoint, request)
                return
            self._spawn(_discard(response))
        elif len(response.body) > PIECE_BYTES and request.method != "HEAD" and self._transport is not None:
            self._send_in_pieces(response, endpoint, request)
            return
        context.record(endpoint, request, response if self._transport is not None else _CLIENT_CLOSED)
        try:
            self._send(response, request)
        except Exception as error:  # noqa: BLE001 - any error of rendering
            self._send_failed(error)
        self._end_response()

    def _send(self, response: Response, request: Request) -> None:
        """Send a whole response, if there is a client."""
        transport, context = self._transport, self._context
        if transport is not None:
            if (
                context.is_draining
                or self._http.body is not None
                or self._lingers
                or (not self._is_http11 and isinstance(response, UnsizedResponse))
            ):
                self._connection_field = CLOSE
            transport.write(context.writer.render(response, request, self._connection_field))

    def _send_failed(self, error: Exception) -> None:
        """A response cannot be sent: the connection is cut off, so that its client is not left waiting."""
        FAILURES.add("sending a response", error)
        self._connection_field = CLOSE
        self.abort()

    def send_interim(self, request_id: str, status: int, header_block: bytes) -> None:
        """Send an interim response (RFC 9110, 15.2), unless its request is done or its client may not understand it."""
        request = self._request
        if request is None or request.id != request_id:
            return
        if not self._is_http11 or self._sender is not None or self._is_writing_paused:
            return
        if self._transport is not None:
            self._transport.write(self._context.writer.render_interim(status, header_block))

    def _for_browser(self, response: Response, request: Request) -> Response:
        """The response of a problem, or its page where browsers get pages."""
        pages = self._context.refusal_pages
        return response if pages is None else for_browser(pages, response, request)

    def _end_response(self) -> None:
        """The response is with the transport: close, or get ready for the next request."""
        self._request = None
        self._endpoint = None
        self._stream = None
        http = self._http
        if http.body is not None:
            self._lingers = True
        http.response_sent()
        if self._connection_field is CLOSE:
            self._close()

    def _send_in_pieces(self, response: Response, endpoint: Endpoint, request: Request) -> None:
        sender = self._sender = ResponseSender(
            self._context,
            self._transport,
            response,
            request,
            self._connection_field,
            self._is_http11,
            self._is_writing_paused,
        )
        self._spawn(self._await_sender(sender, response, endpoint, request, monotonic() - request.started_at))

    async def _await_sender(
        self, sender: ResponseSender, response: Response, endpoint: Endpoint, request: Request, elapsed_s: float
    ) -> None:
        """Send the response. It is recorded when it has been sent: only then is known whether the client stayed."""
        try:
            await sender.send()
        except Exception as error:  # noqa: BLE001 - any error of rendering
            sender.connection_field = CLOSE
            self._send_failed(error)
        finally:
            self._sender = None
            is_closed = sender.is_abandoned and not sender.is_complete
            self._context.record_after(endpoint, request, _CLIENT_CLOSED if is_closed else response, elapsed_s)
        self._connection_field = sender.connection_field
        if self._request is not None:
            self._end_response()
            self._serve_next()

    # Rejections and the end

    def _reject_early(self, data: bytes) -> bool:
        """Reject a request unparsed, if that is to be and can be; says whether it was."""
        rejecter, context = self._context.early_rejecter, self._context
        if rejecter is None or self._host is None or self._http.state != http1.IDLE or context.is_draining:
            return False
        response = rejecter.response_to(data, self._host)
        if response is None:
            return False
        assert self._transport is not None
        self._transport.write(response)
        self._http.skip_request()
        return True

    def _reject_request(self, problem: problems.Problem) -> None:
        """Respond to a request whose handler is not called, and close."""
        assert self._request is not None
        self._body = None
        self._lingers = True
        self._finish(problems.response(problem, self._request.id))

    def _reject(self, problem: problems.Problem) -> None:
        """Respond to bytes that are no request, and close."""
        if self._transport is None or self._is_closing:
            return
        request = unparsed_request(self._context.ids.next())
        request.headers = preferences(self._http.rejected_head)
        response = self._for_browser(problems.response(problem, request.id), request)
        self._transport.write(self._context.writer.render(response, request, CLOSE))
        self._lingers = True
        self._close()

    def _close(self) -> None:
        """Close once all that was written is sent."""
        transport = self._transport
        self._http.close()
        if transport is None or self._is_closing:
            return
        self._is_closing = True
        self._unsent_since = self._context.loop.time()
        if not self._lingers:
            transport.close()
            return
        # To close at once, while the client still sends, would reset the connection and lose the response on its way.
        if not transport.is_closing():
            transport.write_eof()
            self._update_reading()
            self._context.loop.call_later(self._context.linger_s, transport.close)

    def close_if_idle(self) -> None:
        """See `OpenConnection`."""
        if self._request is None and self._http.state == http1.IDLE and not self._is_writing_paused:
            self._close()

    def abort(self) -> None:
        """See `OpenConnection`."""
        if self._transport is not None:
            self._transport.abort()

    def check(self, now: float) -> None:
        """See `OpenConnection`."""
        transport = self._transport
        if transport is None:
            return
        verdict = self._http.check(now, is_blocked=self._is_writing_paused)
        if verdict != http1.ON_TIME:
            self._end_late(verdict)
        unsent_bytes = transport.get_write_buffer_size()
        if unsent_bytes != self._unsent_bytes and not self._is_writing_paused and not self._is_closing:
            self._unsent_since = now
        self._unsent_bytes = unsent_bytes
        is_stuck = (unsent_bytes or self._is_closing) and now - self._unsent_since > self._context.send_timeout_s
        if is_stuck or (self._sender is not None and not self._sender.is_on_time(now, unsent_bytes)):
            transport.abort()

    def _end_late(self, verdict: int) -> None:
        if verdict == http1.IDLE_TOO_LONG:
            self._close()
        elif verdict == http1.HEAD_TOO_SLOW:
            self._reject(problems.REQUEST_TIMEOUT)
        elif self._stream is None:
            self._reject_request(problems.REQUEST_TIMEOUT)
        else:
            self._http.close()
            self._stream.end(BodyTooSlow())


async def _discard(response: StreamedResponse) -> None:
    try:
        await response.chunks.aclose()
    except Exception as error:  # noqa: BLE001 - the response has no body anyway
        FAILURES.add("the end of a stream that is not sent", error)


def _peer_address(transport: asyncio.BaseTransport) -> str:
    """The address at the other end, empty where it has none."""
    name = transport.get_extra_info("peername")
    return str(name[0]) if isinstance(name, tuple) else ""
