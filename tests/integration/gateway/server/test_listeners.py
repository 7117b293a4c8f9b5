"""Listening sockets: many on one port, and a port that is taken is said to be."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from gateway.server.listeners import CannotListen, open_listeners
from tests.waiting import WITHIN_S


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which somebody listens."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def close(listeners: list[socket.socket]) -> None:
    for each in listeners:
        each.close()


def test_all_listeners_share_one_port() -> None:
    listeners = open_listeners("127.0.0.1", 0, 4)
    (port,) = {each.getsockname()[1] for each in listeners}
    for each in listeners[1:]:
        each.close()
    with socket.create_connection(("127.0.0.1", port), timeout=WITHIN_S):
        pass
    close(listeners)


def test_a_port_may_be_listened_on_again_as_soon_as_it_is_free() -> None:
    listeners = open_listeners("127.0.0.1", 0, 2)
    port = listeners[0].getsockname()[1]
    for each in listeners:
        each.setblocking(True)
    with socket.create_connection(("127.0.0.1", port), timeout=WITHIN_S) as client:
        served = next(each for each in listeners if accepts(each))
        served.close()
        client.sendall(b"x")
    close(listeners)
    close(open_listeners("127.0.0.1", port, 2))


def accepts(listener: socket.socket) -> bool:
    listener.settimeout(0.2)
    try:
        connection, _ = listener.accept()
    except TimeoutError:
        return False
    connection.close()
    return True


def test_a_port_in_use_is_an_error_of_one_line(taken: int) -> None:
    with pytest.raises(CannotListen, match=rf"port {taken} on 127\.0\.0\.1 is taken.*--port"):
        open_listeners("127.0.0.1", taken, 2)


def test_a_port_shared_by_the_workers_of_another_counts_as_taken() -> None:
    others = open_listeners("127.0.0.1", 0, 2)
    with pytest.raises(CannotListen, match="is taken"):
        open_listeners("127.0.0.1", others[0].getsockname()[1], 2)
    close(others)


def test_an_unknown_host_is_an_error_of_one_line() -> None:
    with pytest.raises(CannotListen, match=r"cannot listen on no\.such\.host\.invalid: .") as caught:
        open_listeners("no.such.host.invalid", 0, 1)
    assert "\n" not in str(caught.value)


def test_an_address_of_another_machine_is_an_error_of_one_line() -> None:
    with pytest.raises(CannotListen, match=r"cannot listen on 192\.0\.2\.1:0: ."):
        open_listeners("192.0.2.1", 0, 1)


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
def test_ipv6_is_listened_on_as_well() -> None:
    try:
        listeners = open_listeners("::1", 0, 2)
    except CannotListen:
        pytest.skip("this machine has no IPv6 address")
    assert all(each.family == socket.AF_INET6 for each in listeners)
    close(listeners)
