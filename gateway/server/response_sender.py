"""Send one long or streamed response piece by piece, no faster than its client reads: the transport holds one piece of it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any, Final

from gateway.http.message import Request, Response, StreamedResponse
from gateway.server.context import ServerContext
from gateway.server.pace import Pace
from gateway.server.response_writer import CLOSE

_log = logging.getLogger("peakgate")

# A longer body is not given to the transport at once.
PIECE_BYTES: Final = 32 * 1024
# How fast it must be read on average, after a pause of the send timeout.
_MIN_BYTES_PER_S: Final = 1024
_LAST_CHUNK: Final = b"0\r\n\r\n"


class ResponseSender:
    """One response. `connection_field` is its Connection field: `CLOSE` if it is the last one of its connection.

    `pause` and `resume` follow the client's reading; `cancel` is for a client that has closed.
    """

    __slots__ = (
        "_context",
        "_is_http11",
        "_is_paused",
        "_pace",
        "_request",
        "_response",
        "_task",
        "_transport",
        "_waiter",
        "_written_bytes",
        "connection_field",
        "is_abandoned",
        "is_complete",
    )

    def __init__(  # noqa: PLR0917 - positional, as connections make it
        self,
        context: ServerContext,
        transport: asyncio.Transport | None,
        response: Response,
        request: Request,
        connection_field: bytes,
        is_http11: bool,
        is_paused: bool,
    ) -> None:
        self._context = context
        self._transport = transport
        self._response = response
        self._request = request
        self.connection_field = connection_field
        self._is_http11 = is_http11
        self._is_paused = is_paused
        # Whether the client has closed, and whether all of the response was given to the transport.
        self.is_abandoned = transport is None
        self.is_complete = False
        # Given to the transport so far, and the pace at which the client must read it.
        self._written_bytes = 0
        self._pace = Pace(_MIN_BYTES_PER_S, context.send_timeout_s)
        self._pace.begin(context.loop.time(), 0, is_awaited=False)
        self._waiter: asyncio.Future[None] | None = None
        self._task: asyncio.Task[Any] | None = None

    def pause(self) -> None:
        """The client does not read."""
        self._is_paused = True

    def resume(self) -> None:
        """The client reads again."""
        self._is_paused = False
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def cancel(self) -> None:
        """The client has closed."""
        self._transport = None
        self.is_abandoned = True
        if self._task is not None:
            self._task.cancel()

    def is_on_time(self, now: float, unsent_bytes: int) -> bool:
        """Whether the client reads fast enough, with so many bytes left unread: it may hold a connection to an upstream."""
        return self._pace.is_kept(now, self._written_bytes - unsent_bytes, is_awaited=self._is_paused)

    async def send(self) -> None:
        """Send the response; an incomplete one is cut off, so that it does not pass for a complete one."""
        # Not before: a task that is cancelled before it runs would not close the chunks.
        self._task = asyncio.current_task()
        response = self._response
        try:
            if isinstance(response, StreamedResponse):
                await self._send_stream(response)
            else:
                await self._send_body(response)
        except ConnectionResetError:
            if not self.is_abandoned:
                raise
        finally:
            self._task = None

    async def _send_body(self, response: Response) -> None:
        body = memoryview(response.body)
        await self._write(self._head(length=len(body), is_chunked=False))
        for start in range(0, len(body), PIECE_BYTES):
            await self._write(body[start : start + PIECE_BYTES])
        self.is_complete = True

    async def _send_stream(self, response: StreamedResponse) -> None:
        try:
            async with contextlib.aclosing(response.chunks):
                if self._transport is not None:
                    await self._send_chunks(response)
        except Exception as error:  # noqa: BLE001 - any error of a handler
            if self._transport is not None:
                _log.error("a response was cut off (request %s): %r", self._request.id, error)
                self._transport.abort()

    async def _send_chunks(self, response: StreamedResponse) -> None:
        is_chunked = response.length is None and self._is_http11
        if response.length is None and not is_chunked:
            self.connection_field = CLOSE
        await self._write(self._head(length=response.length, is_chunked=is_chunked))
        if self._request.method == "HEAD":
            self.is_complete = True
            return
        left = response.length
        async for chunk in response.chunks:
            if chunk:
                if left is not None:
                    left -= len(chunk)
                    self.is_complete = left == 0
                await self._write(b"%x\r\n%b\r\n" % (len(chunk), chunk) if is_chunked else chunk)
            if self._context.is_draining and response.is_resumable:
                self.connection_field = CLOSE  # the client goes on from there with another worker
                break
        self.is_complete = True
        if is_chunked:
            await self._write(_LAST_CHUNK)

    def _head(self, *, length: int | None, is_chunked: bool) -> bytes:
        if self._context.is_draining:
            self.connection_field = CLOSE
        return self._context.writer.render_head(
            self._response, self._request, length=length, connection=self.connection_field, is_chunked=is_chunked
        )

    async def _write(self, data: bytes | memoryview) -> None:
        """Give data to the transport, and wait while the client does not read. Raises `ConnectionResetError`."""
        transport = self._transport
        if transport is None or transport.is_closing():
            # A closing transport drops what it is given, and does not pause the writer.
            self._transport, self.is_abandoned = None, True
            raise ConnectionResetError("the client has closed the connection")
        transport.write(data)
        self._written_bytes += len(data)
        if self._is_paused:
            self._waiter = self._context.loop.create_future()
            await self._waiter
