"""Decoders of request bodies: by Content-Length, and the chunked transfer coding (RFC 9112, 6 and 7.1).

A decoder reads from a buffer and leaves there what it cannot decode yet. Trailers are checked and dropped.
"""

from __future__ import annotations

import re
from typing import Final

from gateway.http import problems
from gateway.server.protocol_error import ProtocolError

# The size of a chunk with its extensions. Extensions have no meaning here; a limit keeps them from outweighing the body.
MAX_CHUNK_LINE_BYTES: Final = 1024
MAX_TRAILER_LINE_BYTES: Final = 8 * 1024
MAX_TRAILER_BYTES: Final = 32 * 1024

_CRLF: Final = b"\r\n"
# The size line of a chunk without extensions.
_PLAIN_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})\r\n")
_CHUNK_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,16})(?:;[\t -~]*)?")
_TRAILER_LINE: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[^\x00-\x08\x0a-\x1f\x7f]*")
# A trailer with one of these could be taken for the framing of the message (RFC 9110, 6.5.1).
_FRAMING_FIELDS: Final = frozenset({b"content-length", b"transfer-encoding", b"host"})

_SIZE_LINE, _DATA, _DATA_END, _TRAILERS, _COMPLETE = range(5)


class CountedBody:
    """A body of a known length."""

    __slots__ = ("is_complete", "remaining", "start")

    def __init__(self, length: int) -> None:
        self.remaining = length
        self.is_complete = False
        # Where the bytes begin that the last call of `decode` has left in its buffer.
        self.start = 0

    def decode(self, buffer: bytes, start: int, max_bytes: int) -> bytes:
        """The bytes of the body in `buffer` from `start` on. Raises `ProtocolError` if it is longer than `max_bytes`."""
        if self.remaining > max_bytes:
            raise ProtocolError(problems.BODY_TOO_LARGE)
        data = buffer[start : start + self.remaining]
        self.remaining -= len(data)
        self.start = start + len(data)
        self.is_complete = self.remaining == 0
        return data


class ChunkedBody:
    """A body in chunks."""

    __slots__ = ("_received", "_remaining", "_state", "_trailer_bytes", "is_complete", "start")

    def __init__(self) -> None:
        self._received = 0
        self._state = _SIZE_LINE
        # How much of the current chunk is still to come.
        self._remaining = 0
        self._trailer_bytes = 0
        self.is_complete = False
        # Where the bytes begin that the last call of `decode` has left in its buffer.
        self.start = 0

    def decode(self, buffer: bytes, start: int, max_bytes: int) -> bytes:
        """The bytes of the body in `buffer` from `start` on.

        Raises `ProtocolError` for what is no chunk, and for more than `max_bytes` as soon as a chunk announces it.
        """
        pieces: list[bytes] = []
        self.start = start
        if self._state == _SIZE_LINE:
            self._take_whole_chunks(buffer, max_bytes, pieces)
        while not self.is_complete and self._advance(buffer, max_bytes, pieces):
            pass
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _advance(self, buffer: bytes, max_bytes: int, pieces: list[bytes]) -> bool:
        """Take the next part of the coding; False where more data is needed."""
        if self._state == _DATA:
            return self._take_data(buffer, pieces)
        if self._state == _DATA_END:
            return self._take_data_end(buffer)
        line = self._line(buffer)
        if line is None:
            return False
        if self._state == _SIZE_LINE:
            self._begin_chunk(line, max_bytes)
        elif line:
            self._drop_trailer(line)
        else:
            self._state = _COMPLETE
            self.is_complete = True
        return True

    def _take_data(self, buffer: bytes, pieces: list[bytes]) -> bool:
        piece = buffer[self.start : self.start + self._remaining]
        if not piece:
            return False
        pieces.append(piece)
        self.start += len(piece)
        self._remaining -= len(piece)
        if self._remaining:
            return False
        self._state = _DATA_END
        return True

    def _take_data_end(self, buffer: bytes) -> bool:
        end = buffer[self.start : self.start + 2]
        if end != _CRLF:
            if end and end != b"\r":
                raise ProtocolError(problems.MALFORMED_REQUEST)
            return False
        self.start += 2
        self._state = _SIZE_LINE
        return True

    def _take_whole_chunks(self, buffer: bytes, max_bytes: int, pieces: list[bytes]) -> None:
        """Take the chunks that have arrived whole: many small ones cost a third of the general way, a step at a time."""
        start, received = self.start, self._received
        while (line := _PLAIN_SIZE.match(buffer, start)) is not None:
            size, begin = int(line[1], 16), line.end()
            end = begin + size
            if size == 0 or buffer[end : end + 2] != _CRLF or received + size > max_bytes:
                break
            pieces.append(buffer[begin:end])
            received += size
            start = end + 2
        self.start, self._received = start, received

    def _line(self, buffer: bytes) -> bytes | None:
        """The next line without its end, None if it has not come whole."""
        limit = MAX_CHUNK_LINE_BYTES if self._state == _SIZE_LINE else MAX_TRAILER_LINE_BYTES
        start = self.start
        end = buffer.find(b"\n", start, start + limit)
        if end < 0:
            if len(buffer) - start >= limit:
                raise ProtocolError(problems.MALFORMED_REQUEST)
            return None
        self.start = end + 1
        if end == start or buffer[end - 1] != 0x0D:
            raise ProtocolError(problems.MALFORMED_REQUEST)
        return buffer[start : end - 1]

    def _begin_chunk(self, line: bytes, max_bytes: int) -> None:
        match = _CHUNK_LINE.fullmatch(line)
        if match is None:
            raise ProtocolError(problems.MALFORMED_REQUEST)
        self._remaining = int(match[1], 16)
        self._received += self._remaining
        if self._received > max_bytes:
            raise ProtocolError(problems.BODY_TOO_LARGE)
        self._state = _DATA if self._remaining else _TRAILERS

    def _drop_trailer(self, line: bytes) -> None:
        match = _TRAILER_LINE.fullmatch(line)
        if match is None or match[1].lower() in _FRAMING_FIELDS:
            raise ProtocolError(problems.MALFORMED_REQUEST)
        self._trailer_bytes += len(line) + 2
        if self._trailer_bytes > MAX_TRAILER_BYTES:
            raise ProtocolError(problems.MALFORMED_REQUEST)
