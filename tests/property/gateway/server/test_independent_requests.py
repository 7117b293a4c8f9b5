"""What is read of one request depends neither on the requests around it nor on the pieces in which it arrives."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.server import http1
from gateway.server.plain_head import PlainHeadReader
from tests.http1_driver import Driver, Received, byte_by_byte, in_pieces, new_connection

# Names that a server acts on, in fields and in trailers.
NAMES = st.sampled_from(
    [
        "Cookie",
        "Authorization",
        "X-Api-Key",
        "X-Forwarded-For",
        "Content-Type",
        "Accept",
        "Waiting-Room-Token",
        "traceparent",
        "Connection",
        "Upgrade",
        "X-A",
        "x-a",
        "Expect",
    ]
)
VALUES = st.sampled_from(["", "keep-alive", "h2c", "100-continue", "close, x", "a=b"]) | st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=8
).map(str.strip)
FIELDS = st.lists(st.tuples(NAMES, VALUES).filter(lambda field: "close" not in field[1]), max_size=4)
PIECES = st.lists(
    st.binary(max_size=12)
    | st.sampled_from([b"\r\n\r\n", b"0\r\n\r\n", b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n", b"y" * 300]),
    max_size=3,
)


def encode(version: bytes, target: bytes, fields: list[tuple[str, str]], body: bytes, framing: bytes) -> bytes:
    lines = [b"POST %b HTTP/%b" % (target, version), b"Host: shop"]
    lines += [f"{name}: {value}".encode("latin-1") for name, value in fields]
    return b"\r\n".join([*lines, framing, b"", body]) if framing else b"\r\n".join([*lines, b"", body])


def counted(version: bytes, target: bytes, fields: list[tuple[str, str]], pieces: list[bytes]) -> bytes:
    body = b"".join(pieces)
    return encode(version, target, fields, body, b"Content-Length: %d" % len(body))


def chunked(
    target: bytes, fields: list[tuple[str, str]], pieces: list[bytes], trailers: list[tuple[str, str]], extension: bytes
) -> bytes:
    chunks = [b"%x%b\r\n%b\r\n" % (len(piece), extension, piece) for piece in pieces if piece]
    ends = [f"{name}: {value}\r\n".encode("latin-1") for name, value in trailers]
    body = b"".join([*chunks, b"0%b\r\n" % extension, *ends, b"\r\n"])
    return encode(b"1.1", target, fields, body, b"Transfer-Encoding: chunked")


TARGETS = st.sampled_from([b"/", b"/a?b=c", b"http://shop/a", b"/a%20b"])
VERSIONS = st.sampled_from([b"1.1", b"1.2"])
REQUESTS = st.one_of(
    st.builds(encode, VERSIONS, TARGETS, FIELDS, st.just(b""), st.just(b"")),
    st.builds(counted, VERSIONS, TARGETS, FIELDS, PIECES),
    st.builds(chunked, TARGETS, FIELDS, PIECES, FIELDS, st.sampled_from([b"", b";a=b"])),
)
CUTS = st.lists(st.integers(0, 2500), max_size=12)


def alone(data: bytes) -> list[Received]:
    """The request as a connection reads it that has read nothing else, in a process that has not either."""
    return Driver(new_connection(PlainHeadReader())).receive(data).requests


@given(sent=st.lists(REQUESTS, min_size=1, max_size=6), cuts=CUTS)
def test_a_request_is_read_as_if_it_were_alone(sent: list[bytes], cuts: list[int]) -> None:
    accepted = [data for data in sent if Driver(new_connection(PlainHeadReader())).receive(data).rejected is None]
    expected = [request for data in accepted for request in alone(data)]
    assert len(expected) == len(accepted)
    stream = b"".join(accepted)
    for pieces in ([stream], in_pieces(stream, cuts), byte_by_byte(stream)):
        driver = Driver().receive(*pieces)
        assert driver.rejected is None
        assert driver.requests == expected
        assert driver.http.state == http1.IDLE


@given(before=st.lists(REQUESTS, max_size=3), trailers=FIELDS, cuts=CUTS)
def test_a_trailer_is_no_field_of_any_request(
    before: list[bytes], trailers: list[tuple[str, str]], cuts: list[int]
) -> None:
    accepted = [data for data in before if Driver(new_connection(PlainHeadReader())).receive(data).rejected is None]
    last = b"GET /last HTTP/1.1\r\nHost: victim\r\n\r\n"
    stream = b"".join([*accepted, chunked(b"/first", [], [b"Z"], trailers, b""), last])
    *_, first, second = Driver().receive(*in_pieces(stream, cuts)).requests
    assert [name.lower() for name, _ in first.headers] == ["host", "transfer-encoding"]
    assert second.headers == (("Host", "victim"),)
