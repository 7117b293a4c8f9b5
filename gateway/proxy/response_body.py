"""Framing of a response body: by its length, by chunks, or by the end of the connection (RFC 9112, 6)."""

from __future__ import annotations

import re
from typing import Final, Protocol

from gateway.proxy.errors import BadResponse
from gateway.proxy.response_head import CHUNKED, UNTIL_CLOSE

# As of requests: bytes of a chunk's size with its extensions, of a trailer, and of a trailer section.
_MAX_LINE: Final = 1024
_MAX_TRAILER_LINE: Final = 8 * 1024
_MAX_TRAILERS: Final = 32 * 1024
_CHUNK_LINE: Final = re.compile(rb"([0-9a-fA-F]{1,15})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?")
_TRAILER: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*")


class Framing(Protocol):
    """Separates a body from its framing."""

    # The whole body was received.
    is_done: bool
    # Bytes followed it that belong to no request.
    has_more: bool

    def feed(self, data: bytes) -> list[bytes]:
        """The pieces of the body in `data`. Raises `BadResponse`."""
        ...


def framing(length: int) -> Framing:
    """The framing of a body of this length, or `CHUNKED`, or `UNTIL_CLOSE`."""
    if length == CHUNKED:
        return Chunked()
    return UntilClose() if length == UNTIL_CLOSE else Counted(length)


class Counted:
    """A body with a Content-Length."""

    __slots__ = ("_left", "has_more", "is_done")

    def __init__(self, length: int) -> None:
        self._left = length
        self.is_done = length == 0
        self.has_more = False

    def feed(self, data: bytes) -> list[bytes]:
        """See `Framing`."""
        if len(data) > self._left:
            self.has_more = True
            data = data[: self._left]
        self._left -= len(data)
        self.is_done = self._left == 0
        return [data] if data else []


class UntilClose:
    """A body that ends with its connection."""

    __slots__ = ("has_more", "is_done")

    def __init__(self) -> None:
        self.is_done = False
        self.has_more = False

    def feed(self, data: bytes) -> list[bytes]:
        """See `Framing`."""
        return [data] if data else []


class Chunked:
    """A body in chunks (RFC 9112, 7.1). Extensions and trailers are dropped."""

    __slots__ = ("_buffered", "_in_trailers", "_left", "_trailers", "has_more", "is_done")

    def __init__(self) -> None:
        # Bytes left of the current chunk and its line end; 0 before a size.
        self._left = 0
        # A part of a line.
        self._buffered = b""
        self._in_trailers = False
        self._trailers = 0
        self.is_done = False
        self.has_more = False

    def feed(self, data: bytes) -> list[bytes]:
        """See `Framing`."""
        pieces: list[bytes] = []
        if self._buffered:
            data, self._buffered = self._buffered + data, b""
        at = 0
        while at < len(data) and not self.is_done:
            if self._left:
                at = self._take_data(data, at, pieces)
                continue
            limit = _MAX_TRAILER_LINE if self._in_trailers else _MAX_LINE
            end = data.find(b"\r\n", at, at + limit)
            if end < 0:
                if len(data) - at >= limit or data.find(b"\n", at) >= 0:
                    raise BadResponse("the line of a chunk is too long or ends in LF")
                self._buffered = data[at:]
                return pieces
            self._take_line(data[at:end])
            at = end + 2
        self.has_more = at < len(data)
        return pieces

    def _take_data(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        """Take the data of a chunk from position `at`; returns the position after it."""
        taken = min(self._left - 2, len(data) - at)
        if taken > 0:
            pieces.append(data[at : at + taken])
            self._left -= taken
            at += taken
        if self._left > 2 or at == len(data):
            return at
        # The line end after a chunk may be split as well.
        expected = b"\r\n"[2 - self._left :]
        received = data[at : at + self._left]
        if not expected.startswith(received):
            raise BadResponse("a chunk does not end at its size")
        self._left -= len(received)
        return at + len(received)

    def _take_line(self, line: bytes) -> None:
        if self._in_trailers:
            self._take_trailer(line)
            return
        found = _CHUNK_LINE.fullmatch(line)
        if found is None:
            raise BadResponse("a chunk has no valid size")
        size = int(found[1], 16)
        if size:
            self._left = size + 2
        else:
            self._in_trailers = True

    def _take_trailer(self, line: bytes) -> None:
        if not line:
            self.is_done = True
            return
        self._trailers += len(line)
        if self._trailers > _MAX_TRAILERS or not _TRAILER.fullmatch(line):
            raise BadResponse("the trailer section is malformed or too large")
