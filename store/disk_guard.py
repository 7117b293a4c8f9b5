"""Keeps the embedded server up when its disk is full.

A server that flushes its append-only file before each reply ends when a write to that file fails. So before the disk is
full the server is made read-only: it has no memory for new keys. Reads go on, and so do writes that finish accepted work: they
use the reserve of the disk. If that is not enough, the server ends, and is started again so that it survives such a failure: it
flushes each second then. A running one is never changed to that: after a rewrite Valkey does not append to its file, and what
it writes after a part of a failed write would leave a hole there, with which the file cannot be read.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

# The limit in bytes that tells a server which is read-only for its disk from one whose memory is full.
READ_ONLY_MAXMEMORY: Final = 1
# The disk space that is held back, at most this share of it.
RESERVE_BYTES: Final = 32 * 2**20
RESERVE_SHARE: Final = 1 / 16
# A server that ended by a failed write is read-only for so long at least: the file system may not show the reason. Twice as
# long after each that ends soon again.
READ_ONLY_S: Final = 2.0
MAX_READ_ONLY_S: Final = 60.0
_TRIAL: Final = "disk-trial"
_TRIAL_BYTES: Final = 2**20
# Of the server's log, where a write to its append-only file has ended it.
_FATAL: Final = ("AOF write error", "writing to the AOF file", "fsync the AOF file")

_REWRITE: Final = "auto-aof-rewrite-percentage"
_STARTED_READ_ONLY: Final = {"appendfsync": "everysec", "maxmemory": str(READ_ONLY_MAXMEMORY), _REWRITE: "0"}
_WRITABLE: Final = {"appendfsync": "always", _REWRITE: "100"}

Space = tuple[int, int]
# Sends a command to the server; returns its reply as it was received, None without one.
Send = Callable[[str], bytes | None]


def space_of(folder: Path) -> Space:
    """The free bytes and all bytes of the disk of a folder; none of either where they are unknown, which changes nothing."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return 0, 0
    return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize


class DiskGuard:
    """Makes the server of a data directory read-only while its disk is nearly full. `check` must be called often."""

    def __init__(
        self,
        folder: Path,
        send: Send,
        *,
        space: Callable[[Path], Space] = space_of,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._send = send
        self._space = space
        self._clock = clock
        self.is_read_only = False
        # Since when it is so, and for how long at least.
        self._since = clock()
        self._read_only_s = READ_ONLY_S / 2
        # The limit that the server had before.
        self._maxmemory = 0

    @property
    def options(self) -> Mapping[str, str]:
        """The options of a server that is started now."""
        return _STARTED_READ_ONLY if self.is_read_only else {}

    def server_ended(self, log: str) -> bool:
        """The server has ended, with this end of its log; says whether its disk was the reason."""
        if any(sign in log for sign in _FATAL):
            was_writable_s = 0.0 if self.is_read_only else self._clock() - self._since
            longer_s = READ_ONLY_S if was_writable_s > MAX_READ_ONLY_S else 2 * self._read_only_s
            self._read_only_s = min(longer_s, MAX_READ_ONLY_S)
            self.is_read_only, self._since, self._maxmemory = True, self._clock(), 0
            return True
        # The next one is writable, unless the disk is full.
        self.is_read_only = self.is_read_only and not self._has_room()
        return False

    def check(self) -> None:
        """Make the server read-only, or writable, if the space requires it."""
        if not self.is_read_only:
            if self._is_nearly_full():
                self._protect()
        elif self._clock() - self._since >= self._read_only_s and self._has_room():
            self._release()

    def _protect(self) -> None:
        maxmemory = _value(self._send("CONFIG GET maxmemory"))
        if maxmemory is None or not self._configure({"maxmemory": str(READ_ONLY_MAXMEMORY)}):
            return
        self.is_read_only, self._since, self._maxmemory = True, self._clock(), maxmemory

    def _release(self) -> None:
        if self._configure({**_WRITABLE, "maxmemory": str(self._maxmemory)}):
            self.is_read_only, self._since = False, self._clock()

    def _configure(self, options: Mapping[str, str]) -> bool:
        pairs = " ".join(f"{name} {value}" for name, value in options.items())
        # Both at once: no write is accepted that is flushed later only.
        return self._send(f"CONFIG SET {pairs}") == b"+OK\r\n"

    def _is_nearly_full(self) -> bool:
        free, size = self._space(self._folder)
        return free < _reserve(size)

    def _has_room(self) -> bool:
        """Whether there is so much room again that it lasts, and it can be used: a quota does not show in the space."""
        free, size = self._space(self._folder)
        return free >= 2 * _reserve(size) and self._can_write(min(_TRIAL_BYTES, _reserve(size)))

    def _can_write(self, size: int) -> bool:
        path = self._folder / _TRIAL
        try:
            with path.open("wb") as file:
                file.write(bytes(size))
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            return False
        finally:
            with contextlib.suppress(OSError):
                path.unlink()
        return True


def _reserve(size: int) -> int:
    return min(RESERVE_BYTES, int(size * RESERVE_SHARE))


def _value(reply: bytes | None) -> int | None:
    """The number in the reply to CONFIG GET: an array of a name and a value."""
    lines = reply.split(b"\r\n") if reply else []
    return int(lines[4]) if len(lines) > 4 and lines[4].isdigit() else None
