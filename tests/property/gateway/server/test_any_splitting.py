"""Whatever bytes arrive, in whatever pieces: the same requests are read, none holds anything of another, and memory is bounded."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from gateway.http.head_limits import MAX_HEAD_BYTES
from gateway.server import http1
from tests.http1_driver import MAX_BODY_BYTES, Driver, byte_by_byte, in_pieces, new_connection

# Markers that a message carries in all its parts: the number of the message.
names = st.sampled_from(["X-A", "x-a", "Cookie", "Authorization", "Content-Type", "X-Amzn-Trace-Id"])


@dataclass(frozen=True)
class Sent:
    """A request with its number in target, fields, body and trailers."""

    number: int
    field_names: tuple[str, ...]
    pieces: tuple[bytes, ...]
    framing: str
    trailer_names: tuple[str, ...]

    @property
    def mark(self) -> bytes:
        return b"mark%d." % self.number

    @property
    def body(self) -> bytes:
        return b"" if self.framing == "none" else b"".join(self.mark + piece for piece in self.pieces)

    def encode(self) -> bytes:
        method = b"GET" if self.framing == "none" else b"POST"
        lines = [b"%b /%b HTTP/1.1" % (method, self.mark), b"Host: shop"]
        lines += [b"%b: %b" % (name.encode(), self.mark) for name in dict.fromkeys(map(str.lower, self.field_names))]
        if self.framing == "none":
            return b"\r\n".join([*lines, b"", b""])
        if self.framing == "counted":
            return b"\r\n".join([*lines, b"Content-Length: %d" % len(self.body), b"", self.body])
        chunks = [b"%x;e=%b\r\n%b%b" % (len(self.mark + piece), self.mark, self.mark, piece) for piece in self.pieces]
        trailers = [b"%b: %b" % (name.encode(), self.mark) for name in self.trailer_names]
        return b"\r\n".join([*lines, b"Transfer-Encoding: chunked", b"", *chunks, b"0", *trailers, b"", b""])


def numbered(requests: list[Sent]) -> list[Sent]:
    return [
        Sent(number, each.field_names, each.pieces, each.framing, each.trailer_names)
        for number, each in enumerate(requests)
    ]


requests = st.lists(
    st.builds(
        Sent,
        number=st.just(0),
        field_names=st.lists(names, max_size=3).map(tuple),
        pieces=st.lists(st.binary(max_size=20) | st.just(b"\r\n\r\n0\r\n\r\n") | st.just(b"x" * 300), max_size=3).map(
            tuple
        ),
        framing=st.sampled_from(["none", "counted", "chunked"]),
        trailer_names=st.lists(names, max_size=2).map(tuple),
    ),
    min_size=1,
    max_size=5,
).map(numbered)
cuts = st.lists(st.integers(0, 3000), max_size=12)


@given(sent=requests, at=cuts)
def test_every_splitting_reads_the_requests_that_were_sent(sent: list[Sent], at: list[int]) -> None:
    data = b"".join(each.encode() for each in sent)
    for pieces in ([data], in_pieces(data, at), byte_by_byte(data)):
        driver = Driver().receive(*pieces)
        assert driver.rejected is None
        assert [request.target for request in driver.requests] == [f"/{each.mark.decode()}" for each in sent]
        assert [request.body for request in driver.requests] == [each.body for each in sent]
        assert driver.http.state == http1.IDLE


@given(sent=requests, at=cuts)
def test_no_request_holds_anything_of_another(sent: list[Sent], at: list[int]) -> None:
    data = b"".join(each.encode() for each in sent)
    for each, request in zip(sent, Driver().receive(*in_pieces(data, at)).requests, strict=True):
        expected = [name.lower() for name in each.field_names]
        marked = [(name.lower(), value) for name, value in request.headers if value.startswith("mark")]
        assert marked == [(name, each.mark.decode()) for name in dict.fromkeys(expected)]


def folded(driver: Driver) -> object:
    """What was read, without the case of field names, which the parser changes for well-known ones."""
    return driver.rejected, [
        (each.method, each.target, each.body, [(name.lower(), value) for name, value in each.headers])
        for each in driver.requests
    ]


TOKENS = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b"\0",
    b" ",
    b"\t",
    b":",
    b";",
    b"0\r\n\r\n",
    b"ffffffffffffffff\r\n",
    b"HTTP/1.0",
    b"HTTP/2.0",
    b"Content-Length: 5\r\n",
    b"Content-Length: 18446744073709551615\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding:\r\n",
    b"Connection: close\r\n",
    b"Upgrade: websocket\r\nConnection: Upgrade\r\n",
    b"Host: x\r\n",
    b"X: " + b"y" * 9_000 + b"\r\n",
    b"z" * 70_000,
]
mutations = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 6), st.integers(0, len(TOKENS) - 1) | st.binary(max_size=8)), max_size=3
)


def mutated(data: bytes, changes: list[tuple[float, int, int | bytes]]) -> bytes:
    for where, dropped, put in changes:
        at = int(where * len(data))
        # A token is drawn by its number, so that a failing example is printed short.
        data = data[:at] + (TOKENS[put] if isinstance(put, int) else put) + data[at + dropped :]
    return data


@given(sent=requests, changes=mutations, at=cuts)
def test_mutated_traffic_reads_the_same_in_every_splitting(
    sent: list[Sent], changes: list[tuple[float, int, int | bytes]], at: list[int]
) -> None:
    data = mutated(b"".join(each.encode() for each in sent), changes)
    splittings = [[data], in_pieces(data, at), in_pieces(data, range(0, len(data), 97))]
    if len(data) < 4_000:
        splittings.append(byte_by_byte(data))
    first, *others = [Driver().receive(*pieces) for pieces in splittings]
    by_the_parser = Driver(new_connection(plain_heads=None)).receive(data)
    assert folded(by_the_parser) == folded(first)
    for driver in others:
        assert (driver.requests, driver.rejected) == (first.requests, first.rejected)
        assert driver.http.state == first.http.state


@given(sent=requests, changes=mutations, size=st.integers(1, 500))
def test_the_buffer_is_bounded_for_any_traffic(
    sent: list[Sent], changes: list[tuple[float, int, int | bytes]], size: int
) -> None:
    data = mutated(b"".join(each.encode() for each in sent), changes)
    driver = Driver().receive(*in_pieces(data, range(0, len(data), size)))
    assert driver.most_buffered <= MAX_HEAD_BYTES + size
    assert all(len(request.received) <= MAX_BODY_BYTES for request in driver.requests)


@given(data=st.binary(max_size=300), at=cuts)
def test_any_bytes_are_read_the_same_in_every_splitting(data: bytes, at: list[int]) -> None:
    first, *others = [Driver().receive(*pieces) for pieces in ([data], in_pieces(data, at), byte_by_byte(data))]
    for driver in others:
        assert (driver.requests, driver.rejected) == (first.requests, first.rejected)
