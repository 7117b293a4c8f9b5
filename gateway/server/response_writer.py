"""The bytes of a response, and the id of a request."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import time
from collections.abc import Callable, Mapping
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

from gateway.http.message import Request, Response, StreamedResponse

SERVER: Final = "peakgate"
CLOSE: Final = b"Connection: close\r\n"


class _StatusLines(dict[int, bytes]):
    """Status lines; an upstream may answer with a status that has no name here."""

    def __missing__(self, status: int) -> bytes:
        return b"HTTP/1.1 %d \r\n" % status


_STATUS_LINES: Final = _StatusLines(
    (status.value, f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()) for status in HTTPStatus
)
# RFC 9110, 8.6 and 15.4.5: these have no body and say no length.
_BODILESS: Final = frozenset({204, 304})


class ResponseWriter:
    """Renders responses. One per process; `refresh` must be called about every second, which spares each a look at the clock."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self.common = b""
        # Lines that every answer has besides; whoever sets them calls `refresh`.
        self.extra = b""
        self.refresh()

    def refresh(self) -> None:
        """Format the lines that all responses have: `Server`, and `Date` (RFC 9110, 6.6.1)."""
        self.common = f"Server: {SERVER}\r\nDate: {formatdate(self._clock(), usegmt=True)}\r\n".encode() + self.extra

    def render(self, response: Response, request: Request, *, close: bool = False) -> bytes:
        """The whole response to a request, ready for one write."""
        status, body = response.status, response.body
        lines = response.header_block + request.extra_headers
        if close:
            lines += CLOSE
        if status in _BODILESS:
            return b"%b%bX-Request-Id: %b\r\n%b\r\n" % (
                *(_STATUS_LINES[status], self.common, request.id.encode(), lines),
            )
        return b"%b%bX-Request-Id: %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n%b\r\n%b" % (
            _STATUS_LINES[status],
            self.common,
            request.id.encode(),
            response.content_type,
            len(body),
            lines,
            b"" if request.method == "HEAD" else body,
        )

    def render_head(self, response: StreamedResponse, request: Request, *, close: bool) -> bytes:
        """The head of a response whose body follows, in chunks unless its length is known."""
        framing = b"Transfer-Encoding: chunked" if response.length is None else b"Content-Length: %d" % response.length
        return b"%b%bX-Request-Id: %b\r\nContent-Type: %b\r\n%b\r\n%b%b%b\r\n" % (
            _STATUS_LINES[response.status],
            self.common,
            request.id.encode(),
            response.content_type,
            framing,
            response.header_block,
            request.extra_headers,
            CLOSE if close else b"",
        )


def peer_address(transport: asyncio.BaseTransport | None) -> str:
    """The address at the other end, empty where it has none or is gone."""
    name = transport.get_extra_info("peername") if transport is not None else None
    return str(name[0]) if isinstance(name, tuple) else ""


class RequestIds:
    """Ids no other process makes: eight random hex digits of this process, then a count.

    A request that carries a W3C `traceparent` is known by its trace id instead, so that one id finds it everywhere.
    """

    def __init__(self, random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        self._process = random_bytes(4).hex()
        self._count = itertools.count(1)

    def of(self, headers: Mapping[str, str]) -> str:
        """The id of the request with these headers."""
        parent = headers.get("traceparent")
        if parent is not None and (trace_id := _trace_id(parent)):
            return trace_id
        return self.next()

    def next(self) -> str:
        """The id of a request that carries none."""
        return f"{self._process}{next(self._count):08x}"


def _trace_id(traceparent: str) -> str | None:
    """The trace id of `00-<32 hex digits>-<16 hex digits>-<2 hex digits>` (W3C Trace Context), None if it is not that."""
    found = _TRACEPARENT.fullmatch(traceparent)
    # Versions to come may carry more.
    if found is None or (found["more"] and found["version"] == "00"):
        return None
    return found["trace"]


# Version ff is forbidden, and so are ids of nothing but zeros.
_TRACEPARENT: Final = re.compile(
    r"(?P<version>(?!ff)[0-9a-f]{2})-(?P<trace>(?!0{32})[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?P<more>-.*)?"
)
