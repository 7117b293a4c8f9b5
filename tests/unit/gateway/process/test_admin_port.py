"""Where the admin API listens."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from gateway.process import serve
from gateway.server.listeners import CannotListen
from gateway.settings import Settings


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which another program listens."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


def listens_on(**settings: object) -> int:
    with ExitStack() as stack:
        listener = serve._control_listener(Settings(**settings), stack)  # type: ignore[arg-type]
        assert listener is not None
        return int(listener.getsockname()[1])


def test_a_taken_port_moves_to_the_next_free_one(
    taken: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(serve, "ADMIN_PORT", taken)
    assert taken < listens_on() < taken + 10
    assert caplog.messages[0] == f"port {taken} is taken; the admin API takes the next, as --admin-port names none"


def test_a_port_that_was_chosen_does_not_move(taken: int) -> None:
    with pytest.raises(CannotListen, match=f"port {taken} on 127.0.0.1 is taken"):
        listens_on(admin_port=taken)


def test_where_all_ports_are_taken_the_last_is_named(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "ADMIN_PORT", taken)
    monkeypatch.setattr(serve, "_ADMIN_PORTS", 1)
    with pytest.raises(CannotListen, match=f"port {taken} on 127.0.0.1 is taken"):
        listens_on()


def test_another_fault_than_a_taken_port_ends_the_search() -> None:
    with pytest.raises(CannotListen, match=r"cannot listen on 192\.0\.2\.1:9090"):
        listens_on(admin_host="192.0.2.1")
