"""The body of an answer that is passed on while it still comes, in bounded memory."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from types import TracebackType
from typing import Final, Protocol

# The upstream is not read from while more than the first is held, until it is less than the second. One read of the
# event loop may come on top.
HIGH_WATER: Final = 16 * 1024
LOW_WATER: Final = 8 * 1024


class Source(Protocol):
    """Where a body comes from."""

    def pause(self) -> None:
        """Read no more for now."""
        ...

    def resume(self) -> None:
        """Read on."""
        ...

    def abort(self) -> None:
        """Nobody wants the rest."""
        ...


class BodyStream(AsyncGenerator[bytes, None]):
    """The pieces of a body; raises the `UpstreamFault` with which it was cut off.

    A class and not a generator function: `aclose` must free the upstream's connection even where nobody has begun to
    read. It must be called, or the body read to its end.
    """

    __slots__ = ("_fault", "_held", "_is_done", "_is_paused", "_pieces", "_source", "_waiter")

    def __init__(self, source: Source) -> None:
        self._source = source
        self._pieces: deque[bytes] = deque()
        self._held = 0
        self._is_done = False
        self._is_paused = False
        self._fault: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def held(self) -> int:
        """Bytes that have come and were not taken yet."""
        return self._held

    @property
    def is_paused(self) -> bool:
        """Whether the upstream has to wait for the reader."""
        return self._is_paused

    # From the upstream

    def feed(self, piece: bytes) -> None:
        """A piece has come."""
        self._pieces.append(piece)
        self._held += len(piece)
        self._wake()
        if self._held > HIGH_WATER and not self._is_paused:
            self._is_paused = True
            self._source.pause()

    def end(self, fault: Exception | None = None) -> None:
        """No more will come: that was all, or it was cut off."""
        if not self._is_done:
            self._is_done = True
            self._is_paused = False
            self._fault = fault
            self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # To the shopper

    async def asend(self, _value: None) -> bytes:
        """The next piece. Waits for a plain future only."""
        while not self._pieces:
            if self._is_done:
                fault, self._fault = self._fault, None
                raise fault if fault is not None else StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        piece = self._pieces.popleft()
        self._held -= len(piece)
        if self._is_paused and self._held < LOW_WATER:
            self._is_paused = False
            self._source.resume()
        return piece

    async def athrow(
        self,
        typ: type[BaseException] | BaseException,
        val: BaseException | object = None,
        tb: TracebackType | None = None,
    ) -> bytes:
        """End it with an error, as a generator that does not catch it would."""
        await self.aclose()
        return await super().athrow(typ, val, tb)  # type: ignore[arg-type]

    async def aclose(self) -> None:
        """Drop what has come and was not taken, and the connection if more was to come."""
        self._pieces.clear()
        self._held = 0
        self._fault = None
        if not self._is_done:
            self._is_done = True
            self._source.abort()
        self._wake()
