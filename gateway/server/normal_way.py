"""aiohttp's normal way, for whatever the short path does not take; it ends in the same handlers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from aiohttp import web
from multidict import CIMultiDict

from gateway import problems
from gateway.edge.refusals import answer
from gateway.http import Request, Response, StreamedResponse
from gateway.server.wire import SERVER

if TYPE_CHECKING:
    from gateway.api.router import Endpoint, Router
    from gateway.server.wire import RequestIds


def normal_way(
    router: Router, ids: RequestIds, *, body_timeout_s: float, is_draining: Callable[[], bool]
) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
    """Make aiohttp's request handler of the same router."""

    async def serve(message: web.BaseRequest) -> web.StreamResponse:
        request_id = ids.of(message.headers)
        path, query = _target(message)
        endpoint, params = router.find(message.method, path)
        body = await _receive(message, endpoint, request_id, body_timeout_s)
        if isinstance(body, Response):
            # What is left of the body is not read: the connection ends with this answer.
            endpoint.count(body.status)
            refused = as_stream_response(body, request_id)
            refused.force_close()
            return refused
        request = Request(message.method, path, query, message.headers, body, request_id, params)
        try:
            response = await endpoint.handler(request)
        except (Exception, asyncio.CancelledError) as error:
            # Whatever it is, the shopper gets an answer.
            if _is_being_cancelled():
                raise
            response = answer(error, request)
        endpoint.count(response.status)
        answered = as_stream_response(response, request_id)
        if is_draining():
            answered.force_close()
        if isinstance(response, StreamedResponse):
            await _stream(message, answered, response, is_draining)
        return answered

    return serve


def _is_being_cancelled() -> bool:
    """Whether the task that runs is to end, and not only something that it waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def as_stream_response(response: Response, request_id: str) -> web.StreamResponse:
    """The same answer as one of aiohttp's."""
    headers: CIMultiDict[str] = CIMultiDict()
    headers["Server"] = SERVER
    headers["X-Request-Id"] = request_id
    for line in response.headers.decode("latin-1").split("\r\n")[:-1]:
        name, _, value = line.partition(": ")
        headers.add(name, value)
    if response.status not in {204, 304}:
        headers["Content-Type"] = response.content_type.decode()
    if isinstance(response, StreamedResponse):
        return web.StreamResponse(status=response.status, headers=headers)
    return web.Response(status=response.status, headers=headers, body=response.body or None)


def _target(message: web.BaseRequest) -> tuple[str, str]:
    """Path and query of the request target; of `GET http://host/path` (RFC 9112, 3.2.2) the part behind the host."""
    target = message.raw_path if message.raw_path[:1] == "/" else message.rel_url.raw_path_qs
    path, _, query = target.partition("?")
    return path, query


async def _receive(message: web.BaseRequest, endpoint: Endpoint, request_id: str, timeout_s: float) -> bytes | Response:
    """The whole body, or the answer to one that is too large, too slow, encoded, or expects what we do not do."""
    if not message.body_exists:
        return b""
    if "Content-Encoding" in message.headers:
        return problems.refuse(problems.UNSUPPORTED_MEDIA_TYPE, request_id)
    if (message.content_length or 0) > endpoint.body_limit:
        return problems.refuse(problems.BODY_TOO_LARGE, request_id)
    expected = message.headers.get("Expect")
    if expected is not None:
        if expected.lower() != "100-continue":
            return problems.refuse(problems.EXPECTATION_FAILED, request_id)
        if message.version >= (1, 1) and not message.content.is_eof():
            await message.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            # aiohttp refuses to answer with an error where something was sent; an interim response is nothing yet.
            message.writer.output_size = 0
    try:
        async with asyncio.timeout(timeout_s):
            return await _read(message, endpoint.body_limit)
    except TimeoutError:
        return problems.refuse(problems.REQUEST_TIMEOUT, request_id)
    except _TooLarge:
        return problems.refuse(problems.BODY_TOO_LARGE, request_id)
    except web.RequestPayloadError:
        return problems.refuse(problems.MALFORMED_REQUEST, request_id)


class _TooLarge(Exception):
    pass


async def _read(message: web.BaseRequest, limit: int) -> bytes:
    body = bytearray()
    while chunk := await message.content.readany():
        body += chunk
        if len(body) > limit:
            raise _TooLarge
    return bytes(body)


async def _stream(
    message: web.BaseRequest,
    answered: web.StreamResponse,
    response: StreamedResponse,
    is_draining: Callable[[], bool],
) -> None:
    await answered.prepare(message)
    if message.method == "HEAD":
        return
    async with contextlib.aclosing(response.chunks) as chunks:
        async for chunk in chunks:
            await answered.write(chunk)
            if is_draining():
                return  # the reader goes on from there with another worker
