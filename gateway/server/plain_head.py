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
from collections.abc import Mapping
from typing import Final

from multidict import CIMultiDict, istr

from gateway.server.request_head import RequestHead
from primitives.bounded_map import BoundedMap

_MAX_BYTES: Final = 4 * 1024
_MAX_LINES: Final = 64
_MAX_CACHED_LINES: Final = 2048
_MAX_CACHED_REQUEST_LINES: Final = 2048
_MAX_CACHED_LINE_BYTES: Final = 256

_REQUEST_LINE: Final = re.compile(
    rb"(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) (/[A-Za-z0-9._~!$&'()*+,;=:@/?%-]*) HTTP/1\.1"
)
# RFC 9110, 5.1 and 5.5, without obs-text.
_FIELD_LINE: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*((?:[!-~](?:[ -~\t]*[!-~])?)?)[ \t]*")
_LENGTH: Final = re.compile(r"[0-9]{1,9}")
# Fields whose values never repeat, by the start of their lines as balancers and browsers write them.
_VARIABLE: Final[Mapping[bytes, tuple[istr, str]]] = {
    name.encode(): (istr(name), name.lower())
    for name in (
        "Authorization",
        "Cookie",
        "Idempotency-Key",
        "Waiting-Room-Token",
        "X-Amzn-Trace-Id",
        "X-Api-Key",
        "X-Forwarded-For",
    )
}
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

    def __init__(self, name: str, pair: tuple[istr, str]) -> None:
        # In lower case.
        self.name = name
        self.pair = pair


class PlainHeadReader:
    """Reads plain header sections. One per process."""

    __slots__ = ("_fields", "_request_lines")

    def __init__(self) -> None:
        self._fields: BoundedMap[bytes, _Field] = BoundedMap(_MAX_CACHED_LINES)
        # Method and target by request line.
        self._request_lines: BoundedMap[bytes, tuple[str, str]] = BoundedMap(_MAX_CACHED_REQUEST_LINES)

    def read(self, section: bytes) -> RequestHead | None:
        """The head in a whole header section, which ends with an empty line; None if the parser must read it."""
        if len(section) > _MAX_BYTES:
            return None
        lines = section.split(b"\r\n")
        request_line = self._request_lines.get(lines[0]) or self._read_request_line(lines[0])
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
        headers = CIMultiDict(pairs)
        if not headers["Host"]:
            return None
        length = 0
        if "content-length" in names:
            value = headers["Content-Length"]
            if _LENGTH.fullmatch(value) is None:
                return None
            length = int(value)
        return RequestHead(request_line[0], request_line[1], headers, content_length=length)

    def _read_request_line(self, line: bytes) -> tuple[str, str] | None:
        match = _REQUEST_LINE.fullmatch(line)
        if match is None:
            return None
        parts = (match[1].decode(), match[2].decode())
        if len(line) <= _MAX_CACHED_LINE_BYTES:
            self._request_lines.put(line, parts)
        return parts

    def _read_line(self, line: bytes) -> _Field | None:
        """Read a field line, and cache it where it may come again; None if the parser must read the section."""
        start, _, value = line.partition(b": ")
        variable = _VARIABLE.get(start)
        if variable is not None:
            text = value.decode("latin-1")
            # Printable ASCII without spaces around it: the expression below would give the same.
            if text.isascii() and text.isprintable() and text == text.strip(" "):
                return _Field(variable[1], (variable[0], text))
        match = _FIELD_LINE.fullmatch(line)
        if match is None:
            return None
        name = match[1].decode()
        field = _Field(name.lower(), (istr(name), match[2].decode()))
        if field.name in _LEFT_TO_THE_PARSER or (field.name == "connection" and field.pair[1].lower() != "keep-alive"):
            return None
        if len(line) <= _MAX_CACHED_LINE_BYTES and field.name not in _NEVER_CACHED:
            self._fields.put(line, field)
        return field
