"""aiohttp's normal way, for whatever the short path does not take; it ends in the same handlers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from time import monotonic
from typing import TYPE_CHECKING, Final, cast

from aiohttp import web
from aiohttp.streams import StreamReader
from multidict import CIMultiDict

from gateway.http import problems
from gateway.http.error_responses import answer
from gateway.http.message import BodyMalformed, BodyTooLarge, BodyTooSlow, Request, Response, StreamedResponse, resolve
from gateway.server.request_check import has_two_readings
from gateway.server.response_writer import SERVER, peer_address

if TYPE_CHECKING:
    from gateway.http.endpoint import Endpoint
    from gateway.server.edge_server import EdgeServer
    from gateway.server.response_writer import ResponseWriter

_log = logging.getLogger("peakgate")

_AMBIGUOUS: Final = b'"type":"/problems/%b"' % problems.AMBIGUOUS.slug.encode()
# A longer answer is handed to the transport piece by piece, as the shopper reads.
PIECE_BYTES: Final = 32 * 1024
# What a body must bring on average, after `_Patience.most_s`. 2G does ten times as much.
LEAST_BYTES_PER_S: Final = 1024
# More of a body than this is held only for senders who are fast.
SLOW_BODY_MOST: Final = 64 * 1024
LARGE_LEAST_BYTES_PER_S: Final = 32 * 1024


def normal_way(
    edge: EdgeServer, *, body_timeout_s: float
) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
    """Make aiohttp's request handler of the same server."""

    async def serve(message: web.BaseRequest) -> web.StreamResponse:
        path, query = _target(message)
        endpoint, params = edge.router.find(message.method, path)
        request = Request(
            *(message.method, path, query, message.headers, b"", edge.ids.of(message.headers), params),
            *(peer_address(message.transport), monotonic()),
        )
        refusal = await _receive(message, endpoint, request, body_timeout_s)
        if refusal is not None:
            # What is left of the body is not read: the connection ends with this answer.
            edge.record(endpoint, request, refusal)
            refused = as_stream_response(refusal, request, edge.writer)
            refused.force_close()
            return refused
        try:
            response = await resolve(endpoint.handler(request))
        except (Exception, asyncio.CancelledError) as error:
            # Whatever it is, the shopper gets an answer.
            if _is_being_cancelled():
                raise
            response = answer(error, request)
        edge.record(endpoint, request, response)
        if len(response.body) > PIECE_BYTES and request.method != "HEAD":
            response = in_pieces(response)
        answered = as_stream_response(response, request, edge.writer)
        if edge.is_draining or is_ambiguous(response) or _is_left_over(message, request):
            answered.force_close()
        if isinstance(response, StreamedResponse):
            await _stream(message, answered, response, edge)
        return answered

    return serve


def _is_being_cancelled() -> bool:
    """Whether the task that runs is to end, and not only something that it waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def as_stream_response(response: Response, request: Request, writer: ResponseWriter) -> web.StreamResponse:
    """The same answer as one of aiohttp's."""
    headers: CIMultiDict[str] = CIMultiDict()
    headers["Server"] = SERVER
    headers["X-Request-Id"] = request.id
    for line in (writer.extra + response.header_block + request.extra_headers).decode("latin-1").split("\r\n")[:-1]:
        name, _, value = line.partition(": ")
        headers.add(name, value)
    if response.status not in {204, 304}:
        headers["Content-Type"] = response.content_type.decode()
    if isinstance(response, StreamedResponse):
        streamed = web.StreamResponse(status=response.status, headers=headers)
        streamed.content_length = response.length
        return streamed
    return web.Response(status=response.status, headers=headers, body=response.body or None)


def _is_left_over(message: web.BaseRequest, request: Request) -> bool:
    """Whether a streamed body was not taken to its end: what follows it on the connection has no sure beginning."""
    return request.stream is not None and (not message.content.at_eof() or message.content.exception() is not None)


def is_ambiguous(response: Response) -> bool:
    """Whether a request is refused behind the server because it has two readings: then nothing more is read of its sender."""
    return response.status == 400 and _AMBIGUOUS in response.body


def in_pieces(response: Response) -> StreamedResponse:
    """The same answer for a shopper who may read slowly: what the transport holds of it is a piece, and no copy."""
    return StreamedResponse(
        response.status,
        _slices(response.body),
        header_block=response.header_block,
        content_type=response.content_type,
        length=len(response.body),
    )


async def _slices(body: bytes) -> AsyncGenerator[bytes, None]:
    whole = memoryview(body)
    for start in range(0, len(body), PIECE_BYTES):
        # Whoever sends bytes sends these as well, and they are no copy.
        yield cast("bytes", whole[start : start + PIECE_BYTES])


def _target(message: web.BaseRequest) -> tuple[str, str]:
    """Path and query of the request target; of `GET http://host/path` (RFC 9112, 3.2.2) the part behind the host."""
    target = message.raw_path if message.raw_path[:1] == "/" else message.rel_url.raw_path_qs
    path, _, query = target.partition("?")
    return path, query


async def _receive(message: web.BaseRequest, endpoint: Endpoint, request: Request, timeout_s: float) -> Response | None:
    """Give the request its body; or the answer to one that is ambiguous, too large, too slow, encoded, or expects what we do not do."""
    if has_two_readings(message.method, message.raw_path, message.version, message.headers):
        return problems.response(problems.AMBIGUOUS, request.id)
    if not message.body_exists:
        return None
    if not endpoint.streams and "Content-Encoding" in message.headers:
        return problems.response(problems.UNSUPPORTED_MEDIA_TYPE, request.id)
    if (message.content_length or 0) > endpoint.body_limit:
        return problems.response(problems.BODY_TOO_LARGE, request.id)
    expected = message.headers.get("Expect")
    if expected is not None:
        if expected.lower() != "100-continue":
            return problems.response(problems.EXPECTATION_FAILED, request.id)
        if message.version >= (1, 1) and not message.content.is_eof():
            await message.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            # aiohttp refuses to answer with an error where something was sent; an interim response is nothing yet.
            message.writer.output_size = 0
    if endpoint.streams:
        request.stream = _pieces(message, endpoint.body_limit, timeout_s)
        return None
    try:
        async with asyncio.timeout(timeout_s):
            request.body = await _read(message, endpoint.body_limit, timeout_s)
    except (TimeoutError, BodyTooSlow):
        return problems.response(problems.REQUEST_TIMEOUT, request.id)
    except BodyTooLarge:
        return problems.response(problems.BODY_TOO_LARGE, request.id)
    except (web.RequestPayloadError, BodyMalformed):
        return problems.response(problems.MALFORMED_REQUEST, request.id)
    return None


class _Patience:
    """How long the next piece of a body is waited for: waiting spends it, what comes earns it back, never above `most_s`.

    A limit for each piece alone would let a byte now and then keep a connection for ever; one for the whole body would
    refuse what is only large. Our own slowness, or an upstream's, spends nothing.
    """

    def __init__(self, most_s: float, bytes_per_s: float) -> None:
        self._most_s = self._left_s = most_s
        self._bytes_per_s = bytes_per_s

    async def next_of(self, body: StreamReader) -> bytes:
        """The next piece, empty at the end. Raises `BodyTooSlow` or `BodyMalformed`."""
        begun_at = monotonic()
        try:
            async with asyncio.timeout(self._left_s):
                piece = await body.readany()
        except TimeoutError:
            raise BodyTooSlow from None
        except web.RequestPayloadError:
            raise BodyMalformed from None
        spent_s = monotonic() - begun_at
        self._left_s = min(self._most_s, self._left_s - spent_s + len(piece) / self._bytes_per_s)
        return piece


async def _pieces(message: web.BaseRequest, limit: int, timeout_s: float) -> AsyncIterator[bytes]:
    """The body as it comes, if not too slowly. Raises what `answer` knows."""
    patience = _Patience(timeout_s, LEAST_BYTES_PER_S)
    received = 0
    while chunk := await patience.next_of(message.content):
        received += len(chunk)
        if received > limit:
            raise BodyTooLarge
        yield chunk


async def _read(message: web.BaseRequest, limit: int, timeout_s: float) -> bytes:
    body = bytearray()
    patience = _Patience(timeout_s, LEAST_BYTES_PER_S)
    while chunk := await patience.next_of(message.content):
        is_crossing = len(body) <= SLOW_BODY_MOST < len(body) + len(chunk)
        body += chunk
        # While the next one is waited for it would be held a second time.
        del chunk
        if len(body) > limit:
            raise BodyTooLarge
        if is_crossing:
            patience = _Patience(timeout_s / 5, LARGE_LEAST_BYTES_PER_S)
    return bytes(body)


async def _stream(
    message: web.BaseRequest, answered: web.StreamResponse, response: StreamedResponse, edge: EdgeServer
) -> None:
    await answered.prepare(message)
    async with contextlib.aclosing(response.chunks) as chunks:
        if message.method == "HEAD":
            return
        try:
            async for chunk in chunks:
                await answered.write(chunk)
                # The write above waits only where 64 KiB lie unread.
                await message.writer.drain()
                if edge.is_draining and response.is_resumable:
                    return  # the reader goes on from there with another worker
        except Exception as error:
            if isinstance(error, ConnectionError) and message.transport is None:
                raise  # the shopper has hung up
            _log.error("an answer was cut off (request %s): %r", answered.headers["X-Request-Id"], error)
            if message.transport is not None:
                # Half an answer must not pass for a whole one.
                message.transport.abort()
            raise ConnectionResetError("the answer was cut off") from error
