"""The body of a response that is passed on while it arrives, in bounded memory."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, Protocol

from gateway.http.chunks import Chunks

# Reading from the upstream pauses above the first, and resumes below the second. One read of the event loop may exceed
# the first.
HIGH_WATER: Final = 16 * 1024
LOW_WATER: Final = 8 * 1024


class Source(Protocol):
    """The connection that a body arrives on."""

    def pause(self) -> None:
        """Pause reading."""
        ...

    def resume(self) -> None:
        """Resume reading."""
        ...

    def abort(self) -> None:
        """The rest is not wanted."""
        ...


class BodyStream(Chunks):
    """The pieces of a body; raises the `UpstreamFault` that truncated it.

    It must be closed, or read to its end: it holds the upstream's connection.
    """

    __slots__ = ("_buffered_bytes", "_fault", "_is_done", "_is_paused", "_pieces", "_source", "_waiter")

    def __init__(self, source: Source) -> None:
        self._source = source
        self._pieces: deque[bytes] = deque()
        self._buffered_bytes = 0
        self._is_done = False
        self._is_paused = False
        self._fault: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def buffered_bytes(self) -> int:
        """Bytes received and not read yet."""
        return self._buffered_bytes

    @property
    def is_paused(self) -> bool:
        """Whether the upstream waits for the reader."""
        return self._is_paused

    # From the upstream

    def feed(self, piece: bytes) -> None:
        """Add a piece."""
        self._pieces.append(piece)
        self._buffered_bytes += len(piece)
        self._wake()
        if self._buffered_bytes > HIGH_WATER and not self._is_paused:
            self._is_paused = True
            self._source.pause()

    def end(self, fault: Exception | None = None) -> None:
        """The body is complete, or truncated by a fault."""
        if not self._is_done:
            self._is_done = True
            self._is_paused = False
            self._fault = fault
            self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # To the client

    async def asend(self, _value: None) -> bytes:
        """The next piece. Awaits futures only."""
        while not self._pieces:
            if self._is_done:
                fault, self._fault = self._fault, None
                raise fault if fault is not None else StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        piece = self._pieces.popleft()
        self._buffered_bytes -= len(piece)
        if self._is_paused and self._buffered_bytes < LOW_WATER:
            self._is_paused = False
            self._source.resume()
        return piece

    async def aclose(self) -> None:
        """Drop the pieces that were not read, and the connection unless the body is complete."""
        self._pieces.clear()
        self._buffered_bytes = 0
        self._fault = None
        if not self._is_done:
            self._is_done = True
            self._source.abort()
        self._wake()
