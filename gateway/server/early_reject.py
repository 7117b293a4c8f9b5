"""Early rejection: while all requests of a criticality are shed, reject them from their bytes, unparsed.

A worker far beyond its capacity mostly rejects, so a rejection must be cheap. Only a request that cannot be misread is
rejected early: one complete message, with as much body as its `Content-Length` says, for the host that the connection
has named before, after a message whose end was certain. Its other fields do not matter, because the response is the
same. All other requests are parsed.
"""

from __future__ import annotations

import re
from typing import Final, Protocol

from gateway.http import problems
from gateway.http.header_lines import add_vary
from gateway.http.message import Request
from gateway.server.context import ServerContext
from gateway.server.request_line import is_ambiguous_path

# With any of these the body could end elsewhere, the connection could end, or the response would be another one, such as a
# page for browsers.
_UNSAFE_FIELD: Final = re.compile(
    rb"\r\n(?:transfer-encoding|expect|upgrade|connection|traceparent|origin|accept:[^\r]*text/|[ \t])", re.IGNORECASE
)
_CONTENT_LENGTH: Final = re.compile(rb"\r\ncontent-length(?:: (\d{1,5})(?=\r\n))?", re.IGNORECASE)
_HOST: Final = re.compile(rb"\r\nhost(?:: ([^\r]*))?", re.IGNORECASE)
_REQUEST_LINE: Final = re.compile(rb"(GET|POST|PUT|PATCH|DELETE) (/[!-~]*) HTTP/1\.1\r\n")
_MAX_REQUEST_BYTES: Final = 4 * 1024
# The bytes of a header section; the parser rejects all others.
_HEADER_BYTES: Final = bytes(range(32, 127)) + b"\t\r\n"
# Stand in the template for the parts that differ between responses.
_ID_PLACEHOLDER: Final = "@" * 16
_RETRY_AFTER_PLACEHOLDER: Final = b"Retry-After: @\r\n"


class Shedding(Protocol):
    """The load shedding of a worker."""

    shed: list[int]

    def sheds_all(self, criticality: int) -> bool:
        """Whether every request of that criticality is shed now."""
        ...

    def retry_after(self, client: str) -> bytes:
        """The `Retry-After` field line for a client."""
        ...


class EarlyReject:
    """Rejects requests of endpoints that have an `early_reject`."""

    def __init__(self, server: ServerContext, shedding: Shedding) -> None:
        self._server = server
        self._shedding = shedding
        self._common = b""
        # The parts of the response by the header block of the endpoint.
        self._templates: dict[bytes, tuple[bytes, ...]] = {}

    def response_to(self, data: bytes, host: str) -> bytes | None:
        """The whole response to the request in `data` if it is rejected unparsed, None if it must be parsed."""
        target = _unambiguous_target(data, host)
        if target is None or is_ambiguous_path(target[1]):
            return None
        endpoint, _ = self._server.router.find(*target)
        if endpoint.early_reject is None or not self._shedding.sheds_all(endpoint.early_reject.criticality):
            return None
        self._shedding.shed[endpoint.early_reject.criticality] += 1
        endpoint.stats.add(problems.OVERLOADED.status, 0.0)
        endpoint.stats.add_problem(problems.OVERLOADED.slug)
        name = self._server.ids.next()
        request_id = name.encode()
        # Spread by request: the client is unknown, and those behind one balancer must not return all at once.
        retry_after = self._shedding.retry_after(name)
        start, after_id, after_retry_after, end = self._template(endpoint.early_reject.header_block)
        return b"".join((start, request_id, after_id, retry_after, after_retry_after, request_id, end))

    def _template(self, header_block: bytes) -> tuple[bytes, ...]:
        """The parts of the response that all requests share; rendered once until the date changes."""
        if self._common is not self._server.writer.common:
            self._common = self._server.writer.common
            self._templates.clear()
        template = self._templates.get(header_block)
        if template is None:
            request = Request("GET", "", "", {}, b"", _ID_PLACEHOLDER, ())
            request.extra_headers = header_block + _RETRY_AFTER_PLACEHOLDER
            if self._server.refusal_pages is not None:
                request.extra_headers = add_vary(request.extra_headers, b"Accept")
            response = self._server.writer.render(problems.response(problems.OVERLOADED, _ID_PLACEHOLDER), request)
            start, middle, end = response.split(_ID_PLACEHOLDER.encode())
            template = self._templates[header_block] = (start, *middle.split(_RETRY_AFTER_PLACEHOLDER), end)
        return template


def _unambiguous_target(data: bytes, host: str) -> tuple[str, str] | None:
    """Method and path of the one complete message in `data`; None where a parser could read it differently."""
    end = data.find(b"\r\n\r\n")
    line = _REQUEST_LINE.match(data)
    if line is None or end < 0 or len(data) > _MAX_REQUEST_BYTES:
        return None
    head = data[: end + 2]
    lines = head.count(b"\r\n")
    if (
        head.count(b"\n") != lines
        or head.count(b"\r") != lines
        or head.translate(None, _HEADER_BYTES)
        or _UNSAFE_FIELD.search(head)
    ):
        return None
    lengths = _CONTENT_LENGTH.findall(head)
    if len(data) - end - 4 != (int(lengths[0] or -1) if lengths else 0) or len(lengths) > 1:
        return None
    if _HOST.findall(head) != [host.encode()]:
        return None
    path, _, query = line[2].partition(b"?")
    return None if b"#" in query else (line[1].decode(), path.decode())
