"""Read plain header sections without the C parser, which takes longer than everything else a small request needs.

Most header sections consist of lines that recent requests had too: `Accept`, `User-Agent`, `X-Forwarded-Proto`. A line is
read once and cached; its meaning depends on its bytes alone, so the cache is shared by all connections. Lines that
differ from request to request, or carry credentials, are read each time and never cached.

Clients send the same fields in the same order again and again. The names of a section, in their order, are its *shape*:
in a section with a known shape each line is compared with the one of that place before, or its value is cut out after
the name. Repeated names and a missing host are looked for once for each shape.

A section with anything unusual is left to the parser: an odd method, target or version, folded or non-ASCII lines, a
repeated field, and fields that frame the body or change the connection. A plain section gives the parser's
result, but for the case of names; tests hold the two to each other.
"""

from __future__ import annotations

import re
from typing import Final

from multidict import CIMultiDict, istr

from gateway.http.head_limits import DEFAULT_HEAD_LIMITS, HeadLimits
from gateway.server.request_head import RequestHead
from gateway.server.request_line import RequestLine
from primitives.bounded_map import BoundedMap

_MAX_BYTES: Final = 4 * 1024
_MAX_LINES: Final = 64
_MAX_CACHED_LINES: Final = 2048
_MAX_CACHED_REQUEST_LINES: Final = 2048
_MAX_CACHED_LINE_BYTES: Final = 256
# Shapes with the same number of lines.
_MAX_SHAPES: Final = 4

_REQUEST_LINE: Final = re.compile(
    rb"(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) (/[A-Za-z0-9._~!$&'()*+,;=:@/?%-]*) HTTP/1\.1"
)
# RFC 9110, 5.1 and 5.5, without obs-text.
_FIELD_LINE: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*((?:[!-~](?:[ -~\t]*[!-~])?)?)[ \t]*")
_LENGTH: Final = re.compile(r"[0-9]{1,9}")
_CONTENT_LENGTH: Final = istr("Content-Length")
_LEFT_TO_THE_PARSER: Final = frozenset({"transfer-encoding", "upgrade", "expect", "trailer", "te", "http2-settings"})
# Fields with credentials, and fields whose values rarely repeat.
_VARIABLE: Final = frozenset(
    {
        "authorization",
        "content-length",
        "cookie",
        "idempotency-key",
        "proxy-authorization",
        "traceparent",
        "tracestate",
        "waiting-room-token",
        "x-amzn-trace-id",
        "x-api-key",
        "x-forwarded-for",
    }
)
# Leaves printable ASCII as it is, and changes every other byte.
_PRINTABLE: Final = bytes(byte if 0x20 <= byte <= 0x7E else byte ^ 0x80 for byte in range(256))


class _Field:
    """A header line that was read."""

    __slots__ = ("is_variable", "line", "name", "pair")

    def __init__(self, line: bytes, pair: tuple[istr, str]) -> None:
        self.line = line
        self.pair = pair
        # In lower case.
        self.name = pair[0].lower()
        self.is_variable = self.name in _VARIABLE


class _Slot:
    """The place of one field in a shape.

    `start` is the beginning of a variable line, up to its value. `field` is the line that was read there last; no variable
    line is remembered.
    """

    __slots__ = ("field", "name", "start")

    def __init__(self, field: _Field) -> None:
        self.name = field.pair[0]
        self.start = field.line[: field.line.index(b":")] + b": "
        self.field = None if field.is_variable else field


class _Shape:
    """The names of a section in their order; `has_length` says whether Content-Length is among them."""

    __slots__ = ("has_length", "slots")

    def __init__(self, fields: list[_Field]) -> None:
        self.slots = [_Slot(field) for field in fields]
        self.has_length = any(field.name == "content-length" for field in fields)


class PlainHeadReader:
    """Reads plain header sections. One per process."""

    __slots__ = ("_fields", "_max_bytes", "_max_lines", "_request_lines", "_shapes", "generation")

    def __init__(self, limits: HeadLimits = DEFAULT_HEAD_LIMITS) -> None:
        # No line of a section of this size is too long.
        self._max_bytes = min(_MAX_BYTES, limits.line_bytes, limits.head_bytes)
        self._max_lines = min(_MAX_LINES, limits.fields)
        # Rises when heads that were read before are no longer valid.
        self.generation = 0
        self._fields: BoundedMap[bytes, _Field] = BoundedMap(_MAX_CACHED_LINES)
        self._request_lines: BoundedMap[bytes, RequestLine] = BoundedMap(_MAX_CACHED_REQUEST_LINES)
        # By the number of lines, the last ones first.
        self._shapes: list[list[_Shape]] = [[] for _ in range(_MAX_LINES + 1)]

    def read(self, section: bytes) -> RequestHead | None:
        """The head in a whole header section, which ends with an empty line; None if the parser must read it."""
        if len(section) > self._max_bytes:
            return None
        lines = section.split(b"\r\n")
        request_line = self._request_lines.get(lines[0]) or self._read_request_line(lines[0])
        # The last two are the ends of the last field and of the empty line.
        count = len(lines) - 3
        if request_line is None or count > self._max_lines:
            return None
        for shape in self._shapes[count]:
            pairs = self._read_as(shape, lines)
            if pairs is not None:
                return _head(request_line, pairs, shape.has_length)
        fields = self._read_fields(lines, count)
        if fields is None:
            return None
        shape = self._add_shape(fields)
        return _head(request_line, [field.pair for field in fields], shape.has_length)

    def forget_request_lines(self) -> None:
        """Read request lines again, because they have routes of a router that is replaced."""
        self._request_lines.clear()
        self.generation += 1

    def _read_request_line(self, line: bytes) -> RequestLine | None:
        match = _REQUEST_LINE.fullmatch(line)
        if match is None:
            return None
        read = RequestLine(match[1].decode(), match[2].decode())
        if len(line) <= _MAX_CACHED_LINE_BYTES:
            self._request_lines.put(line, read)
        return read

    def _read_as(self, shape: _Shape, lines: list[bytes]) -> list[tuple[istr, str]] | None:
        """Read the fields of a section by a shape; None if it has another one, or an unusual line."""
        pairs: list[tuple[istr, str]] = []
        index = 0
        for slot in shape.slots:
            index += 1
            line = lines[index]
            field = slot.field
            if field is None:
                value = _value_after(slot.start, line)
                if value is None:
                    return None
                pairs.append((slot.name, value))
                continue
            if line != field.line:
                read = self._fields.get(line) or self._read_line(line)
                if read is None or read.name != field.name:
                    return None
                field = slot.field = read
            pairs.append(field.pair)
        return pairs

    def _read_fields(self, lines: list[bytes], count: int) -> list[_Field] | None:
        """Read the fields of a section line by line; None if the parser must read it."""
        fields: list[_Field] = []
        names: set[str] = set()
        for index in range(1, count + 1):
            line = lines[index]
            field = self._fields.get(line) or self._read_line(line)
            if field is None:
                return None
            fields.append(field)
            names.add(field.name)
        # aiohttp's parser rejects some repeated fields, and a request without a host.
        return fields if len(names) == count and "host" in names else None

    def _add_shape(self, fields: list[_Field]) -> _Shape:
        shape = _Shape(fields)
        shapes = self._shapes[len(fields)]
        shapes.insert(0, shape)
        del shapes[_MAX_SHAPES:]
        return shape

    def _read_line(self, line: bytes) -> _Field | None:
        """Read a field line, and cache it where it may come again; None if the parser must read the section."""
        match = _FIELD_LINE.fullmatch(line)
        if match is None:
            return None
        field = _Field(line, (istr(match[1].decode()), match[2].decode()))
        name, value = field.name, field.pair[1]
        if name in _LEFT_TO_THE_PARSER or (name == "connection" and value.lower() != "keep-alive"):
            return None
        if name == "host" and not value:
            return None
        if len(line) <= _MAX_CACHED_LINE_BYTES and not field.is_variable:
            self._fields.put(line, field)
        return field


def _value_after(start: bytes, line: bytes) -> str | None:
    """The value of a line that begins so, if it is printable ASCII without spaces around it: as `_FIELD_LINE` reads it."""
    if not line.startswith(start):
        return None
    value = line[len(start) :]
    if value.translate(_PRINTABLE) != value or value[:1] == b" " or value[-1:] == b" ":
        return None
    return value.decode("latin-1")


def _head(line: RequestLine, pairs: list[tuple[istr, str]], has_length: bool) -> RequestHead | None:
    headers = CIMultiDict(pairs)
    length = 0
    if has_length:
        value = headers[_CONTENT_LENGTH]
        if _LENGTH.fullmatch(value) is None:
            return None
        length = int(value)
    return RequestHead(line, headers, content_length=length, is_plain=True)
