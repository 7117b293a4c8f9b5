"""The supervisor: starts the child processes, restarts them, replaces workers one by one, stops everything.

It serves no requests and runs no event loop, so it can fork at any time. SIGTERM or SIGINT stops, SIGUSR1 replaces
the workers one after the other, SIGHUP is forwarded to the children that reload, a second SIGINT stops at once.

A child whose event loop hangs is killed and replaced like one that died, with its stacks in the log.

A stop begins with the drain grace, if there is one: workers serve on and are not ready, so that balancers send their
traffic elsewhere before the listeners close. Another SIGTERM or SIGINT ends it.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Protocol

from gateway.control.runtime_directory import ChildState
from gateway.process.child import (
    DUMP_SIGNAL,
    UNREADY_SIGNAL,
    Child,
    Reports,
    Service,
    bind_to_parent,
    open_dump,
    run_child,
)
from gateway.process.heartbeat import Heartbeat
from primitives.backoff import Backoff

_log = logging.getLogger("peakgate")

FIRST_RESTART_S: Final = 0.1
MAX_RESTART_S: Final = 5.0
# A child that ran this long before it died is restarted with the first delay again.
STABLE_S: Final = 10.0
# Time for a child beyond its drain timeout before it is killed.
KILL_MARGIN_S: Final = 5.0
_POLL_S: Final = 0.5
# Without a beat for so long, a child hangs.
HANG_S: Final = 10.0
# Time for a child that hangs to write its stacks.
_DUMP_S: Final = 0.5
_SIGNALS: Final = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)


class Dependency(Protocol):
    """A program that the children need: the embedded store."""

    def revive(self) -> float | None:
        """Start it again if it has died; seconds until the next call is wanted, None for none."""
        ...

    def disown(self) -> None:
        """In a child: drop everything that belongs to the supervisor alone."""
        ...


@dataclass(slots=True)
class _Slot:
    """A service with its running child, if any."""

    service: Service
    child: Child | None = None
    # The child that takes over from `child` once it is ready, and whether it was started since the workers were last asked to be replaced.
    successor: Child | None = None
    is_current: bool = False
    generation: int = 0
    restarts: int = 0
    restart_at: float = 0.0
    backoff: Backoff = field(default_factory=lambda: Backoff(FIRST_RESTART_S, MAX_RESTART_S))
    hup_is_due: bool = False

    @property
    def child_name(self) -> str:
        """Unique among the running children, and the same again after a crash."""
        return f"{self.service.name}{'ab'[self.generation % 2]}" if self.service.rolls else self.service.name

    @property
    def children(self) -> list[Child]:
        """The running children of this slot."""
        return [child for child in (self.child, self.successor) if child is not None]


class Supervisor:
    """Runs every service in a process of its own until a signal stops it.

    `on_ready` is called once, when all children are ready; `on_change` whenever a child starts, is ready, stops or ends.
    """

    def __init__(
        self,
        services: Sequence[Service],
        *,
        on_ready: Callable[[], None],
        on_change: Callable[[Sequence[ChildState]], None] = lambda _children: None,
        dependency: Dependency | None = None,
        drain_timeout_s: float = 25.0,
        drain_grace_s: float = 0.0,
        hang_s: float = HANG_S,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._slots = [_Slot(service) for service in services]
        self._on_ready = on_ready
        self._on_change = on_change
        self._dependency = dependency
        self._drain_timeout_s = drain_timeout_s
        self._drain_grace_s = drain_grace_s
        self._hang_s = hang_s
        self._clock = clock
        self._now = now
        self._round_at = clock()
        self._selector = selectors.DefaultSelector()
        self._rolling: deque[_Slot] = deque()
        self._published: list[ChildState] = []
        self._announced = False
        self._failed = False
        self._stopping = False
        # When the listeners close, once a stop was requested.
        self._grace_end = float("inf")
        self._kill_at = float("inf")

    def run(self) -> bool:
        """Run until everything has stopped; returns False if a child failed at the first start."""
        woken, wakes = socket.socketpair()
        woken.setblocking(False)
        wakes.setblocking(False)
        self._selector.register(woken, selectors.EVENT_READ)
        previous = {number: signal.signal(number, _noop) for number in _SIGNALS}
        signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
        # `serve` blocked it during the start; a pending one is delivered now.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
        try:
            for slot in self._slots:
                slot.child = self._spawn(slot)
                self._publish()
            while not self._is_over():
                self._wait(woken)
                self._reconcile()
                self._publish()
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
        if number == signal.SIGUSR1 and not self._stopping and self._grace_end == float("inf"):
            _log.info("replacing the workers one by one, as SIGUSR1 requests")
            self._rolling = deque(slot for slot in self._slots if slot.service.rolls)
            for slot in self._rolling:
                slot.is_current = False
        elif number == signal.SIGHUP:
            for slot in self._slots:
                slot.hup_is_due = slot.service.reloads_on_hup
        elif number in {signal.SIGTERM, signal.SIGINT}:
            if self._stopping and number == signal.SIGINT:
                _log.warning("stopping at once, as another SIGINT requests; requests in progress are cut off")
                self._kill_at = 0.0
            elif not self._stopping:
                hint = "; Ctrl-C again stops at once" if number == signal.SIGINT else ""
                _log.info("stopping, as %s requests%s", signal.Signals(number).name, hint)
                self._begin_stop()

    def _on_pipe(self, child: Child) -> None:
        """A child is ready, or its pipe closed because it died; SIGCHLD reports that too."""
        self._selector.unregister(child.ready_pipe)
        child.is_ready = os.read(child.ready_pipe, 1) == b"."
        os.close(child.ready_pipe)
        child.ready_pipe = -1

    def _reconcile(self) -> None:
        """Bring every slot one step nearer to its desired state."""
        self._kill_hanging()
        self._reap()
        if not self._stopping and self._clock() >= self._grace_end:
            self._stop()
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
        self._forward_hup()
        self._announce_leaving()
        if not self._announced and all(slot.child is not None and slot.child.is_ready for slot in self._slots):
            self._announced = True
            self._on_ready()

    def _kill_hanging(self) -> None:
        """Have a child that hangs write its stacks, log them, and kill it a moment later."""
        now = self._clock()
        elapsed_s, self._round_at = now - self._round_at, now
        for slot in self._slots:
            for child in slot.children:
                silence_s = child.silence.observe(child.heartbeat.count, elapsed_s)
                if silence_s < self._hang_s:
                    child.is_dumping = False
                elif not child.is_dumping:
                    child.is_dumping = True
                    child.kill(DUMP_SIGNAL)
                elif silence_s >= self._hang_s + _DUMP_S and not child.is_killed:
                    child.is_killed = True
                    _log.error(
                        "%s (process %d) has hung for %.1f s and is killed%s",
                        slot.service.title,
                        child.pid,
                        silence_s,
                        child.stacks(),
                    )
                    child.kill(signal.SIGKILL)

    def _roll(self) -> None:
        """Replace the workers one at a time: the successor is ready before its predecessor is stopped."""
        if not self._rolling:
            return
        slot = self._rolling[0]
        if slot.successor is None:
            slot.generation += 1
            slot.successor, slot.is_current = self._spawn(slot), True
        elif slot.successor.is_ready and slot.child is not None and not slot.child.is_stopping:
            slot.child.is_stopping = True
            slot.child.kill(signal.SIGTERM)

    def _forward_hup(self) -> None:
        """Forward a SIGHUP to children that are ready; the others get it when they are."""
        for slot in self._slots:
            if slot.hup_is_due and slot.child is not None and slot.child.is_ready:
                slot.hup_is_due = False
                slot.child.kill(signal.SIGHUP)

    def _publish(self) -> None:
        states = [
            ChildState(slot.service.name, child.name, child.pid, child.state, child.started_at_wall, slot.restarts)
            for slot in self._slots
            for child in slot.children
        ]
        if states != self._published:
            self._published = states
            self._on_change(states)

    # Children

    def _spawn(self, slot: _Slot) -> Child:
        reads, writes = os.pipe()
        heartbeat, dump = Heartbeat(), open_dump()
        parent = os.getpid()
        # A signal to the child must wait until it has its own handlers; ours would lose it.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            pid = os.fork()
            if pid == 0:
                reports = Reports(writes, heartbeat)
                let_go = partial(self._let_go, slot, reads, parent)
                run_child(slot.service, slot.child_name, reports, dump, mask=mask, let_go=let_go)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.close(writes)
        child = Child(slot.child_name, pid, self._clock(), self._now(), reads, heartbeat, dump)
        self._selector.register(reads, selectors.EVENT_READ, child)
        return child

    def _let_go(self, slot: _Slot, ready_pipe: int, parent: int) -> None:
        """In the forked process: end with the supervisor, and close all that belongs to it alone."""
        bind_to_parent(parent)
        os.close(ready_pipe)
        self._selector.close()
        if self._dependency is not None:
            self._dependency.disown()
        for other in self._slots:
            for sibling in other.children:
                sibling.close()
            if other is not slot and other.service.listener is not None:
                other.service.listener.close()

    def _reap(self) -> None:
        for slot in self._slots:
            if slot.child is not None and (end := slot.child.end()) is not None:
                self._on_exit(slot, slot.child, end)
            if slot.successor is not None and (end := slot.successor.end()) is not None:
                if not self._stopping:
                    _log.error(
                        "the replacement of %s %s; the running workers stay%s",
                        slot.service.title,
                        end,
                        _new_stacks(slot.successor),
                    )
                self._release(slot.successor)
                slot.successor = None
                self._rolling.clear()

    def _on_exit(self, slot: _Slot, child: Child, end: str) -> None:
        stacks = _new_stacks(child)
        self._release(child)
        slot.child, slot.successor = slot.successor, None
        # A child that was started before the workers were asked to be replaced is replaced too.
        if self._rolling and self._rolling[0] is slot and (slot.child is None or slot.is_current):
            self._rolling.popleft()
        if child.is_stopping or self._stopping:
            return
        if not self._announced and not child.is_ready:
            # A failure at the first start would repeat; the worker has logged the reason.
            self._failed = True
            self._stop()
            return
        now = self._clock()
        if now - child.started_at > STABLE_S:
            slot.backoff.reset()
        delay_s = slot.backoff.next_delay_s()
        slot.restart_at = now + delay_s
        _log.error(
            "%s (process %d) %s; it is restarted in %.1f s%s", slot.service.title, child.pid, end, delay_s, stacks
        )

    def _release(self, child: Child) -> None:
        """Free all that belongs to a child that has ended."""
        if child.ready_pipe != -1:
            self._selector.unregister(child.ready_pipe)
        child.close()

    # Stopping

    def _begin_stop(self) -> None:
        """Begin the drain grace, or end it. Before the gateway was ready no balancer knows it, and there is none."""
        if not self._drain_grace_s or not self._announced or self._grace_end < float("inf"):
            self._stop()
            return
        self._rolling.clear()
        self._grace_end = self._clock() + self._drain_grace_s
        _log.warning("stopping: not ready from now on; new connections are served for %g s", self._drain_grace_s)

    def _announce_leaving(self) -> None:
        """During the drain grace, make the workers not ready, also those that have just started."""
        if self._grace_end == float("inf"):
            return
        for slot in self._slots:
            for child in slot.children:
                if slot.service.rolls and child.is_ready and not child.is_leaving:
                    child.is_leaving = True
                    child.kill(UNREADY_SIGNAL)

    def _stop(self) -> None:
        self._stopping = True
        self._rolling.clear()
        self._kill_at = self._clock() + self._drain_timeout_s + KILL_MARGIN_S
        for slot in self._slots:
            # Connections that no process would accept are refused at once.
            if slot.service.listener is not None:
                slot.service.listener.close()
        self._signal_all(signal.SIGTERM)

    def _signal_all(self, number: signal.Signals) -> None:
        for slot in self._slots:
            for child in slot.children:
                child.is_stopping = True
                child.kill(number)

    def _is_over(self) -> bool:
        return self._stopping and not any(slot.children for slot in self._slots)


def _new_stacks(child: Child) -> str:
    """The stacks of a child that crashed; those of one that hung are logged already."""
    return "" if child.is_killed else child.stacks()


def _noop(_number: int, _frame: object) -> None:
    """A Python handler must exist for the signal to reach the wake-up descriptor."""
