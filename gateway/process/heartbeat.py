"""Heartbeats: each process shows its supervisor that its event loop turns.

A timer of the loop counts in memory that both share, which costs no system call and which a process cannot block. The
supervisor adds up the time without a beat, but only time during which it ran itself: after a suspended machine or a stop
of the whole process group no process looks as if it hung.
"""

from __future__ import annotations

import asyncio
import mmap
import struct
from collections.abc import Callable
from typing import Final

BEAT_S: Final = 0.5
# The most that one round of the supervisor adds to a silence. Its rounds are at most half as far apart while it runs.
MAX_ROUND_S: Final = 1.0
_COUNT: Final = struct.Struct("Q")


class Heartbeat:
    """A counter of beats, shared by the processes that are forked after it is made."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _COUNT.size)

    def beat(self) -> None:
        """In the child: count one beat."""
        _COUNT.pack_into(self._memory, 0, self.count + 1)

    @property
    def count(self) -> int:
        """The beats so far."""
        return int(_COUNT.unpack_from(self._memory)[0])

    def close(self) -> None:
        """Free the memory."""
        self._memory.close()


class Silence:
    """How long a child has not beaten. It begins with the first beat, because a start may take long."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._count = 0

    def observe(self, count: int, elapsed_s: float) -> float:
        """Add a round of the supervisor, `elapsed_s` after the last; returns the silence in seconds."""
        if count != self._count:
            self._count, self.seconds = count, 0.0
        elif count:
            self.seconds += min(elapsed_s, MAX_ROUND_S)
        return self.seconds


def start_heartbeat(beat: Callable[[], None]) -> None:
    """Beat while the running loop turns."""
    loop = asyncio.get_running_loop()

    def tick() -> None:
        beat()
        loop.call_later(BEAT_S, tick)

    tick()
