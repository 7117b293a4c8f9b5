"""Decoders of request bodies: by Content-Length, and the chunked transfer coding (RFC 9112, 6 and 7.1).

A decoder reads from a buffer and leaves incomplete parts there. Trailers are checked and dropped.
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
_CHUNK_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,16})(?:;[\t -~]{0,1000})?\r\n")
# The sizes of small chunks by their lines.
_SMALL_SIZES: Final = {line % size: size for size in range(1, 256) for line in (b"%x", b"%X")}
# The last line is empty.
_TRAILER_LINE: Final = re.compile(rb"(?:([!#$%&'*+.^_`|~0-9A-Za-z-]+):[^\x00-\x08\x0a-\x1f\x7f]*)?\r\n")
# A trailer with one of these could be taken for the framing of the message (RFC 9110, 6.5.1).
_FRAMING_FIELDS: Final = frozenset({b"content-length", b"transfer-encoding", b"host"})

_SIZE_LINE, _DATA, _DATA_END, _TRAILERS = range(4)


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

        Raises `ProtocolError` for bytes that are no chunk, and for more than `max_bytes` as soon as a chunk announces it.
        """
        pieces: list[bytes] = []
        self.start = start
        is_going_on = True
        while is_going_on:
            if self._state == _SIZE_LINE:
                is_going_on = self._decode_chunks(buffer, max_bytes, pieces)
            elif self._state == _DATA:
                is_going_on = self._decode_data(buffer, pieces)
            elif self._state == _DATA_END:
                is_going_on = self._decode_data_end(buffer)
            else:
                is_going_on = self._drop_trailer(buffer)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _decode_chunks(self, buffer: bytes, max_bytes: int, pieces: list[bytes]) -> bool:
        """Decode whole chunks, then begin one that is not; says whether there is more to do."""
        if buffer.find(_CRLF, self.start, self.start + 4) > 0:
            self._decode_small_chunks(buffer, max_bytes, pieces)
        start, received, size = self.start, self._received, 1
        end = len(buffer)
        while size:
            match = _CHUNK_LINE.match(buffer, start)
            if match is None:
                self.start, self._received = start, received
                _check_incomplete(buffer, start, MAX_CHUNK_LINE_BYTES)
                return False
            size = int(match[1], 16)
            received += size
            if received > max_bytes:
                raise ProtocolError(problems.BODY_TOO_LARGE)
            data_start = match.end()
            data_end = data_start + size
            if data_end + 2 > end or not size:
                break
            if not buffer.startswith(_CRLF, data_end):
                raise ProtocolError(problems.MALFORMED_REQUEST)
            pieces.append(buffer[data_start:data_end])
            start = data_end + 2
        self.start, self._received, self._remaining = data_start, received, size
        self._state = _DATA if size else _TRAILERS
        return True

    def _decode_small_chunks(self, buffer: bytes, max_bytes: int, pieces: list[bytes]) -> None:
        """Decode a run of whole chunks of less than 256 bytes, without line ends in them, at a fifth of the usual cost.

        A client may send its body in chunks of a byte.
        """
        parts = buffer[self.start :].split(_CRLF)
        parts.pop()
        chunks = 0
        for line, data in zip(parts[::2], parts[1::2], strict=False):
            if _SMALL_SIZES.get(line) != len(data):
                break
            pieces.append(data)
            chunks += 1
        run = parts[: 2 * chunks]
        self._received += sum(map(len, run[1::2]))
        if self._received > max_bytes:
            raise ProtocolError(problems.BODY_TOO_LARGE)
        self.start += sum(map(len, run)) + 4 * chunks

    def _decode_data(self, buffer: bytes, pieces: list[bytes]) -> bool:
        piece = buffer[self.start : self.start + self._remaining]
        if piece:
            pieces.append(piece)
        self.start += len(piece)
        self._remaining -= len(piece)
        if self._remaining:
            return False
        self._state = _DATA_END
        return True

    def _decode_data_end(self, buffer: bytes) -> bool:
        end = buffer[self.start : self.start + 2]
        if end != _CRLF:
            if end and end != b"\r":
                raise ProtocolError(problems.MALFORMED_REQUEST)
            return False
        self.start += 2
        self._state = _SIZE_LINE
        return True

    def _drop_trailer(self, buffer: bytes) -> bool:
        match = _TRAILER_LINE.match(buffer, self.start)
        if match is None:
            _check_incomplete(buffer, self.start, MAX_TRAILER_LINE_BYTES)
            return False
        line_bytes = match.end() - self.start
        self._trailer_bytes += line_bytes
        name = match[1]
        if (
            line_bytes > MAX_TRAILER_LINE_BYTES
            or self._trailer_bytes > MAX_TRAILER_BYTES
            or (name is not None and name.lower() in _FRAMING_FIELDS)
        ):
            raise ProtocolError(problems.MALFORMED_REQUEST)
        self.start = match.end()
        self.is_complete = name is None
        return name is not None


def _check_incomplete(buffer: bytes, start: int, limit: int) -> None:
    """Raise `ProtocolError` unless a line that is not as it must be is only not complete."""
    if buffer.find(b"\n", start, start + limit) >= 0 or len(buffer) - start >= limit:
        raise ProtocolError(problems.MALFORMED_REQUEST)
