"""Listening sockets: one for each worker, all on one port, opened by the parent so that they outlive the workers."""

from __future__ import annotations

import errno
import socket
from typing import Final, cast

BACKLOG: Final = 4096
# One read of a connection returns at most one and a half times this, so that a client that sends faster than we
# take it in fills his own buffers and not ours. By it an upload is held to 24 KiB for each round trip.
RECEIVE_BUFFER_BYTES: Final = 24 * 1024
# How much of a response the kernel buffers beyond the bytes in flight; without it a client that does not read makes it
# hold megabytes. The bytes in flight are not limited by it.
UNSENT_BYTES: Final = 32 * 1024


class CannotListen(Exception):
    """The address cannot be listened on; the text says why."""


class PortTaken(CannotListen):
    """Another program listens there."""


def open_listeners(host: str, port: int, count: int, *, option: str = "--port") -> list[socket.socket]:
    """Open `count` sockets that share one port by SO_REUSEPORT. The kernel spreads connections over them.

    `option` sets the port, and is named when the port is taken.
    A socket whose worker is being replaced stays open here: new connections wait for the next worker.
    Port 0 picks a free one. Raises `CannotListen`.
    """
    family, address = _resolve(host, port)
    listeners: list[socket.socket] = []
    try:
        # Without SO_REUSEPORT at first, so that a port that another Peakgate shares among its workers counts as taken.
        with _bound(family, address, shared=False) as probe:
            address = (address[0], probe.getsockname()[1], *address[2:])
        for _ in range(count):
            listeners.append(_bound(family, address, shared=True))
            listeners[-1].listen(BACKLOG)
    except OSError as error:
        for listener in listeners:
            listener.close()
        raise _fault(error, host, port, option) from error
    return listeners


def bound_buffers(listener: socket.socket) -> None:
    """Limit the kernel's buffers of each accepted connection."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)


def _resolve(host: str, port: int) -> tuple[socket.AddressFamily, tuple[str | int, ...]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise CannotListen(f"cannot listen on {host}: {error.strerror or error}") from error
    family, _, _, _, address = found[0]
    return family, cast(tuple[str | int, ...], address)


def _bound(family: socket.AddressFamily, address: tuple[str | int, ...], *, shared: bool) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound_buffers(listener)
        listener.setblocking(False)
        listener.bind(address)
    except BaseException:
        listener.close()
        raise
    return listener


def _fault(error: OSError, host: str, port: int, option: str) -> CannotListen:
    if error.errno == errno.EADDRINUSE:
        return PortTaken(f"port {port} on {host} is taken; stop what listens there or choose another with {option}")
    return CannotListen(f"cannot listen on {host}:{port}: {error.strerror}")
