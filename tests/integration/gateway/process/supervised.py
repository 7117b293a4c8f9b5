"""A supervised program of its own process, for the tests of the supervisor: `supervised.py MODE WORKERS DRAIN_S [FILE]`.

Its workers respond to every connection with their name and process id. It prints its port once all are ready. With a file,
they depend on something, and the file grows whenever that is looked after.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path

from gateway.process import supervisor
from gateway.process.child import Reports, Service
from gateway.server.listeners import open_listeners


def serve(listener: socket.socket | None, name: str, reports: Reports) -> None:
    """Respond until SIGTERM, then to clients that are connected already."""
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: told.append(number))
    assert listener is not None
    reports.ready()
    while not told:
        select.select([listener], [], [], 0.02)
        answer_waiting(listener, name)


def linger(listener: socket.socket | None, name: str, reports: Reports) -> None:
    """Respond until SIGTERM, and then go on until a client asks to leave."""
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: told.append(number))
    assert listener is not None
    reports.ready()
    asked = b""
    while not (told and asked == b"leave"):
        select.select([listener], [], [], 0.02)
        asked = answer_waiting(listener, name)


def answer_waiting(listener: socket.socket | None, name: str) -> bytes:
    assert listener is not None
    try:
        connection, _ = listener.accept()
    except BlockingIOError:
        return b""
    with connection:
        connection.setblocking(True)
        asked = connection.recv(100)
        if asked == b"die":
            os._exit(3)
        connection.sendall(f"{name} {os.getpid()}".encode())
        return asked


def say(what: object) -> None:
    os.write(sys.stdout.fileno(), f"{what}\n".encode())


def fail(_listener: socket.socket | None, _name: str, _reports: Reports) -> None:
    """Fail before being ready."""
    raise RuntimeError("cannot start")


def ignore_signals(listener: socket.socket | None, name: str, reports: Reports) -> None:
    """Go on whatever is said, and say that it was."""
    signal.signal(signal.SIGTERM, lambda _number, _frame: say("told"))
    assert listener is not None
    reports.ready()
    while True:
        select.select([listener], [], [], 1.0)
        answer_waiting(listener, name)


def die_soon(_listener: socket.socket | None, _name: str, reports: Reports) -> None:
    """Be ready, and be gone."""
    reports.ready()


def fail_when_replaced(listener: socket.socket | None, name: str, reports: Reports) -> None:
    """The first workers serve; those that are to replace them fail."""
    if name.endswith("b"):
        raise RuntimeError("cannot replace")
    serve(listener, name, reports)


class Dependency:
    """Counts in a file how often it was looked after."""

    def revive(self) -> float | None:
        """As the embedded store's."""
        with Path(sys.argv[4]).open("a") as counted:
            counted.write(".")
        return None

    def disown(self) -> None:
        """Nothing to disown."""


def hang_when_asked(listener: socket.socket | None, name: str, reports: Reports) -> None:
    """Beat and respond until a client asks for more than a name."""
    stops: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: stops.append(number))
    assert listener is not None
    reports.ready()
    while not stops:
        reports.beat()
        if select.select([listener], [], [], 0.02)[0] and answer_waiting(listener, name) == b"hang":
            hang_here()


def hang_here() -> None:
    """An event loop that turns no more; not even SIGTERM is heeded."""
    while True:
        time.sleep(3600)


def crash(_listener: socket.socket | None, _name: str, reports: Reports) -> None:
    """Be ready, and crash as a fault in a C library does."""
    reports.ready()
    signal.raise_signal(signal.SIGSEGV)


def control(_listener: socket.socket | None, name: str, reports: Reports) -> None:
    """Report each SIGHUP, until SIGTERM."""
    numbers = {signal.SIGHUP, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    # An ignored signal is discarded, even while it is blocked.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    say(f"{name} {os.getpid()}")
    reports.ready()
    while signal.sigwait(numbers) == signal.SIGHUP:
        say(f"{name} heeds")


def late_control(listener: socket.socket | None, name: str, reports: Reports) -> None:
    """The same, after a signal to continue."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    say(os.getpid())
    signal.sigwait({signal.SIGUSR2})
    control(listener, name, reports)


CONTROLS = {each.__name__: each for each in (control, late_control)}
MODES = {
    each.__name__: each
    for each in (serve, linger, fail, ignore_signals, die_soon, fail_when_replaced, hang_when_asked, crash)
}


def main() -> int:
    """Supervise until a signal stops it."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    supervisor.KILL_MARGIN_S = 0.1  # type: ignore[misc]
    listeners = open_listeners("127.0.0.1", 0, int(sys.argv[2]))
    port = listeners[0].getsockname()[1]
    services = [
        Service(str(index), listener, MODES.get(sys.argv[1], serve)) for index, listener in enumerate(listeners)
    ]
    if sys.argv[1] in CONTROLS:
        control = CONTROLS[sys.argv[1]]
        services.append(Service("control", None, control, rolls=False, reloads_on_hup=True))
    ended_well = supervisor.Supervisor(
        services,
        on_ready=lambda: say(port),
        dependency=Dependency() if len(sys.argv) > 4 else None,
        drain_timeout_s=float(sys.argv[3]),
        drain_grace_s=float(os.environ.get("DRAIN_GRACE_S", "0")),
        hang_s=float(os.environ.get("HANG_S", "3600")),
    ).run()
    return 0 if ended_well else 1


if __name__ == "__main__":
    sys.exit(main())
