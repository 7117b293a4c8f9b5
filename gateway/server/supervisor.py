"""The parent process: starts the workers, keeps them running, replaces them one by one, and stops everything.

It serves nobody and runs no event loop, so it can fork at any time. SIGTERM or SIGINT stops, SIGUSR1 replaces the workers
one after the other, a second SIGINT stops at once.
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
from typing import Final, Protocol

from store.embedded import die_with_parent

_log = logging.getLogger("peakgate")

BACKOFF_FIRST_S: Final = 0.1
BACKOFF_MOST_S: Final = 5.0
# A worker that served this long before it died is replaced without waiting.
STABLE_S: Final = 10.0
# What a worker may take beyond its drain timeout before it is killed.
KILL_MARGIN_S: Final = 5.0
_POLL_S: Final = 0.5
_SIGNALS: Final = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class Dependency(Protocol):
    """A child that is not a worker: the embedded store."""

    def revive(self) -> float | None:
        """Start it again if it has died; seconds until the next call is wanted, None for none."""
        ...

    def disown(self) -> None:
        """In a worker: let go of what is the parent's alone."""
        ...


WorkerMain = Callable[[socket.socket, str, Callable[[], None]], None]


@dataclass(slots=True)
class _Worker:
    pid: int
    started_at: float
    ready_pipe: int
    is_ready: bool = False
    is_stopping: bool = False


@dataclass(slots=True)
class _Slot:
    """A place for a worker: its listening socket stays, whichever worker serves it."""

    index: int
    listener: socket.socket
    worker: _Worker | None = None
    # The worker that takes over from `worker` once it is ready.
    successor: _Worker | None = None
    generation: int = 0
    restart_at: float = 0.0
    backoff_s: float = BACKOFF_FIRST_S

    @property
    def worker_name(self) -> str:
        """A name that no worker living at the same time has, and that is the same again after a crash."""
        return f"{self.index}{'ab'[self.generation % 2]}"


class Supervisor:
    """Runs `worker_main(listener, name, say_ready)` in a process for every listener until it is told to stop."""

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        worker_main: WorkerMain,
        *,
        on_ready: Callable[[], None],
        dependency: Dependency | None = None,
        drain_timeout_s: float = 25.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._slots = [_Slot(index, listener) for index, listener in enumerate(listeners)]
        self._worker_main = worker_main
        self._on_ready = on_ready
        self._dependency = dependency
        self._drain_timeout_s = drain_timeout_s
        self._clock = clock
        self._selector = selectors.DefaultSelector()
        self._rolling: deque[_Slot] = deque()
        self._announced = False
        self._failed = False
        self._stopping = False
        self._kill_at = float("inf")

    def run(self) -> bool:
        """Return when everything has stopped: false if a worker could not be started in the first place."""
        woken, wakes = socket.socketpair()
        woken.setblocking(False)
        wakes.setblocking(False)
        self._selector.register(woken, selectors.EVENT_READ)
        previous = {number: signal.signal(number, _noop) for number in _SIGNALS}
        signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
        try:
            for slot in self._slots:
                slot.worker = self._spawn(slot)
            while not self._is_over():
                self._wait(woken)
                self._look_after()
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
            self._rolling = deque(self._slots)
        elif number in {signal.SIGTERM, signal.SIGINT}:
            if self._stopping and number == signal.SIGINT:
                self._kill_at = 0.0
            elif not self._stopping:
                self._stop()

    def _on_pipe(self, worker: _Worker) -> None:
        """A worker says it is ready, or its end of the pipe closed because it died, which SIGCHLD tells too."""
        self._selector.unregister(worker.ready_pipe)
        worker.is_ready = os.read(worker.ready_pipe, 1) == b"."
        os.close(worker.ready_pipe)
        worker.ready_pipe = -1

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
            if slot.worker is None and self._clock() >= slot.restart_at:
                slot.worker = self._spawn(slot)
        self._roll()
        if not self._announced and all(slot.worker is not None and slot.worker.is_ready for slot in self._slots):
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
        elif slot.successor.is_ready and slot.worker is not None and not slot.worker.is_stopping:
            slot.worker.is_stopping = True
            _kill(slot.worker.pid, signal.SIGTERM)

    # Workers

    def _spawn(self, slot: _Slot) -> _Worker:
        reads, writes = os.pipe()
        parent = os.getpid()
        # A signal to the child must wait until it has its own handlers: ours would swallow it, or tell the parent.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            pid = os.fork()
            if pid == 0:
                os.close(reads)
                self._be_worker(slot, writes, parent, mask)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.close(writes)
        worker = _Worker(pid, self._clock(), reads)
        self._selector.register(reads, selectors.EVENT_READ, worker)
        return worker

    def _be_worker(self, slot: _Slot, ready_pipe: int, parent: int, mask: set[signal.Signals | int]) -> None:
        """In the child: leave the parent's things behind, serve, and never return."""
        status = 70
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            # Ctrl-C goes to the whole group; the parent is the one that acts on it.
            for number in (signal.SIGINT, signal.SIGUSR1):
                signal.signal(number, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            die_with_parent()
            if os.getppid() != parent:
                os._exit(0)
            self._selector.close()
            if self._dependency is not None:
                self._dependency.disown()
            for other in self._slots:
                if other is not slot:
                    other.listener.close()
            self._worker_main(slot.listener, slot.worker_name, lambda: _say_ready(ready_pipe))
            status = 0
        except SystemExit as told:
            status = told.code if isinstance(told.code, int) else 1
        except BaseException:  # noqa: BLE001 - whatever it was, this process must not go on as the parent
            _log.exception("worker %d failed", slot.index)
        finally:
            logging.shutdown()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def _reap(self) -> None:
        for slot in self._slots:
            if slot.worker is not None and _is_dead(slot.worker.pid):
                self._on_exit(slot, slot.worker)
            if slot.successor is not None and _is_dead(slot.successor.pid):
                self._forget_pipe(slot.successor)
                slot.successor = None
                self._rolling.clear()
                _log.error("the replacement of worker %d died; the workers that run are kept", slot.index)

    def _on_exit(self, slot: _Slot, worker: _Worker) -> None:
        self._forget_pipe(worker)
        slot.worker, slot.successor = slot.successor, None
        if self._rolling and self._rolling[0] is slot:
            self._rolling.popleft()
        if worker.is_stopping or self._stopping:
            return
        if not self._announced and not worker.is_ready:
            # What fails at the first start fails at the next one too; the worker has logged why.
            self._failed = True
            self._stop()
            return
        now = self._clock()
        if now - worker.started_at > STABLE_S:
            slot.backoff_s = BACKOFF_FIRST_S
        slot.restart_at = now + slot.backoff_s
        _log.error("worker %d (process %d) died; it is started again in %.1f s", slot.index, worker.pid, slot.backoff_s)
        slot.backoff_s = min(slot.backoff_s * 2, BACKOFF_MOST_S)

    def _forget_pipe(self, worker: _Worker) -> None:
        if worker.ready_pipe != -1:
            self._selector.unregister(worker.ready_pipe)
            os.close(worker.ready_pipe)
            worker.ready_pipe = -1

    # Stopping

    def _stop(self) -> None:
        self._stopping = True
        self._rolling.clear()
        self._kill_at = self._clock() + self._drain_timeout_s + KILL_MARGIN_S
        for slot in self._slots:
            # Nobody will take what still connects: refuse it at once.
            slot.listener.close()
        self._signal_all(signal.SIGTERM)

    def _signal_all(self, number: signal.Signals) -> None:
        for slot in self._slots:
            for worker in (slot.worker, slot.successor):
                if worker is not None:
                    _kill(worker.pid, number)

    def _is_over(self) -> bool:
        return self._stopping and all(slot.worker is None and slot.successor is None for slot in self._slots)


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
