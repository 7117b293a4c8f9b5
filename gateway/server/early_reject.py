"""Early rejection: while all requests of a kind are shed, reject them from their bytes, unparsed.

A worker far beyond its capacity mostly rejects, so a rejection must be cheap. Only requests that cannot be
misread is taken: one whole message, whose body if any is as long as it says, of a host that the connection has named before,
after a message whose end was certain. Its other fields do not matter, as the response is the same. In all other cases
the usual way decides.
"""

from __future__ import annotations

import re
from typing import Final, Protocol

from gateway.http import problems
from gateway.http.message import Request
from gateway.server.context import ServerContext
from gateway.server.request_line import is_ambiguous_path

# With any of these the body could end elsewhere, the connection could end, or the answer would be another one.
_TELLING: Final = re.compile(
    rb"\r\n(?:transfer-encoding|expect|upgrade|connection|traceparent|origin|[ \t])", re.IGNORECASE
)
_LENGTH: Final = re.compile(rb"\r\ncontent-length(?:: (\d{1,5})(?=\r\n))?", re.IGNORECASE)
_HOST: Final = re.compile(rb"\r\nhost(?:: ([^\r]*))?", re.IGNORECASE)
_REQUEST_LINE: Final = re.compile(rb"(GET|POST|PUT|PATCH|DELETE) (/[!-~]*) HTTP/1\.1\r\n")
_LONGEST: Final = 4 * 1024
# The bytes of a header section; the parser rejects all others.
_TEXT: Final = bytes(range(32, 127)) + b"\t\r\n"
_ID, _WHEN = "@" * 16, b"Retry-After: @\r\n"


class Refuser(Protocol):
    """Who decides how much is too much."""

    shed: list[int]

    def sheds_all(self, criticality: int) -> bool:
        """Whether every request of that criticality is shed now."""
        ...

    def retry_after(self, client: str) -> bytes:
        """The header line that says when to come again."""
        ...


class EarlyReject:
    """Refuses the requests of endpoints that have an `early_reject`."""

    def __init__(self, server: ServerContext, refuser: Refuser) -> None:
        self._server = server
        self._refuser = refuser
        self._common = b""
        # The answer in parts, by the header lines that it has.
        self._parts: dict[bytes, tuple[bytes, ...]] = {}

    def response_to(self, data: bytes, host: str) -> bytes | None:
        """The whole refusal of the request in `data`, None where the usual way must decide."""
        asked = _asked_by(data, host)
        if asked is None or is_ambiguous_path(asked[1]):
            return None
        endpoint, _ = self._server.router.find(*asked)
        if endpoint.early_reject is None or not self._refuser.sheds_all(endpoint.early_reject.criticality):
            return None
        self._refuser.shed[endpoint.early_reject.criticality] += 1
        endpoint.stats.add(503, 0.0)
        name = self._server.ids.next()
        request_id = name.encode()
        # Who asks is not read; those behind one balancer must not come again all at once.
        when = self._refuser.retry_after(name)
        start, after_id, after_when, end = self._rendered(endpoint.early_reject.header_block)
        return b"".join((start, request_id, after_id, when, after_when, request_id, end))

    def _rendered(self, lines: bytes) -> tuple[bytes, ...]:
        """The parts of the response that all requests share; rendered once until the date changes."""
        if self._common is not self._server.writer.common:
            self._common = self._server.writer.common
            self._parts.clear()
        parts = self._parts.get(lines)
        if parts is None:
            request = Request("GET", "", "", {}, b"", _ID, ())
            request.extra_headers = lines + _WHEN
            rendered = self._server.writer.render(problems.response(problems.OVERLOADED, _ID), request)
            start, middle, end = rendered.split(_ID.encode())
            parts = self._parts[lines] = (start, *middle.split(_WHEN), end)
        return parts


def _asked_by(data: bytes, host: str) -> tuple[str, str] | None:
    """Method and path of the one whole message in `data`, None where it could be read in another way."""
    end = data.find(b"\r\n\r\n")
    line = _REQUEST_LINE.match(data)
    if line is None or end < 0 or len(data) > _LONGEST:
        return None
    head = data[: end + 2]
    ends = head.count(b"\r\n")
    if head.count(b"\n") != ends or head.count(b"\r") != ends or head.translate(None, _TEXT) or _TELLING.search(head):
        return None
    lengths = _LENGTH.findall(head)
    if len(data) - end - 4 != (int(lengths[0] or -1) if lengths else 0) or len(lengths) > 1:
        return None
    if _HOST.findall(head) != [host.encode()]:
        return None
    path, _, query = line[2].partition(b"?")
    return None if b"#" in query else (line[1].decode(), path.decode())
