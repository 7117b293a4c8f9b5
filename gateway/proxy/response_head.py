"""Reads the head of an upstream's answer, strictly: what could be read in two ways is none (RFC 9112).

Not aiohttp's parser: for answers that one is lenient on purpose (bare LF, folded lines, control characters, repeated
lengths), must be told beforehand whether a body follows, and costs 5 µs where this takes 2. An upstream sends the same
lines again and again, so what a line means is remembered.
"""

from __future__ import annotations

import re
from typing import Final

from gateway.proxy.errors import BadAnswer

# Lengths of bodies that are not known from the head.
CHUNKED: Final = -1
UNTIL_CLOSE: Final = -2

_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: [\t\x20-\x7e\x80-\xff]*)?")
_FIELD_LINE: Final = re.compile(
    rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*((?:[\t\x20-\x7e\x80-\xff]*[!-~\x80-\xff])?)[ \t]*"
)
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")

# Of one hop (RFC 9110, 7.6.1), or written by the gateway itself into each of its answers.
_DROPPED: Final = frozenset(
    {
        *(b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"proxy-authentication-info", b"te", b"trailer"),
        *(b"upgrade", b"server", b"date", b"x-request-id"),
    }
)
# Other ones each time, and secrets among them: not to be remembered.
_UNIQUE: Final = frozenset({b"set-cookie", b"location"})
_REMEMBERED_MOST: Final = 2_000
_REMEMBERED_BYTES: Final = 200

# The finished line of a field that is passed on (empty where it is not), or a name and value to be understood.
_Understood = tuple[bytes, bytes]
_Meaning = bytes | _Understood
_known: dict[bytes, _Meaning] = {}
_known_statuses: dict[bytes, tuple[int, bool]] = {}


class AnswerHead:
    """Status and fields of an answer. `lines` are finished lines of what is passed on; `length` is that of the body."""

    __slots__ = ("content_type", "keeps", "length", "lines", "status")

    def __init__(self, status: int, lines: bytes, content_type: bytes, length: int, keeps: bool) -> None:
        self.status = status
        self.lines = lines
        self.content_type = content_type
        self.length = length
        # Whether the upstream keeps the connection after this answer.
        self.keeps = keeps


def read_head(section: bytes) -> AnswerHead:
    """Read a header section, given without the empty line that ends it. Raises `BadAnswer`.

    `length` is that which the fields say: the caller knows whether there is a body at all.
    """
    lines = section.split(b"\r\n")
    known = _known
    status, is_11 = _known_statuses.get(lines[0]) or _read_status(lines[0])
    passed = []
    understood = []
    del lines[0]
    for line in lines:
        meaning = known.get(line)
        if meaning is None:
            meaning = _understand(line)
        if isinstance(meaning, tuple):
            understood.append(meaning)
        else:
            passed.append(meaning)
    return _with_framing(status, is_11, passed, understood)


def _with_framing(status: int, is_11: bool, passed: list[bytes], understood: list[_Understood]) -> AnswerHead:
    length = UNTIL_CLOSE
    content_type = b""
    # HTTP/1.0 closes unless it says otherwise; that it may keep the connection is not taken up (RFC 9112, 9.3).
    keeps = is_11
    for name, value in understood:
        if name == b"content-type":
            if content_type:
                raise BadAnswer("Content-Type came twice")
            content_type = value
        elif name == b"connection":
            options, named = _read_connection(value)
            keeps = keeps and b"close" not in options
            if named:
                passed = [line for line in passed if line.partition(b":")[0].lower() not in named]
        elif length != UNTIL_CLOSE:
            # The same length again, too: who sends one twice may mean either.
            raise BadAnswer("two lengths")
        elif name == b"content-length":
            length = int(value)
        elif is_11:
            length = CHUNKED
        else:
            raise BadAnswer("chunks in HTTP/1.0, which does not know them")  # RFC 9112, 6.1
    return AnswerHead(status, b"".join(passed), content_type or b"application/octet-stream", length, keeps)


def _read_status(line: bytes) -> tuple[int, bool]:
    found = _STATUS_LINE.fullmatch(line)
    if found is None:
        raise BadAnswer("no status line")
    status = int(found[2]), found[1] == b"1"
    if len(_known_statuses) < _REMEMBERED_MOST and len(line) < _REMEMBERED_BYTES:
        _known_statuses[line] = status
    return status


def _understand(line: bytes) -> _Meaning:
    """What a line means that was not met before."""
    found = _FIELD_LINE.fullmatch(line)
    if found is None:
        raise BadAnswer("a header line that is none")
    written, value = found[1], found[2]
    name = written.lower()
    meaning = _meaning(name, value, b"%b: %b\r\n" % (written, value))
    if name not in _UNIQUE and len(line) <= _REMEMBERED_BYTES:
        if len(_known) >= _REMEMBERED_MOST:
            _known.clear()
        _known[line] = meaning
    return meaning


def _meaning(name: bytes, value: bytes, line: bytes) -> _Meaning:
    if name == b"content-length":
        if not _LENGTH.fullmatch(value):
            raise BadAnswer("a Content-Length that is no number")
        return name, value
    if name == b"transfer-encoding":
        # What is not just chunked has no end that could be told.
        if value.lower() != b"chunked":
            raise BadAnswer("a Transfer-Encoding other than chunked")
        return name, value
    if name == b"connection":
        return b"" if value.lower() == b"keep-alive" else (name, value)
    if name == b"content-type":
        return name, value
    return b"" if name in _DROPPED else line


def _read_connection(value: bytes) -> tuple[set[bytes], set[bytes]]:
    """What is said of the connection, and which of it names fields of this hop (RFC 9110, 7.6.1)."""
    options = {option.strip(b" \t") for option in value.lower().split(b",")}
    return options, options - {b"close", b"keep-alive", b""}
