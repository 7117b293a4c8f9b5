"""Where the body of an answer ends: after its length, after its last chunk, or with the connection."""

from __future__ import annotations

import re
from typing import Final, Protocol

from gateway.proxy.errors import BadAnswer
from gateway.proxy.response_head import CHUNKED, UNTIL_CLOSE

# A chunk's size with its extensions, and a trailer section, both of which are dropped.
_LINE_MOST: Final = 1024
_TRAILERS_MOST: Final = 8 * 1024
_CHUNK_LINE: Final = re.compile(rb"([0-9a-fA-F]{1,15})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?")
_TRAILER: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*")


class Framing(Protocol):
    """Takes what arrives apart."""

    # The whole body has come.
    is_done: bool
    # Something came behind it, which nobody asked for.
    has_more: bool

    def feed(self, data: bytes) -> list[bytes]:
        """The pieces of the body in `data`. Raises `BadAnswer`."""
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

    __slots__ = ("_held", "_in_trailers", "_left", "_trailers", "has_more", "is_done")

    def __init__(self) -> None:
        # Of the chunk that is being received, with the line end behind it; 0 where a size comes next.
        self._left = 0
        # A line that has come in part only.
        self._held = b""
        self._in_trailers = False
        self._trailers = 0
        self.is_done = False
        self.has_more = False

    def feed(self, data: bytes) -> list[bytes]:
        """See `Framing`."""
        pieces: list[bytes] = []
        if self._held:
            data, self._held = self._held + data, b""
        at = 0
        while at < len(data) and not self.is_done:
            if self._left:
                at = self._take_data(data, at, pieces)
                continue
            end = data.find(b"\r\n", at, at + _LINE_MOST)
            if end < 0:
                if len(data) - at >= _LINE_MOST or data.find(b"\n", at) >= 0:
                    raise BadAnswer("a chunk's line that does not end")
                self._held = data[at:]
                return pieces
            self._take_line(data[at:end])
            at = end + 2
        self.has_more = at < len(data)
        return pieces

    def _take_data(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        """Take what has come of a chunk; says how far that goes."""
        taken = min(self._left - 2, len(data) - at)
        if taken > 0:
            pieces.append(data[at : at + taken])
            self._left -= taken
            at += taken
        if self._left > 2 or at == len(data):
            return at
        # The line end behind a chunk may come in two pieces as well.
        expected = b"\r\n"[2 - self._left :]
        found = data[at : at + self._left]
        if not expected.startswith(found):
            raise BadAnswer("a chunk that does not end where it should")
        self._left -= len(found)
        return at + len(found)

    def _take_line(self, line: bytes) -> None:
        if self._in_trailers:
            self._take_trailer(line)
            return
        found = _CHUNK_LINE.fullmatch(line)
        if found is None:
            raise BadAnswer("a chunk without a size")
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
        if self._trailers > _TRAILERS_MOST or not _TRAILER.fullmatch(line):
            raise BadAnswer("trailers that are none")
