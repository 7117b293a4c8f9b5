"""A child of the supervisor: its fork, its life as the supervisor sees it, and its end."""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final, Literal, NoReturn

from gateway.process.heartbeat import Heartbeat, Silence
from primitives.exits import exit_text
from store.embedded import die_with_parent

_log = logging.getLogger("peakgate")

# To a worker: be not ready from now on.
UNREADY_SIGNAL: Final = signal.SIGUSR2
# Has a child write the stack of each thread for its supervisor. Handled in C, so that it works while the loop hangs.
DUMP_SIGNAL: Final = signal.SIGUSR1
# Processes are named with this prefix in `ps` and `top`.
_PROCESS_PREFIX: Final = "peakgate-"
_LONGEST_DUMP: Final = 16_384


class Reports:
    """The reports of a child to its supervisor."""

    def __init__(self, ready_pipe: int, heartbeat: Heartbeat) -> None:
        self._ready_pipe = ready_pipe
        self._heartbeat = heartbeat

    def ready(self) -> None:
        """It serves from now on."""
        os.write(self._ready_pipe, b".")
        os.close(self._ready_pipe)

    def beat(self) -> None:
        """Its event loop turns. From the first beat on the supervisor replaces it if the next ones stay away."""
        self._heartbeat.beat()


# Serves the socket until SIGTERM: (listener, name of the child, its reports).
ChildMain = Callable[[socket.socket | None, str, Reports], None]


@dataclass(frozen=True, slots=True)
class Service:
    """The work of one child. Its socket stays open while processes that serve it come and go."""

    name: str
    listener: socket.socket | None
    main: ChildMain
    # SIGUSR1 replaces it without a gap by a process of another name; both run for a moment.
    rolls: bool = True
    # SIGHUP is forwarded to it once it is ready; the others ignore it.
    reloads_on_hup: bool = False

    @property
    def title(self) -> str:
        """Its name in log lines."""
        return f"worker {self.name}" if self.rolls else f"the {self.name} process"


@dataclass(slots=True)
class Child:
    """A running child, as its supervisor sees it."""

    name: str
    pid: int
    started_at: float
    started_at_wall: float
    ready_pipe: int
    heartbeat: Heartbeat
    # Where it writes its stacks; None if there is no such file.
    dump: IO[bytes] | None
    silence: Silence = field(default_factory=Silence)
    is_ready: bool = False
    is_leaving: bool = False
    is_stopping: bool = False
    # Whether its stacks were requested, because it hangs, and whether it was killed for that.
    is_dumping: bool = False
    is_killed: bool = False

    @property
    def state(self) -> Literal["starting", "ready", "stopping"]:
        """Its state for operators."""
        return "stopping" if self.is_stopping else "ready" if self.is_ready else "starting"

    def kill(self, number: signal.Signals) -> None:
        """Send a signal."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def end(self) -> str | None:
        """How it ended, as the end of a sentence; None while it runs."""
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            return "is gone"
        if pid == 0:
            return None
        return exit_text(os.waitstatus_to_exitcode(status))

    def stacks(self) -> str:
        """The stacks that it has written, with a line break before them; empty if there are none."""
        if self.dump is None:
            return ""
        self.dump.seek(0)
        text = self.dump.read(_LONGEST_DUMP).decode(errors="replace").strip()
        return f"; it was here:\n{text}" if text else ""

    def close(self) -> None:
        """Free all that belongs to it."""
        if self.ready_pipe != -1:
            os.close(self.ready_pipe)
            self.ready_pipe = -1
        self.heartbeat.close()
        if self.dump is not None:
            self.dump.close()


def run_child(
    service: Service,
    name: str,
    reports: Reports,
    dump: IO[bytes] | None,
    *,
    mask: set[signal.Signals | int],
    let_go: Callable[[], None],
) -> NoReturn:
    """In the forked process: let go of the supervisor's resources, serve, and never return."""
    status = 70
    try:
        let_go()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        # Ctrl-C, and SIGHUP of a closed terminal, go to the whole process group; the supervisor acts on them.
        for number in (signal.SIGINT, DUMP_SIGNAL, UNREADY_SIGNAL, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        if dump is not None:
            faulthandler.enable(dump)
            faulthandler.register(DUMP_SIGNAL, dump)
        # Signals were blocked until their handlers are in place.
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        name_process(_PROCESS_PREFIX + name)
        service.main(service.listener, name, reports)
        status = 0
    except SystemExit as exit_:
        status = exit_.code if isinstance(exit_.code, int) else 1
    except BaseException:  # noqa: BLE001 - this process must never go on as the supervisor
        _log.exception("%s failed", service.title)
    finally:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def bind_to_parent(parent: int) -> None:
    """In a forked process: end with the parent, also if it has ended already."""
    die_with_parent()
    if os.getppid() != parent:
        os._exit(0)


def open_dump() -> IO[bytes] | None:
    """A file without a name for the stacks of a child; None where none can be made."""
    try:
        return tempfile.TemporaryFile(buffering=0)
    except OSError:
        return None


def name_process(name: str) -> None:
    """Set the name that `ps` and `top` show: 15 bytes on Linux, nothing elsewhere."""
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(name)
