from __future__ import annotations

import pytest

from gateway.proxy.errors import BadResponse
from gateway.proxy.response_body import Chunked
from tests.http1_driver import byte_by_byte

LONG = b"Server-Timing: " + b"x" * 8000 + b"\r\n"


def feed(pieces: list[bytes]) -> None:
    body = Chunked()
    for piece in pieces:
        body.feed(piece)


@pytest.mark.parametrize("trailers", [b"", b"X: y\r\n", LONG, LONG * 3, b"X: y\r\n" * 500])
def test_trailers_are_dropped(trailers: bytes) -> None:
    data = b"5\r\nhello\r\n0\r\n" + trailers + b"\r\n"
    for pieces in ([data], byte_by_byte(data)):
        body = Chunked()
        assert b"".join(piece for data in pieces for piece in body.feed(data)) == b"hello"
        assert body.is_done
        assert not body.has_more


@pytest.mark.parametrize(
    "trailers", [b"X: " + b"y" * 8200 + b"\r\n", LONG * 5, b"no colon\r\n", b"X : y\r\n", b"X: y\n", b" folded\r\n"]
)
def test_malformed_or_too_many_trailers_are_invalid(trailers: bytes) -> None:
    data = b"0\r\n" + trailers + b"\r\n"
    for pieces in ([data], byte_by_byte(data)):
        with pytest.raises(BadResponse):
            feed(pieces)
