"""The receiving half of an HTTP/1.1 connection without I/O: bytes and time in, requests, body data and decisions out.

aiohttp's C parser reads header sections, each whole and alone; body framing is `body_framing`'s. So the parser holds nothing
of one message when the next begins, and its tolerance in framing (RFC 9112, 6.3) is not ours.
"""

from __future__ import annotations

import re
from typing import Any, Final

from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.http_parser import HttpRequestParser
from aiohttp.http_writer import HttpVersion10, HttpVersion11
from aiohttp.streams import EMPTY_PAYLOAD
from multidict import MultiMapping, istr

from gateway.http import problems
from gateway.http.head_limits import DEFAULT_HEAD_LIMITS, HeadLimits
from gateway.server.body_framing import ChunkedBody, CountedBody
from gateway.server.pace import Pace
from gateway.server.plain_head import PlainHeadReader
from gateway.server.protocol_error import ProtocolError
from gateway.server.request_head import RequestHead
from gateway.server.request_line import RequestLine

# Requests that wait for the response before them are buffered unparsed; more than this stops the reading.
MAX_PIPELINED_BYTES: Final = 4 * 1024

# How fast a body must come on average, after a pause of the receive timeout. 2G is ten times as fast.
MIN_BODY_BYTES_PER_S: Final = 1024
# More of a body than this is buffered whole only for a client that sends it at the faster of the two rates.
MAX_SLOW_BODY_BYTES: Final = 64 * 1024
MIN_LARGE_BODY_BYTES_PER_S: Final = 32 * 1024

# The states of a connection.
IDLE, READING_HEAD, READING_BODY, RESPONDING, CLOSED = range(5)
# The results of `check`.
ON_TIME, IDLE_TOO_LONG, HEAD_TOO_SLOW, BODY_TOO_SLOW = range(4)

_SECTION_END: Final = b"\r\n\r\n"
_EMPTY_LINES: Final = re.compile(rb"(?:\r\n)*")
# No header section has one of these, so an incomplete one need not be waited for.
_NOT_IN_HEAD: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r[^\n]|(?<!\r)\n")
# The version at the end of a request line. `HTTP/1.10` is none: both numbers have one digit (RFC 9112, 2.3).
_VERSION: Final = re.compile(rb"[^\x00-\x1f\x7f]* HTTP/([0-9])\.([0-9])\r\n")
# Codings before the last one, which is chunked, each with its parameters (RFC 9112, 7).
_CODING: Final = re.compile(r"(?!chunked\b)[!#$%&'*+.^_`|~0-9a-z-]+(?:[ \t]*;.*)?")
_CONTENT_LENGTH: Final = istr("Content-Length")
_TRANSFER_ENCODING: Final = istr("Transfer-Encoding")
# A petabyte: more digits are no length, and slow to convert.
_MAX_LENGTH_DIGITS: Final = 15


class _NoProtocol:
    """Stands for the protocol and the loop of the body streams that the parser creates; no stream is ever used."""

    connected = False

    def pause_reading(self) -> None:
        """Nothing is read."""

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Nothing is read."""


_NO_PROTOCOL: Final[Any] = _NoProtocol()


class Http1:
    """The state of one connection. Drive it with `next_request`, `read_body`, `response_sent` and `check`.

    One request at a time: `next_request` returns the next only after the body of the one before has been read and its
    response sent. Times are seconds of any steady clock.
    """

    __slots__ = (
        "_buffer",
        "_is_large_body",
        "_last_generation",
        "_last_head",
        "_last_section",
        "_limits",
        "_max_head_bytes",
        "_pace",
        "_parser",
        "_plain_heads",
        "_requests",
        "_scanned",
        "_seen_requests",
        "_seen_state",
        "_since",
        "_start",
        "body",
        "body_bytes",
        "is_body_awaited",
        "is_body_buffered",
        "is_closed",
        "is_responding",
        "keepalive_s",
        "receive_timeout_s",
        "rejected_head",
    )

    def __init__(
        self,
        *,
        keepalive_s: float,
        receive_timeout_s: float,
        plain_heads: PlainHeadReader | None = None,
        limits: HeadLimits = DEFAULT_HEAD_LIMITS,
    ) -> None:
        self._limits = limits
        self._max_head_bytes = limits.head_bytes
        # Reads the header sections that need no parser; without it the parser reads all.
        self._plain_heads = plain_heads
        # The last head, if it was plain; it may come again, with the same bytes.
        self._last_head: RequestHead | None = None
        self._last_section = b""
        self._last_generation = 0
        self.keepalive_s = keepalive_s
        self.receive_timeout_s = receive_timeout_s
        self._parser: Any = None
        # Received and not yet parsed, from `_start` on.
        self._buffer = b""
        self._start = 0
        # How much of an incomplete header section is known to have no invalid bytes.
        self._scanned = 0
        # The beginning of a message that could not be parsed.
        self.rejected_head = b""
        # Whether nothing is read any more.
        self.is_closed = False
        # Whether a request was returned whose response is not sent.
        self.is_responding = False
        # The body of that request as long as some of it is to come, and how much of it has come.
        self.body: CountedBody | ChunkedBody | None = None
        self.body_bytes = 0
        # Whether a body is buffered whole, or handed on as it comes; then the client's time runs only while a reader waits.
        self.is_body_buffered = True
        self.is_body_awaited = True
        # The state at the last `check`, and since when.
        self._requests = 0
        self._seen_requests = 0
        self._seen_state = IDLE
        self._since = -1.0
        self._pace = Pace(MIN_BODY_BYTES_PER_S, receive_timeout_s)
        # Whether the body must come at the faster of the two rates.
        self._is_large_body = False

    @property
    def state(self) -> int:
        """The state of the connection."""
        if self.is_closed:
            return CLOSED
        if self.body is not None:
            return READING_BODY
        if self.is_responding:
            return RESPONDING
        return IDLE if self._start >= len(self._buffer) else READING_HEAD

    @property
    def buffered_bytes(self) -> int:
        """How much has been received and not parsed."""
        return len(self._buffer) - self._start

    # Receiving

    def receive_data(self, data: bytes) -> None:
        """Buffer received data."""
        if self.is_closed:
            return
        buffer, start = self._buffer, self._start
        self._buffer = buffer[start:] + data if start < len(buffer) else data
        self._start = 0

    def next_request(self, data: bytes = b"") -> RequestHead | None:
        """Take `data` in and return the head of the next request; None if there is none yet.

        Raises `ProtocolError`; after that the connection is closed.
        """
        if self.is_closed:
            return None
        buffer, start = self._buffer, self._start
        if data:
            # As `receive_data`, which this spares the usual request: one that comes alone and whole.
            self._buffer = buffer = buffer[start:] + data if start < len(buffer) else data
            self._start = start = 0
        if self.is_responding or start >= len(buffer):
            return None
        end = buffer.find(_SECTION_END, start, start + self._max_head_bytes) + 4
        if end < 4 or buffer[start] <= 0x20:
            return self._next_odd()
        return self._parse(buffer if end == len(buffer) and not start else buffer[start:end], end)

    def _next_odd(self) -> RequestHead | None:
        """The next request if it is not complete, or has empty lines before it (RFC 9112, 2.2)."""
        buffer, start = self._buffer, self._start
        lines = _EMPTY_LINES.match(buffer, start)
        assert lines is not None
        first = lines.end()
        # A compiled slice must not end before it begins, as after too many empty lines.
        limit = max(start + self._max_head_bytes, first)
        if buffer[first : first + 1] == b"\n" or buffer[first : first + 1] == b"\r" != buffer[first:]:
            # Which the parser would skip.
            raise self.fail(problems.MALFORMED_REQUEST)
        end = buffer.find(_SECTION_END, first, limit) + 4
        if end >= 4:
            return self._parse(buffer[first:end], end)
        if _NOT_IN_HEAD.search(buffer, max(first, start + self._scanned - 1), limit):
            self._feed(buffer[first:limit])
            raise self.fail(problems.MALFORMED_REQUEST)
        if len(buffer) >= limit:
            self._feed(buffer[first:limit])
            raise self.fail(self._too_large(buffer[first:limit]))
        self._scanned = len(buffer) - start
        return None

    def _feed(self, head: bytes) -> Any:
        """Parse a header section, or the beginning of a malformed one."""
        version = _VERSION.match(head)
        if version is not None:
            if version[1] > b"1":
                raise self.fail(problems.VERSION_NOT_SUPPORTED)
            if version[1] == b"1" and version[2] > b"1":
                # Any later minor version is read as the latest known one (RFC 9110, 2.5); the parser knows two.
                head = b"%b1%b" % (head[: version.start(2)], head[version.end(2) :])
        limits = self._limits
        parser = self._parser
        if parser is None:
            parser = self._parser = HttpRequestParser(
                _NO_PROTOCOL,
                _NO_PROTOCOL,
                0,
                max_line_size=limits.line_bytes,
                max_field_size=limits.line_bytes,
                max_headers=limits.fields,
                auto_decompress=False,
            )
        try:
            return parser.feed_data(head)[0]
        except HttpProcessingError as error:
            is_too_large = isinstance(error, LineTooLong) or "Too many headers" in str(error)
            raise self.fail(self._too_large(head) if is_too_large else problems.MALFORMED_REQUEST) from None

    def _too_large(self, head: bytes) -> problems.Problem:
        """The problem of a header section beyond the limits."""
        parts = head.partition(b"\r\n")[0].split(None, 2)
        is_long_target = len(parts) > 1 and len(parts[1]) > self._limits.line_bytes
        return problems.TARGET_TOO_LONG if is_long_target else problems.HEADERS_TOO_LARGE

    def _parse(self, section: bytes, end: int) -> RequestHead:
        """The head in one whole header section, which ends at `end` in the buffer."""
        head = self._last_head
        if head is None or section != self._last_section or self._last_generation != self._plain_generation():
            head = self._read_head(section)
        if end == len(self._buffer):
            self._buffer, self._start = b"", 0
        else:
            self._start = end
        self._scanned = 0
        self._requests += 1
        if head.is_chunked:
            self.body, self.body_bytes = ChunkedBody(), 0
        elif head.content_length:
            self.body, self.body_bytes = CountedBody(head.content_length), 0
        self.is_responding = True
        return head

    def _read_head(self, section: bytes) -> RequestHead:
        """Read a head that differs from the last one of the connection. A plain one is remembered: clients repeat requests."""
        reader = self._plain_heads
        head = None if reader is None else reader.read(section)
        self._last_head = head
        if head is None:
            return self._parse_any(section)
        self._last_section, self._last_generation = section, self._plain_generation()
        return head

    def _plain_generation(self) -> int:
        return 0 if self._plain_heads is None else self._plain_heads.generation

    def _parse_any(self, section: bytes) -> RequestHead:
        """The head as aiohttp's parser reads it, with its body framed by our rules (RFC 9112, 6.3)."""
        messages = self._feed(section)
        if len(messages) != 1:
            raise self.fail(problems.MALFORMED_REQUEST)
        message, payload = messages[0]
        version, headers = message.version, message.headers
        if payload is not EMPTY_PAYLOAD or message.upgrade:
            # The parser waits for the body, or for another protocol; it will get neither.
            self._parser = None
        if version not in {HttpVersion10, HttpVersion11}:
            raise self.fail(problems.MALFORMED_REQUEST)
        is_http11 = version == HttpVersion11
        is_chunked = _TRANSFER_ENCODING in headers
        if is_chunked:
            if _CONTENT_LENGTH in headers or not is_http11:
                # RFC 9112, 6.1: both are means of request smuggling.
                raise self.fail(problems.AMBIGUOUS)
            self._check_codings(headers)
        return RequestHead(
            RequestLine(message.method, message.path),
            headers,
            content_length=0 if is_chunked else self._length_of(headers.get(_CONTENT_LENGTH)),
            is_chunked=is_chunked,
            is_http11=is_http11,
            should_close=message.should_close,
        )

    def _check_codings(self, headers: MultiMapping[str]) -> None:
        """Close unless the one transfer coding is chunked (RFC 9112, 6.1 and 6.3)."""
        *others, last = [each.strip(" \t").lower() for each in ",".join(headers.getall(_TRANSFER_ENCODING)).split(",")]
        if last != "chunked" or not all(map(_CODING.fullmatch, others)):
            # The end of the body is not known.
            raise self.fail(problems.AMBIGUOUS)
        if others:
            raise self.fail(problems.UNKNOWN_TRANSFER_CODING)

    def _length_of(self, field: str | None) -> int:
        if field is None:
            return 0
        digits = field.lstrip("0")
        if not (field.isascii() and field.isdigit()) or len(digits) > _MAX_LENGTH_DIGITS:
            raise self.fail(problems.MALFORMED_REQUEST)
        return int(digits or "0")

    @property
    def content_length(self) -> int:
        """How long the request's body is by its own account; 0 where it does not say."""
        body = self.body
        return body.remaining if isinstance(body, CountedBody) else 0

    def skip_request(self) -> None:
        """A request was responded to unparsed."""
        self._requests += 1

    def read_body(self, max_bytes: int) -> bytes:
        """The received part of the request's body; `body` is None after the last part.

        Raises `ProtocolError`, also for a body longer than `max_bytes`; after that the connection is closed.
        """
        body = self.body
        if body is None or self.is_closed:
            return b""
        try:
            data = body.decode(self._buffer, self._start, max_bytes)
        except ProtocolError as error:
            raise self.fail(error.problem) from None
        self.body_bytes += len(data)
        self._start = body.start
        if self._start >= len(self._buffer):
            self._buffer, self._start = b"", 0
        if body.is_complete:
            self.body = None
        return data

    def fail(self, problem: problems.Problem) -> ProtocolError:
        """Close, and make the error to raise."""
        self.rejected_head = self._buffer[self._start : self._start + self._max_head_bytes]
        self.close()
        return ProtocolError(problem)

    def close(self) -> None:
        """Read nothing more."""
        self.is_closed = True
        self._parser = None
        self._buffer, self._start = b"", 0

    # Responding

    def response_sent(self) -> None:
        """The response to the request has been sent, or is on its way: the next request may follow."""
        self.is_responding = False
        if self.body is not None:
            # The next bytes on the connection are the rest of an unread body.
            self.close()

    # Time

    def check(self, now: float, *, is_blocked: bool = False) -> int:
        """Whether the client is on time. Call it every half a second or so, and at least twice per timeout.

        `is_blocked`: it is not read from, because it does not read itself; that has a time limit of its own.
        """
        state = self.state
        if is_blocked or state != self._seen_state or self._requests != self._seen_requests or self._since < 0:
            self._begin_watch(state, now)
            return ON_TIME
        if state == IDLE:
            # An idle connection needs little memory.
            self._last_head, self._last_section = None, b""
            return IDLE_TOO_LONG if now - self._since > self.keepalive_s else ON_TIME
        if state == READING_HEAD:
            return HEAD_TOO_SLOW if now - self._since > self.receive_timeout_s else ON_TIME
        if state == READING_BODY and not self._is_body_on_time(now):
            return BODY_TOO_SLOW
        return ON_TIME

    def _begin_watch(self, state: int, now: float) -> None:
        self._seen_state, self._seen_requests, self._since = state, self._requests, now
        self._is_large_body = False
        self._pace.require(MIN_BODY_BYTES_PER_S, self.receive_timeout_s)
        self._pace.begin(now, self.body_bytes, is_awaited=self.is_body_awaited)

    def _is_body_on_time(self, now: float) -> bool:
        """Whether a body comes fast enough; one that is buffered whole has a deadline as well."""
        if self.is_body_buffered and self.body_bytes > MAX_SLOW_BODY_BYTES and not self._is_large_body:
            self._is_large_body = True
            self._pace.require(MIN_LARGE_BODY_BYTES_PER_S, self.receive_timeout_s / 5)
        if not self._pace.is_kept(now, self.body_bytes, is_awaited=self.is_body_awaited):
            return False
        return not self.is_body_buffered or now - self._since <= self.receive_timeout_s
