"""Parse the head of an upstream's response strictly: an ambiguous one is an error (RFC 9112).

aiohttp's response parser is lenient on purpose (bare LF, folded lines, control characters, repeated lengths), must know
beforehand whether a body follows, and costs 5 µs where this takes 2. Upstreams repeat their header lines, so the meaning
of a line is remembered.
"""

from __future__ import annotations

import re
from typing import Final

from gateway.http.head_limits import DEFAULT_HEAD_LIMITS, HeadLimits
from gateway.http.http_date import http_date
from gateway.proxy.errors import BadResponse
from primitives.bounded_map import BoundedMap

# Lengths of bodies that the head does not give.
CHUNKED: Final = -1
UNTIL_CLOSE: Final = -2

_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([0-9]) ([1-5][0-9]{2})(?: [\t\x20-\x7e\x80-\xff]*)?")
_FIELD_LINE: Final = re.compile(
    rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*((?:[\t\x20-\x7e\x80-\xff]*[!-~\x80-\xff])?)[ \t]*"
)
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")

# Hop-by-hop (RFC 9110, 7.6.1), or written by the gateway into each response.
_DROPPED: Final = frozenset(
    {
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-connection",
        b"server",
        b"te",
        b"trailer",
        b"upgrade",
        b"x-request-id",
    }
)
_DATE: Final = b"Date: "
# Most upstreams send their date first; others than these cost a second pass.
_DATE_BELOW: Final = b"\r\nDate: "
# Their values are different each time, or secret: not remembered.
_UNIQUE: Final = frozenset({b"set-cookie", b"location"})
_MAX_REMEMBERED: Final = 4_000
_MAX_REMEMBERED_BYTES: Final = 200

# The line of a field as it is passed on (empty if it is dropped), or the name and value of a field that is interpreted.
_Interpreted = tuple[bytes, bytes]
_Meaning = bytes | _Interpreted
_meanings: BoundedMap[bytes, _Meaning] = BoundedMap(_MAX_REMEMBERED)
_statuses: BoundedMap[bytes, tuple[int, bool]] = BoundedMap(_MAX_REMEMBERED)


class ResponseHead:
    """Status and fields of a response. `header_block` is passed on; `length` is that of the body, by the fields."""

    __slots__ = ("content_type", "header_block", "keeps_alive", "length", "status")

    def __init__(self, status: int, header_block: bytes, content_type: bytes, length: int, keeps_alive: bool) -> None:
        self.status = status
        self.header_block = header_block
        self.content_type = content_type
        self.length = length
        # Whether the upstream keeps the connection open after this response.
        self.keeps_alive = keeps_alive


def parse_head(section: bytes, limits: HeadLimits = DEFAULT_HEAD_LIMITS) -> ResponseHead:
    """Parse a header section, given without the empty line that ends it. Raises `BadResponse`.

    `length` follows from the fields alone: the caller knows whether there is a body at all. The size of the section is
    the caller's concern too.
    """
    lines = section.split(b"\r\n")
    if len(lines) > limits.fields + 1:
        raise BadResponse("too many header fields")
    status, is_11 = _statuses.get(lines[0]) or _parse_status(lines[0])
    passed: list[bytes] = []
    interpreted: list[_Interpreted] = []
    del lines[0]
    cookie_bytes = 0
    for line in lines:
        meaning = _meanings.get(line)
        if meaning is None:
            if len(line) > limits.line_bytes:
                raise BadResponse("a header line that is too long")
            meaning = _parse_line(line)
            if line[:11].lower() == b"set-cookie:":
                cookie_bytes += len(line.partition(b";")[0])
                if cookie_bytes > limits.line_bytes:
                    # They would come back in one line, and each further request of the client would be rejected.
                    raise BadResponse("cookies that are too long to come back")
        if isinstance(meaning, tuple):
            interpreted.append(meaning)
        else:
            passed.append(meaning)
    return _with_framing(status, is_11, passed, interpreted)


def _with_framing(status: int, is_11: bool, passed: list[bytes], interpreted: list[_Interpreted]) -> ResponseHead:
    length = UNTIL_CLOSE
    content_type = b""
    # HTTP/1.0 closes unless its fields differ; an offer of it to keep the connection is not used (RFC 9112, 9.3).
    keeps_alive = is_11
    for name, value in interpreted:
        if name == b"content-type":
            if content_type:
                raise BadResponse("two Content-Types")
            content_type = value
        elif name == b"connection":
            options, named = _parse_connection(value)
            keeps_alive = keeps_alive and b"close" not in options
            if named:
                passed = [line for line in passed if line.partition(b":")[0].lower() not in named]
        elif length != UNTIL_CLOSE:
            # Equal ones too: the sender may mean either.
            raise BadResponse("two lengths")
        elif name == b"content-length":
            length = int(value)
        elif is_11:
            length = CHUNKED
        else:
            raise BadResponse("chunks in HTTP/1.0, which does not have them")  # RFC 9112, 6.1
    header_block = b"".join(passed)
    if _DATE_BELOW in header_block:
        header_block = _with_date_first(passed)
    return ResponseHead(status, header_block, content_type, length, keeps_alive)


def _with_date_first(passed: list[bytes]) -> bytes:
    """The block with one date, in front, where the response writer looks for it."""
    dates = [line for line in passed if line.startswith(_DATE)]
    return b"".join([dates[0], *[line for line in passed if not line.startswith(_DATE)]])


def _parse_status(line: bytes) -> tuple[int, bool]:
    found = _STATUS_LINE.fullmatch(line)
    if found is None:
        raise BadResponse("a malformed status line")
    status = int(found[2]), found[1] != b"0"
    if len(line) <= _MAX_REMEMBERED_BYTES:
        _statuses.put(line, status)
    return status


def _parse_line(line: bytes) -> _Meaning:
    """The meaning of a line that is not remembered."""
    found = _FIELD_LINE.fullmatch(line)
    if found is None:
        raise BadResponse("a malformed header line")
    written, value = found[1], found[2]
    name = written.lower()
    meaning = _meaning(name, value, b"%b: %b\r\n" % (written, value))
    if name not in _UNIQUE and len(line) <= _MAX_REMEMBERED_BYTES:
        _meanings.put(line, meaning)
    return meaning


def _meaning(name: bytes, value: bytes, line: bytes) -> _Meaning:
    if name == b"content-length":
        if not _LENGTH.fullmatch(value):
            raise BadResponse("a Content-Length that is not a number")
        return name, value
    if name == b"transfer-encoding":
        # Any other coding may hide the end of the body.
        if value.lower() != b"chunked":
            raise BadResponse("a Transfer-Encoding other than chunked")
        return name, value
    if name == b"connection":
        return b"" if value.lower() == b"keep-alive" else (name, value)
    if name == b"content-type":
        return name, value
    if name == b"date":
        # The gateway dates a response without a valid date (RFC 9110, 6.6.1).
        return b"" if http_date(value.decode("latin-1")) is None else b"%b%b\r\n" % (_DATE, value)
    return b"" if name in _DROPPED else line


def _parse_connection(value: bytes) -> tuple[set[bytes], set[bytes]]:
    """The connection options, and those of them that name hop-by-hop fields (RFC 9110, 7.6.1)."""
    options = {option.strip(b" \t") for option in value.lower().split(b",")}
    return options, options - {b"close", b"keep-alive", b""}
