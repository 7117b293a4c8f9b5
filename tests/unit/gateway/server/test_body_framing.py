"""The chunked coding, and bodies of a known length."""

from __future__ import annotations

import pytest

from gateway.server.body_framing import (
    MAX_CHUNK_LINE_BYTES,
    MAX_TRAILER_BYTES,
    MAX_TRAILER_LINE_BYTES,
    ChunkedBody,
    CountedBody,
)
from gateway.server.protocol_error import ProtocolError


def decoded(data: bytes, *, size: int = 2**20, max_bytes: int = 2**20) -> tuple[bytes, bytes, bool]:
    """The body, what is left of the data, and whether the body is complete; fed in pieces of `size`."""
    body, buffer, result = ChunkedBody(), b"", b""
    for start in range(0, len(data), size):
        if body.is_complete:
            buffer += data[start:]
            break
        buffer += data[start : start + size]
        result += body.decode(buffer, 0, max_bytes)
        buffer = buffer[body.start :]
    return result, buffer, body.is_complete


sizes = pytest.mark.parametrize("size", [2**20, 7, 1])


@sizes
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"0\r\n\r\n", b""),
        (b"000\r\n\r\n", b""),
        (b"1\r\nx\r\n" * 5 + b"0\r\n\r\n", b"xxxxx"),
        (b"0a\r\n0123456789\r\nA\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", b"0123456789" * 3),
        (b"4\r\n\r\n\r\n\r\n2\r\n\r\n\r\n0\r\n\r\n", b"\r\n\r\n\r\n"),
        (b"100\r\n%b\r\n0\r\n\r\n" % (b"x" * 256), b"x" * 256),
        (b'3;a=b;c="d e"\r\nabc\r\n0;e\r\n\r\n', b"abc"),
        (b"3\r\nabc\r\n0\r\nA: b\r\nB:\r\nC: \xff\t\r\n\r\n", b"abc"),
    ],
)
def test_chunks_are_joined_and_the_next_bytes_are_left(data: bytes, expected: bytes, size: int) -> None:
    assert decoded(data + b"GET /", size=size) == (expected, b"GET /", True)


@sizes
@pytest.mark.parametrize(
    "data",
    [
        b"zz\r\n",
        b"-1\r\n",
        b"+1\r\nx\r\n",
        b"0x1\r\nx\r\n",
        b"1_0\r\n",
        b"\r\n",
        b"1 \r\nx\r\n",
        b" 1\r\nx\r\n",
        b"1\nx\n",
        b"1\r\nx\n",
        b"1\r\nxy\r\n",
        b"1\r\nx\rx",
        b"1\r\nx\r\n1\r\nxx\r\n",
        b"1;a\x00\r\nx\r\n",
        b"1;a\nb\r\nx\r\n",
        b"1" * 17 + b"\r\n",
        b"1;" + b"a" * MAX_CHUNK_LINE_BYTES,
        b"0\r\nno colon\r\n\r\n",
        b"0\r\n: empty name\r\n\r\n",
        b"0\r\nA : b\r\n\r\n",
        b"0\r\n A: b\r\n\r\n",
        b"0\r\nA: b\x00\r\n\r\n",
        b"0\r\nA: b\n\r\n",
        b"0\r\nContent-Length: 5\r\n\r\n",
        b"0\r\ntransfer-encoding: chunked\r\n\r\n",
        b"0\r\nHost: other\r\n\r\n",
        b"0\r\nA: " + b"b" * MAX_TRAILER_LINE_BYTES,
        b"0\r\n" + b"A: b\r\n" * (MAX_TRAILER_BYTES // 6 + 1),
    ],
)
def test_a_malformed_chunk_is_an_error(data: bytes, size: int) -> None:
    with pytest.raises(ProtocolError) as raised:
        decoded(data, size=size)
    assert raised.value.problem.slug == "malformed-request"


@sizes
@pytest.mark.parametrize("data", [b"5\r\n", b"3\r\nabc\r\n2\r\n", b"1\r\nx\r\n" * 5, b"ffffffffffffffff\r\n"])
def test_a_body_is_too_large_as_soon_as_a_chunk_says_so(data: bytes, size: int) -> None:
    with pytest.raises(ProtocolError) as raised:
        decoded(data, size=size, max_bytes=4)
    assert raised.value.problem.slug == "body-too-large"
    assert decoded(b"4\r\nabcd\r\n0\r\n\r\n", size=size, max_bytes=4) == (b"abcd", b"", True)


def test_an_incomplete_body_is_not_complete() -> None:
    for data in (
        b"",
        b"1",
        b"1\r",
        b"1\r\n",
        b"1\r\nx",
        b"1\r\nx\r",
        b"1\r\nx\r\n",
        b"0\r\n",
        b"0\r\n\r",
        b"0\r\nA: b\r\n",
    ):
        assert not decoded(data)[2]


def test_a_counted_body_ends_at_its_length() -> None:
    body = CountedBody(5)
    assert (body.decode(b"-abc", 1, 5), body.start, body.is_complete) == (b"abc", 4, False)
    assert (body.decode(b"deGET", 0, 5), body.start, body.is_complete) == (b"de", 2, True)


def test_a_counted_body_longer_than_the_limit_is_too_large() -> None:
    with pytest.raises(ProtocolError) as raised:
        CountedBody(6).decode(b"", 0, 5)
    assert raised.value.problem.slug == "body-too-large"
