"""Ports for servers that tests and benchmarks start."""

import fcntl
import os
import secrets
import socket
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

_PORTS_OF_KERNEL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_FIRST_PORT, _FIRST_DYNAMIC_PORT = 16_384, 49_152  # the second by RFC 6335
_kept: set[int] = set()


def free_port() -> int:
    """A port that no program listens on now, and that nobody else is given as long as this process lives.

    The kernel gives it to none by itself: a port of its own range may be the end of somebody's connection by the time
    that it is bound. Neither does this function in another process, be it before the server listens or while it is
    restarted.
    """
    end = int(_PORTS_OF_KERNEL.read_text().split()[0]) if _PORTS_OF_KERNEL.exists() else _FIRST_DYNAMIC_PORT
    first = min(_FIRST_PORT, end // 2)
    while True:
        port = first + secrets.randbelow(end - first)
        if port not in _kept and keep_port(port) and _is_free(port):
            return port


def keep_port(port: int) -> bool:
    """Whether the port is ours until this process ends: no other process was given it."""
    try:
        fcntl.lockf(_shared_file(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    _kept.add(port)
    return True


@cache
def _shared_file() -> int:
    """The file whose bytes stand for ports. Its locks end with the process, and are not inherited by a child."""
    path = Path(tempfile.gettempdir(), f"peakgate-ports-{os.getuid()}.lock")
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _is_free(port: int) -> bool:
    with socket.socket() as probe, suppress(OSError):
        probe.bind(("127.0.0.1", port))
        return True
    return False
