"""A streamed response that several clients read while it arrives, and that is stored once it is complete."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Final

from gateway.http.chunks import Chunks

# How a recording ended: complete; longer than an entry may be; cut off, or without readers.
COMPLETE: Final = 1
TOO_LONG: Final = 2
BROKEN: Final = 3

# Bytes that a reader takes at once, and that are buffered of a stream that is not recorded any more.
PIECE_BYTES: Final = 32 * 1024
WINDOW_BYTES: Final = 64 * 1024
# A reader that takes nothing for this long, while others wait for the stream, is cut off.
STALL_S: Final = 5.0


class Truncated(Exception):
    """The body ended before its length."""


class ReaderStalled(Exception):
    """The client did not read while others waited."""


class RecordingBudget:
    """The memory of all recordings of a worker."""

    __slots__ = ("bytes", "max_bytes")

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0


class Recording:
    """One stream. `run` receives it to its end, at its own speed as long as it is recorded.

    A stream that grows over `max_bytes`, or over the budget, is passed on to its readers in a window, as fast as the
    slowest of them reads. `on_end` is called once: with `COMPLETE` and the body, with `TOO_LONG` at that moment, or with
    `BROKEN`.
    """

    def __init__(
        self,
        source: AsyncGenerator[bytes, None],
        *,
        length: int | None,
        max_bytes: int,
        budget: RecordingBudget,
        on_end: Callable[[int, bytes], None],
    ) -> None:
        self._source = source
        self.length = length
        self._max_bytes = max_bytes
        self._budget = budget
        self._on_end: Callable[[int, bytes], None] | None = on_end
        self._buffer = bytearray()
        # The stored body.
        self._whole: bytes | None = None
        # The position of the buffer's first byte in the stream.
        self._start = 0
        self._readers: list[Reader] = []
        self._is_done = False
        self._fault: Exception | None = None
        # It is recorded, and new readers may join.
        self.is_recording = True
        self._room: asyncio.Future[None] | None = None
        self._pump: asyncio.Task[None] | None = None

    # The stream

    async def run(self) -> None:
        """Receive the stream."""
        self._pump = asyncio.current_task()
        fault: Exception | None = None
        try:
            await self._receive()
        except asyncio.CancelledError:
            fault = Truncated("the stream was abandoned")
            raise
        except Exception as error:  # noqa: BLE001 - raised in every reader
            fault = error
        finally:
            self._finish(fault)
            self._pump = None
            await self._source.aclose()

    async def _receive(self) -> None:
        if not self._readers:
            raise Truncated("every reader has left")
        async for piece in self._source:
            self._add(piece)
            while not self.is_recording and len(self._buffer) > WINDOW_BYTES:
                await self._wait_for_room()
        if self.length is not None and self._end != self.length:
            raise Truncated(f"{self._end} of {self.length} bytes were received")

    @property
    def _end(self) -> int:
        return self._start + len(self._buffer)

    def _add(self, piece: bytes) -> None:
        self._buffer += piece
        if self.is_recording:
            self._budget.bytes += len(piece)
            if len(self._buffer) > self._max_bytes or self._budget.bytes > self._budget.max_bytes:
                self._stop_recording(TOO_LONG, b"")
                self._drop_read()
        for reader in self._readers:
            reader.wake()

    def _finish(self, fault: Exception | None) -> None:
        self._is_done = True
        self._fault = fault
        if self.is_recording:
            if fault is None:
                # What readers still have to read is then the same memory as the stored body.
                body = self._whole = bytes(self._buffer)
                self._stop_recording(COMPLETE, body)
                self._buffer.clear()
            else:
                self._stop_recording(BROKEN, b"")
        for reader in self._readers:
            reader.wake()

    def _stop_recording(self, outcome: int, body: bytes) -> None:
        self.is_recording = False
        self._budget.bytes -= len(self._buffer)
        # It is called once, and holds the request: kept, it would leave a circle to the garbage collector.
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end(outcome, body)

    # The window of a stream that is not recorded

    async def _wait_for_room(self) -> None:
        """Wait until the slowest reader reads, or is cut off."""
        loop = asyncio.get_running_loop()
        room = self._room = loop.create_future()
        timer = loop.call_later(STALL_S, self._cut_off_slowest)
        try:
            await room
        finally:
            timer.cancel()
            self._room = None

    def _cut_off_slowest(self) -> None:
        if any(reader.position == self._end for reader in self._readers):
            slowest = min([reader.position for reader in self._readers])
            for reader in [*self._readers]:
                if reader.position == slowest:
                    reader.fail(ReaderStalled("the client does not read, and others wait"))
                    self.leave(reader)
        self._make_room()

    def _drop_read(self) -> None:
        """Drop the bytes that all readers have read."""
        if self._readers and not self.is_recording and not self._is_done:
            slowest = min([reader.position for reader in self._readers])
            if slowest > self._start:
                del self._buffer[: slowest - self._start]
                self._start = slowest
                self._make_room()

    def _make_room(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    # Readers

    def reader(self) -> Reader:
        """A reader of the stream from its beginning; while `is_recording` only."""
        reader = Reader(self)
        self._readers.append(reader)
        return reader

    def read(self, reader: Reader) -> bytes:
        """The next bytes for a reader; empty if there are none yet. Raises `StopAsyncIteration` or a fault at the end."""
        at = reader.position - self._start
        if self._whole is not None and at < len(self._whole):
            piece = self._whole[at : at + PIECE_BYTES]
            reader.position += len(piece)
            return piece
        if at < len(self._buffer):
            with memoryview(self._buffer) as view:
                piece = bytes(view[at : at + PIECE_BYTES])
            reader.position += len(piece)
            self._drop_read()
            return piece
        if not self._is_done:
            return b""
        self.leave(reader)
        raise self._fault if self._fault is not None else StopAsyncIteration

    def leave(self, reader: Reader) -> None:
        """A reader has read everything, or wants no more. Without readers the stream is abandoned."""
        if reader not in self._readers:
            return
        self._readers.remove(reader)
        if self._readers:
            self._drop_read()
        elif not self._is_done and self._pump is not None:
            self._pump.cancel()


class Reader(Chunks):
    """One client's view of a recording: all its bytes, from the beginning. It must be closed, or read to its end."""

    __slots__ = ("_fault", "_recording", "_waiter", "position")

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._waiter: asyncio.Future[None] | None = None
        self._fault: Exception | None = None
        self.position = 0

    def wake(self) -> None:
        """There is more to read, or an end."""
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def fail(self, fault: Exception) -> None:
        """Cut this reader off."""
        self._fault = fault
        self.wake()

    async def asend(self, _value: None) -> bytes:
        """The next piece. Awaits futures only."""
        while True:
            if self._fault is not None:
                raise self._fault
            piece = self._recording.read(self)
            if piece:
                return piece
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    async def aclose(self) -> None:
        """This client reads no more."""
        self._recording.leave(self)


async def drain(chunks: AsyncGenerator[bytes, None]) -> None:
    """Read a body to its end, so that it is stored."""
    async for _ in chunks:
        pass
