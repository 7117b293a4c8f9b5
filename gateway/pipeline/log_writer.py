"""Write the lines of a log in batches, by a thread, without holding up the event loop."""

from __future__ import annotations

import asyncio
import os
import select
import stat
import sys
from collections.abc import Iterator, Sequence
from typing import Final

from gateway.http.contained import FAILURES

_FLUSH_S: Final = 0.2
# Writes to a pipe are not mixed with those of other processes up to this length (PIPE_BUF).
ATOMIC_BYTES: Final = 4096
# Lines beyond this are dropped while the reader is slow: the log must not fill the memory of a worker.
_MAX_BYTES: Final = 4 * 1024 * 1024


class LogWriter:
    """Appends lines to `file`; `-` is standard output. `close` writes the rest. Raises `OSError` for a bad file."""

    def __init__(self, file: str) -> None:
        self.written = 0
        self.dropped = 0
        self._loop = asyncio.get_running_loop()
        self._lines: list[bytes] = []
        self._bytes = 0
        self._flusher: asyncio.TimerHandle | None = None
        self._writing: asyncio.Future[None] | None = None
        self._file = (
            os.dup(sys.stdout.fileno()) if file == "-" else os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        )
        self._is_regular = stat.S_ISREG(os.fstat(self._file).st_mode)
        # Whether the last line was written in part.
        self._is_torn = False

    def write(self, line: bytes) -> None:
        """Append one line, which ends with a line feed, soon; or drop it."""
        if self._bytes + len(line) > _MAX_BYTES:
            self.dropped += 1
            return
        self._lines.append(line)
        self._bytes += len(line)
        if self._flusher is None:
            self._flusher = self._loop.call_later(_FLUSH_S, self._flush)

    def _flush(self) -> None:
        self._flusher = None
        if not self._lines:
            return
        if self._writing is not None:  # a slow reader: later
            self._flusher = self._loop.call_later(_FLUSH_S, self._flush)
            return
        batch, self._lines, self._bytes = self._lines, [], 0
        try:
            self._writing = self._loop.run_in_executor(None, self._write_all, batch)
        except RuntimeError as error:  # the process ends
            self._on_failed(error, len(batch))
            return
        self._writing.add_done_callback(lambda done: self._on_written(done, len(batch)))

    def _on_written(self, done: asyncio.Future[None], lines: int) -> None:
        self._writing = None
        error = None if done.cancelled() else done.exception()
        if error is not None:
            self._on_failed(error, lines)
        elif done.cancelled():
            self.dropped += lines
        else:
            self.written += lines

    def _on_failed(self, error: BaseException, lines: int) -> None:
        """Such as on a full disk."""
        self.dropped += lines
        FAILURES.add("writing the access log", error)

    async def close(self) -> None:
        """Write the rest of the lines and close the file."""
        if self._flusher is not None:
            self._flusher.cancel()
        while self._writing is not None or self._lines:
            if self._writing is None:
                self._flush()
            if self._writing is not None:
                await asyncio.wait([self._writing])
        os.close(self._file)

    def _write_all(self, lines: Sequence[bytes]) -> None:
        """In a thread: write the lines, to a pipe in pieces that no other process can break up."""
        for piece in [b"".join(lines)] if self._is_regular else _pieces(lines):
            view = memoryview(b"\n" + piece if self._is_torn else piece)
            while view:
                try:
                    written = os.write(self._file, view)
                except BlockingIOError:  # whoever has opened the pipe does not let it block
                    select.select((), (self._file,), ())
                    continue
                view = view[written:]
                # If the rest cannot be written, the next line must not continue this one.
                self._is_torn = bool(view)


def _pieces(lines: Sequence[bytes]) -> Iterator[bytes]:
    """Whole lines, joined up to the length that a pipe takes in one piece."""
    piece: list[bytes] = []
    size = 0
    for line in lines:
        if size + len(line) > ATOMIC_BYTES and piece:
            yield b"".join(piece)
            piece, size = [], 0
        piece.append(line)
        size += len(line)
    if piece:
        yield b"".join(piece)
