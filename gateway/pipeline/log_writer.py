"""Write the lines of a log in batches, by a thread, without holding up the event loop."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Final

_FLUSH_S: Final = 0.2
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
        self._writing = self._loop.run_in_executor(None, _write_all, self._file, b"".join(batch))
        self._writing.add_done_callback(lambda done: self._on_written(done, len(batch)))

    def _on_written(self, done: asyncio.Future[None], lines: int) -> None:
        self._writing = None
        if done.cancelled() or done.exception() is not None:
            self.dropped += lines
        else:
            self.written += lines

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


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
