"""`peakgate`, whose wall clock is stepped in one of its processes at a time. Run it as a program."""

from __future__ import annotations

import mmap
import os
import struct
import sys
import time
from pathlib import Path
from typing import Final

FILE_VARIABLE: Final = "CHAOS_CLOCK_FILE"
_STEP: Final = struct.Struct("<qq")  # the process, and by how many seconds its clock is ahead


class SteppedClock:
    """Whose clock is wrong, and by how much: in a file that all processes share."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_bytes(_STEP.pack(0, 0))

    def step(self, pid: int, by_s: int) -> None:
        """Set the clock of this process, and of no other, ahead by so many seconds, or back."""
        with self.path.open("r+b") as file:
            file.write(_STEP.pack(pid, by_s))

    def mend(self) -> None:
        """All clocks agree again."""
        self.step(0, 0)


def install(path: Path) -> None:
    """Let `time` tell the stepped time; a forked process inherits it. Call it before anything keeps the functions of `time`."""
    with path.open("rb") as file:
        shared = mmap.mmap(file.fileno(), _STEP.size, prot=mmap.PROT_READ)
    right_ns = time.time_ns

    def stepped_ns() -> int:
        pid, by_s = _STEP.unpack(shared[:])
        return right_ns() + (by_s * 10**9 if pid == os.getpid() else 0)

    time.time_ns = stepped_ns
    time.time = lambda: stepped_ns() / 1e9


if __name__ == "__main__":
    install(Path(os.environ[FILE_VARIABLE]))
    from gateway.__main__ import main

    sys.exit(main())
