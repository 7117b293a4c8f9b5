"""Read plain header sections without the C parser, which takes longer than everything else a small request needs.

Most header sections consist of lines that recent requests had too: `Accept`, `User-Agent`, `X-Forwarded-Proto`. A line is
read once and cached; its meaning depends on its bytes alone, so the cache is shared by all connections. Lines that
differ from request to request, or carry credentials, are read each time and never cached.

A section with anything unusual is left to the parser: an odd method, target or version, folded or non-ASCII lines, a
repeated field, and fields that frame the body or change the connection. A plain section gives the parser's
result, but for the case of names; tests hold the two to each other.
"""

from __future__ import annotations

import re
from typing import Final

from multidict import CIMultiDict, istr

from gateway.server.request_head import RequestHead
from primitives.bounded_map import BoundedMap

_MAX_BYTES: Final = 4 * 1024
_MAX_LINES: Final = 64
_MAX_CACHED_LINES: Final = 2048
_MAX_CACHED_LINE_BYTES: Final = 256

_REQUEST_LINE: Final = re.compile(
    rb"(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) (/[A-Za-z0-9._~!$&'()*+,;=:@/?%-]*) HTTP/1\.1"
)
# RFC 9110, 5.1 and 5.5, without obs-text.
_FIELD_LINE: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*((?:[!-~](?:[ -~\t]*[!-~])?)?)[ \t]*")
_LENGTH: Final = re.compile(r"[0-9]{1,9}")
_LEFT_TO_THE_PARSER: Final = frozenset({"transfer-encoding", "upgrade", "expect", "trailer", "te", "http2-settings"})
_NEVER_CACHED: Final = frozenset(
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


class _Field:
    """A header line that was read."""

    __slots__ = ("name", "pair")

    def __init__(self, name: str, value: str) -> None:
        # In lower case.
        self.name = name.lower()
        self.pair = (istr(name), value)


class PlainHeadReader:
    """Reads plain header sections. One per process."""

    __slots__ = ("_fields",)

    def __init__(self) -> None:
        self._fields: BoundedMap[bytes, _Field] = BoundedMap(_MAX_CACHED_LINES)

    def read(self, section: bytes) -> RequestHead | None:
        """The head in a whole header section, which ends with an empty line; None if the parser must read it."""
        if len(section) > _MAX_BYTES:
            return None
        lines = section.split(b"\r\n")
        request_line = _REQUEST_LINE.fullmatch(lines[0])
        # The last two are the ends of the last field and of the empty line.
        count = len(lines) - 3
        if request_line is None or count > _MAX_LINES:
            return None
        pairs: list[tuple[istr, str]] = []
        names: set[str] = set()
        for index in range(1, count + 1):
            line = lines[index]
            field = self._fields.get(line)
            if field is None:
                field = self._read_line(line)
                if field is None:
                    return None
            pairs.append(field.pair)
            names.add(field.name)
        # aiohttp's parser rejects some repeated fields, and a request without a host.
        if len(names) != count or "host" not in names:
            return None
        method, target = request_line.groups()
        headers = CIMultiDict(pairs)
        if not headers["Host"]:
            return None
        length = 0
        if "content-length" in names:
            value = headers["Content-Length"]
            if _LENGTH.fullmatch(value) is None:
                return None
            length = int(value)
        return RequestHead(method.decode(), target.decode(), headers, content_length=length)

    def _read_line(self, line: bytes) -> _Field | None:
        """Read a field line, and cache it where it may come again; None if the parser must read the section."""
        match = _FIELD_LINE.fullmatch(line)
        if match is None:
            return None
        field = _Field(match[1].decode(), match[2].decode())
        name = field.name
        if name in _LEFT_TO_THE_PARSER or (name == "connection" and field.pair[1].lower() != "keep-alive"):
            return None
        if len(line) <= _MAX_CACHED_LINE_BYTES and name not in _NEVER_CACHED:
            self._fields.put(line, field)
        return field
