"""The parent process: starts its children, keeps them running, replaces workers one by one, and stops everything.

It serves nobody and runs no event loop, so it can fork at any time. SIGTERM or SIGINT stops, SIGUSR1 replaces the workers
one after the other, SIGHUP is passed on to the children that heed it, a second SIGINT stops at once.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol

from gateway.control.runtime_directory import ChildState
from store.embedded import die_with_parent

_log = logging.getLogger("peakgate")

BACKOFF_FIRST_S: Final = 0.1
BACKOFF_MOST_S: Final = 5.0
# A child that served this long before it died is replaced without waiting.
STABLE_S: Final = 10.0
# What a child may take beyond its drain timeout before it is killed.
KILL_MARGIN_S: Final = 5.0
_POLL_S: Final = 0.5
_SIGNALS: Final = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
# A process is called this, and its slot, in `ps` and `top`.
_PROCESS_PREFIX: Final = "peakgate-"


class Dependency(Protocol):
    """A program that the children need: the embedded store."""

    def revive(self) -> float | None:
        """Start it again if it has died; seconds until the next call is wanted, None for none."""
        ...

    def disown(self) -> None:
        """In a child: let go of what is the parent's alone."""
        ...


# Serves the socket until SIGTERM: (listener, name of the child, what to call once it serves).
ChildMain = Callable[[socket.socket | None, str, Callable[[], None]], None]


@dataclass(frozen=True, slots=True)
class Service:
    """What one child does. Its socket is opened beforehand and stays, whichever process serves it."""

    name: str
    listener: socket.socket | None
    main: ChildMain
    # SIGUSR1 replaces it without a gap, by a process of another name; two of them live for a moment.
    rolls: bool = True
    # SIGHUP is passed on to it, once it is ready; the others ignore it.
    heeds_hup: bool = False


@dataclass(slots=True)
class _Child:
    name: str
    pid: int
    started_at: float
    started_at_wall: float
    ready_pipe: int
    is_ready: bool = False
    is_stopping: bool = False


@dataclass(slots=True)
class _Slot:
    """A place for a child."""

    service: Service
    child: _Child | None = None
    # The child that takes over from `child` once it is ready.
    successor: _Child | None = None
    generation: int = 0
    restarts: int = 0
    restart_at: float = 0.0
    backoff_s: float = BACKOFF_FIRST_S
    hup_is_due: bool = False

    @property
    def child_name(self) -> str:
        """A name that no child living at the same time has, and that is the same again after a crash."""
        return f"{self.service.name}{'ab'[self.generation % 2]}" if self.service.rolls else self.service.name

    @property
    def children(self) -> list[_Child]:
        """Those that live."""
        return [child for child in (self.child, self.successor) if child is not None]


class Supervisor:
    """Runs every service in a process of its own until it is told to stop.

    `on_ready` is called once, when all of them serve; `on_change` whenever a child comes, gets ready, stops or goes.
    """

    def __init__(
        self,
        services: Sequence[Service],
        *,
        on_ready: Callable[[], None],
        on_change: Callable[[Sequence[ChildState]], None] = lambda _children: None,
        dependency: Dependency | None = None,
        drain_timeout_s: float = 25.0,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._slots = [_Slot(service) for service in services]
        self._on_ready = on_ready
        self._on_change = on_change
        self._dependency = dependency
        self._drain_timeout_s = drain_timeout_s
        self._clock = clock
        self._now = now
        self._selector = selectors.DefaultSelector()
        self._rolling: deque[_Slot] = deque()
        self._told: list[ChildState] = []
        self._announced = False
        self._failed = False
        self._stopping = False
        self._kill_at = float("inf")

    def run(self) -> bool:
        """Return when everything has stopped: false if a child could not be started in the first place."""
        woken, wakes = socket.socketpair()
        woken.setblocking(False)
        wakes.setblocking(False)
        self._selector.register(woken, selectors.EVENT_READ)
        previous = {number: signal.signal(number, _noop) for number in _SIGNALS}
        signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
        # Held back by who called, so that one that came too early is heeded now.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
        try:
            for slot in self._slots:
                slot.child = self._spawn(slot)
                self._tell()
            while not self._is_over():
                self._wait(woken)
                self._look_after()
                self._tell()
        finally:
            signal.set_wakeup_fd(-1)
            for number, handler in previous.items():
                signal.signal(number, handler)
            self._selector.close()
            woken.close()
            wakes.close()
        return not self._failed

    # Events

    def _wait(self, woken: socket.socket) -> None:
        for key, _ in self._selector.select(_POLL_S):
            if key.fileobj is woken:
                for number in woken.recv(4096):
                    self._on_signal(number)
            else:
                self._on_pipe(key.data)

    def _on_signal(self, number: int) -> None:
        if number == signal.SIGUSR1 and not self._stopping:
            self._rolling = deque(slot for slot in self._slots if slot.service.rolls)
        elif number == signal.SIGHUP:
            for slot in self._slots:
                slot.hup_is_due = slot.service.heeds_hup
        elif number in {signal.SIGTERM, signal.SIGINT}:
            if self._stopping and number == signal.SIGINT:
                self._kill_at = 0.0
            elif not self._stopping:
                self._stop()

    def _on_pipe(self, child: _Child) -> None:
        """A child says it is ready, or its end of the pipe closed because it died, which SIGCHLD tells too."""
        self._selector.unregister(child.ready_pipe)
        child.is_ready = os.read(child.ready_pipe, 1) == b"."
        os.close(child.ready_pipe)
        child.ready_pipe = -1

    def _look_after(self) -> None:
        """Bring every slot one step nearer to where it should be."""
        self._reap()
        if self._stopping:
            if self._clock() > self._kill_at:
                self._signal_all(signal.SIGKILL)
            return
        if self._dependency is not None:
            self._dependency.revive()
        for slot in self._slots:
            if slot.child is None and self._clock() >= slot.restart_at:
                slot.restarts += 1
                slot.child = self._spawn(slot)
        self._roll()
        self._pass_hup()
        if not self._announced and all(slot.child is not None and slot.child.is_ready for slot in self._slots):
            self._announced = True
            self._on_ready()

    def _roll(self) -> None:
        """Replace the workers one at a time: the next is ready before the last is told to stop."""
        if not self._rolling:
            return
        slot = self._rolling[0]
        if slot.successor is None:
            slot.generation += 1
            slot.successor = self._spawn(slot)
        elif slot.successor.is_ready and slot.child is not None and not slot.child.is_stopping:
            slot.child.is_stopping = True
            _kill(slot.child.pid, signal.SIGTERM)

    def _pass_hup(self) -> None:
        """What came while the child was not ready reaches it, or the one after it, when it is."""
        for slot in self._slots:
            if slot.hup_is_due and slot.child is not None and slot.child.is_ready:
                slot.hup_is_due = False
                _kill(slot.child.pid, signal.SIGHUP)

    def _tell(self) -> None:
        states = [
            ChildState(slot.service.name, child.name, child.pid, _state(child), child.started_at_wall, slot.restarts)
            for slot in self._slots
            for child in slot.children
        ]
        if states != self._told:
            self._told = states
            self._on_change(states)

    # Children

    def _spawn(self, slot: _Slot) -> _Child:
        reads, writes = os.pipe()
        parent = os.getpid()
        # A signal to the child must wait until it has its own handlers: ours would swallow it, or tell the parent.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            pid = os.fork()
            if pid == 0:
                os.close(reads)
                self._be_child(slot, writes, parent, mask)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.close(writes)
        child = _Child(slot.child_name, pid, self._clock(), self._now(), reads)
        self._selector.register(reads, selectors.EVENT_READ, child)
        return child

    def _be_child(self, slot: _Slot, ready_pipe: int, parent: int, mask: set[signal.Signals | int]) -> None:
        """In the child: leave the parent's things behind, serve, and never return."""
        status = 70
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            # Ctrl-C goes to the whole group; the parent is the one that acts on it.
            # A terminal that goes away tells the group SIGHUP; who heeds it from the parent says so when it is ready.
            for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            die_with_parent()
            if os.getppid() != parent:
                os._exit(0)
            _name_process(_PROCESS_PREFIX + slot.child_name)
            self._selector.close()
            if self._dependency is not None:
                self._dependency.disown()
            for other in self._slots:
                if other is not slot and other.service.listener is not None:
                    other.service.listener.close()
            slot.service.main(slot.service.listener, slot.child_name, lambda: _say_ready(ready_pipe))
            status = 0
        except SystemExit as told:
            status = told.code if isinstance(told.code, int) else 1
        except BaseException:  # noqa: BLE001 - whatever it was, this process must not go on as the parent
            _log.exception("%s failed", _title(slot))
        finally:
            logging.shutdown()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def _reap(self) -> None:
        for slot in self._slots:
            if slot.child is not None and _is_dead(slot.child.pid):
                self._on_exit(slot, slot.child)
            if slot.successor is not None and _is_dead(slot.successor.pid):
                self._forget_pipe(slot.successor)
                slot.successor = None
                self._rolling.clear()
                _log.error("the replacement of %s died; the workers that run are kept", _title(slot))

    def _on_exit(self, slot: _Slot, child: _Child) -> None:
        self._forget_pipe(child)
        slot.child, slot.successor = slot.successor, None
        if self._rolling and self._rolling[0] is slot:
            self._rolling.popleft()
        if child.is_stopping or self._stopping:
            return
        if not self._announced and not child.is_ready:
            # What fails at the first start fails at the next one too; the worker has logged why.
            self._failed = True
            self._stop()
            return
        now = self._clock()
        if now - child.started_at > STABLE_S:
            slot.backoff_s = BACKOFF_FIRST_S
        slot.restart_at = now + slot.backoff_s
        _log.error("%s (process %d) died; it is started again in %.1f s", _title(slot), child.pid, slot.backoff_s)
        slot.backoff_s = min(slot.backoff_s * 2, BACKOFF_MOST_S)

    def _forget_pipe(self, child: _Child) -> None:
        if child.ready_pipe != -1:
            self._selector.unregister(child.ready_pipe)
            os.close(child.ready_pipe)
            child.ready_pipe = -1

    # Stopping

    def _stop(self) -> None:
        self._stopping = True
        self._rolling.clear()
        self._kill_at = self._clock() + self._drain_timeout_s + KILL_MARGIN_S
        for slot in self._slots:
            # Nobody will take what still connects: refuse it at once.
            if slot.service.listener is not None:
                slot.service.listener.close()
        self._signal_all(signal.SIGTERM)

    def _signal_all(self, number: signal.Signals) -> None:
        for slot in self._slots:
            for child in slot.children:
                child.is_stopping = True
                _kill(child.pid, number)

    def _is_over(self) -> bool:
        return self._stopping and not any(slot.children for slot in self._slots)


def _title(slot: _Slot) -> str:
    return f"worker {slot.service.name}" if slot.service.rolls else f"the {slot.service.name} process"


def _state(child: _Child) -> Literal["starting", "ready", "stopping"]:
    return "stopping" if child.is_stopping else "ready" if child.is_ready else "starting"


def _name_process(name: str) -> None:
    """What `ps` and `top` show; the kernel keeps 15 bytes of it (Linux; elsewhere nothing)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(name)


def _say_ready(pipe: int) -> None:
    os.write(pipe, b".")
    os.close(pipe)


def _is_dead(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return True


def _kill(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _noop(_number: int, _frame: object) -> None:
    """Only there so that the signal reaches the wake-up descriptor."""
