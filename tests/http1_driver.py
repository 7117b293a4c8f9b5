"""Drives the state machine of a connection with pieces of bytes, without a socket or a loop, and notes what it reads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

from gateway.server.http1 import Http1
from gateway.server.plain_head import PlainHeadReader
from gateway.server.protocol_error import ProtocolError

MAX_BODY_BYTES = 64 * 1024
# As in a process: what is remembered of one connection's lines is there for all others.
SHARED_READER = PlainHeadReader()


def new_connection(plain_heads: PlainHeadReader | None = SHARED_READER) -> Http1:
    """The state of a connection with the time limits that the tests go by."""
    return Http1(keepalive_s=75.0, receive_timeout_s=10.0, plain_heads=plain_heads)


@dataclass
class Received:
    """A request as it was read; `body` is None while it is not complete.

    How much is received of a body that turns out to be malformed depends on the pieces, so that is not compared.
    """

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    received: bytes = field(default=b"", compare=False)
    body: bytes | None = None


@dataclass
class Driver:
    """A connection whose requests are all responded to at once when they are complete."""

    http: Http1 = field(default_factory=new_connection)
    requests: list[Received] = field(default_factory=list)
    # The slug of the problem that ended the connection.
    rejected: str | None = None
    most_buffered: int = 0

    def receive(self, *pieces: bytes) -> Driver:
        """Each piece is what one read of the socket brings."""
        for piece in pieces:
            try:
                self._receive(piece)
            except ProtocolError as error:
                self.rejected = error.problem.slug
            self.most_buffered = max(self.most_buffered, self.http.buffered_bytes)
        return self

    def _receive(self, data: bytes) -> None:
        http = self.http
        if http.body is not None:
            http.receive_data(data)
            self._read_body()
            data = b""
        while (message := http.next_request(data)) is not None:
            data = b""
            self.requests.append(Received(message.line.method, message.line.target, tuple(message.headers.items())))
            self._should_close = message.should_close
            self._read_body()

    def _read_body(self) -> None:
        http, request = self.http, self.requests[-1]
        request.received += http.read_body(MAX_BODY_BYTES)
        if http.body is None:
            request.body = request.received
            http.response_sent()
            if self._should_close:
                http.close()

    _should_close: bool = False


def in_pieces(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """The data cut at these offsets."""
    offsets = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    return [data[start:end] for start, end in pairwise(offsets)]


def byte_by_byte(data: bytes) -> list[bytes]:
    """The data in pieces of one byte."""
    return [data[at : at + 1] for at in range(len(data))]
