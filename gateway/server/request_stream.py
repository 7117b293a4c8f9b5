"""A request body that is handed to its handler as it arrives, with back-pressure."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

# More than this on the wire, framing included, that the handler has not read stops the reading from the client.
MAX_UNREAD_BYTES: Final = 16 * 1024


class StreamSource(Protocol):
    """The connection that receives the body."""

    def body_awaited(self, is_awaited: bool) -> None:
        """The handler begins or ends to wait for the client; all received before has been read."""
        ...


class RequestStream:
    """The pieces of a body. Iterating raises the error that ended the body, after the pieces before it."""

    __slots__ = ("_error", "_is_complete", "_loop", "_pieces", "_size", "_source", "_waiter")

    def __init__(self, source: StreamSource, loop: asyncio.AbstractEventLoop) -> None:
        self._source = source
        self._loop = loop
        self._pieces: list[bytes] = []
        self._size = 0
        self._is_complete = False
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def is_full(self) -> bool:
        """Whether the client has to wait for the handler."""
        return self._size > MAX_UNREAD_BYTES

    # From the connection

    def feed(self, data: bytes, wire_bytes: int) -> None:
        """A piece has arrived, in so many bytes on the wire."""
        self._pieces.append(data)
        self._size += wire_bytes
        self._wake()

    def end(self, error: Exception | None = None) -> None:
        """The body is complete, or will not be because of `error`."""
        self._is_complete = True
        self._error = error
        self._wake()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # For the handler

    def __aiter__(self) -> RequestStream:
        return self

    async def __anext__(self) -> bytes:
        while not self._pieces:
            if self._error is not None:
                raise self._error
            if self._is_complete:
                raise StopAsyncIteration
            await self._wait()
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self._size = 0
        return data

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        self._source.body_awaited(True)
        try:
            await self._waiter
        finally:
            self._waiter = None
            self._source.body_awaited(False)
