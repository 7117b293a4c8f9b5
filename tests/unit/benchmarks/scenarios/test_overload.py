from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest
from msgspec import structs

from benchmarks.load.open_loop import Generator, Kind, KindStats, Load, LoadStats, Setup
from benchmarks.scenarios.overload import CHECKOUT, MIX, Phase, normal_after_s, rejected_share, results_of


def seen(*, accepted: int = 100, rejected: int = 0, p99_ms: float = 10.0, **more: object) -> LoadStats:
    """Two seconds in which all kinds fared alike."""
    facts = {"last_rejected_s": 0.0, "p99_ms_by_bin": [p99_ms] * 8, "late_ms": 0.0} | more
    kinds = {name: KindStats(accepted, rejected) for name in MIX}
    return LoadStats(800, 2.0, kinds, 0, p99_ms / 2, p99_ms, p99_ms, **facts)  # type: ignore[arg-type]


def phase(of: LoadStats, rss: int = 0) -> Phase:
    return Phase("a load", 400.0, of, rss)


def test_goodput_is_reported_in_work_and_in_requests() -> None:
    cost_us = {name: 500.0 if name == CHECKOUT else 50.0 for name in MIX}
    dear = seen(accepted=0)
    dear.kinds[CHECKOUT].accepted = 130
    calm = seen(accepted=70)

    results = results_of([phase(seen()), phase(calm), phase(dear), phase(dear), phase(calm)], cost_us, 0)

    # 130 checkouts at 500 are 100 times 650, but they are 130 requests instead of 400.
    assert results[0].measured == pytest.approx(0)
    assert results[0].note == "100% of the best in work, 32% in requests"


def test_recovery_ends_with_the_last_rejection_and_the_last_slow_response() -> None:
    assert normal_after_s(seen(), 10.0) == 0
    assert normal_after_s(seen(last_rejected_s=1.3), 10.0) == 1.3
    assert normal_after_s(seen(p99_ms_by_bin=[400.0, 60.0, 49.0, 20.0]), 10.0) == 0.5
    assert normal_after_s(seen(last_rejected_s=0.2, p99_ms_by_bin=[400.0, 0.0]), 10.0) == 0.25


def test_a_kind_without_responses_has_no_rejected_share() -> None:
    assert rejected_share(seen(accepted=0), CHECKOUT) == 0
    assert rejected_share(seen(accepted=1, rejected=3), CHECKOUT) == 0.75


@contextlib.contextmanager
def answering(*answers: bytes) -> Iterator[int]:
    """A server that gives these answers to its requests in turn, over and over; its port."""
    turns = iter(range(10**9))

    def serve(connection: socket.socket) -> None:
        # The generator resets connections when it ends.
        with connection, contextlib.suppress(ConnectionError):
            while connection.recv(65536):
                for piece in answers[next(turns) % len(answers)].split(b"|"):
                    connection.sendall(piece)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=serve, args=[connection], daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
ODD = b"HTTP/1.1 409 Conflict\r\nContent-Length: 0\r\n\r\n"


def play(port: int, kind: Kind, *, connections: int = 4) -> LoadStats:
    with Generator(Setup(port, connections, [kind])) as generator:
        return generator.play(Load(rate=200, seconds=0.5))


def test_each_response_is_counted_by_its_status() -> None:
    with answering(OK, BUSY, ODD) as port:
        stats = play(port, Kind("read", 1, [b"GET / HTTP/1.1\r\n\r\n"]))

    counts = stats.kinds["read"]
    assert stats.offered == counts.accepted + counts.rejected + counts.other
    assert counts.accepted >= counts.rejected >= counts.other >= counts.accepted - 1 > 0
    assert stats.last_rejected_s > 0


def test_a_response_in_pieces_is_put_together() -> None:
    with answering(b"HTTP/1.1 200 OK\r\nContent-|Length: 12\r\n\r\n123456|789012") as port:
        stats = play(port, Kind("read", 1, [b"GET / HTTP/1.1\r\n\r\n"]))

    assert stats.accepted == stats.offered > 0


def test_a_connection_that_is_closed_is_opened_again() -> None:
    setup = Setup(0, 2, [Kind("read", 1, [b"GET / HTTP/1.1\r\n\r\n"])])
    with answering(OK) as port, Generator(structs.replace(setup, port=port)) as generator:
        for connection in generator._sockets.values():
            connection.shutdown(socket.SHUT_RDWR)
        stats = generator.play(Load(rate=200, seconds=0.5))

    assert stats.accepted + stats.lost == stats.offered
    assert stats.accepted > 0


def test_a_cart_is_ordered_once_and_a_rejected_checkout_is_sent_again() -> None:
    carts = [b"POST /%d HTTP/1.1\r\n\r\n" % number for number in range(100)]
    setup = Setup(0, 4, [Kind("checkout", 1, carts, once=True)])
    with answering(BUSY, BUSY, OK) as port, Generator(structs.replace(setup, port=port)) as generator:
        stats = generator.play(Load(rate=200, seconds=0.5))

        assert len(generator._requests[0]) == 100 - stats.accepted


def test_requests_that_are_sent_once_can_be_used_up() -> None:
    with answering(OK) as port, pytest.raises(SystemExit, match="used up"):
        play(port, Kind("checkout", 1, [b"POST / HTTP/1.1\r\n\r\n"], once=True))
