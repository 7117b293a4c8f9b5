"""The bytes of a response."""

from __future__ import annotations

import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from gateway.http.http_date import format_date
from gateway.http.message import Request, Response

SERVER: Final = "peakgate"
CLOSE: Final = b"Connection: close\r\n"
KEEP_ALIVE: Final = b"Connection: keep-alive\r\n"
# A header block that begins with it has the date of its origin, which is not changed (RFC 9110, 6.6.1).
DATE: Final = b"Date: "


_STATUS_LINES: Final = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
# RFC 9110, 8.6 and 15.4.5: these have no body and say no length.
BODILESS: Final = frozenset({204, 304})


def _status_line(status: int) -> bytes:
    """The first line of a response; an upstream may send a status that has no name here."""
    return _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status


class ResponseWriter:
    """Renders responses. One per process; `refresh` must be called about every second, which spares each a look at the clock."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self.common = b""
        # The same without `Date`.
        self._undated = b""
        # More header fields that every response has; call `refresh` after a change.
        self.extra = b""
        self.refresh()

    def refresh(self) -> None:
        """Format the fields that all responses have: `Server`, and `Date` (RFC 9110, 6.6.1)."""
        server = f"Server: {SERVER}\r\n"
        self.common = f"{server}Date: {format_date(self._clock())}\r\n".encode() + self.extra
        self._undated = server.encode() + self.extra

    def render(self, response: Response, request: Request, connection: bytes = b"") -> bytes:
        """The whole response to a request, ready for one write. `connection` is the Connection field, if there is one."""
        status, body = response.status, response.body
        header_block = response.header_block + request.extra_headers
        common = self._undated if header_block.startswith(DATE) else self.common
        if connection:
            header_block += connection
        if status in BODILESS:
            return b"%b%bX-Request-Id: %b\r\n%b\r\n" % (
                _status_line(status),
                common,
                request.id.encode(),
                header_block,
            )
        if not response.content_type:
            return b"%b%bX-Request-Id: %b\r\nContent-Length: %d\r\n%b\r\n%b" % (
                _status_line(status),
                common,
                request.id.encode(),
                len(body),
                header_block,
                b"" if request.method == "HEAD" else body,
            )
        return b"%b%bX-Request-Id: %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n%b\r\n%b" % (
            _status_line(status),
            common,
            request.id.encode(),
            response.content_type,
            len(body),
            header_block,
            b"" if request.method == "HEAD" else body,
        )

    def render_interim(self, status: int, header_block: bytes) -> bytes:
        """An interim response (RFC 9110, 15.2), which has no content."""
        return b"%b%b\r\n" % (_status_line(status), header_block)

    def render_head(
        self, response: Response, request: Request, *, length: int | None, connection: bytes, is_chunked: bool
    ) -> bytes:
        """The head of a response whose body follows: of a known length, in chunks, or up to the end of the connection."""
        framing = b""
        if response.status in BODILESS:
            pass
        elif length is not None:
            framing = b"Content-Length: %d\r\n" % length
        elif is_chunked:
            framing = b"Transfer-Encoding: chunked\r\n"
        content_type = response.content_type
        return b"%b%bX-Request-Id: %b\r\n%b%b%b%b%b\r\n" % (
            _status_line(response.status),
            self._undated if response.header_block.startswith(DATE) else self.common,
            request.id.encode(),
            b"Content-Type: %b\r\n" % content_type if content_type else b"",
            framing,
            response.header_block,
            request.extra_headers,
            connection,
        )
