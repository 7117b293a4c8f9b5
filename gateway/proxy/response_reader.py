"""Reads responses from the bytes of one connection: interim responses, the head, the body. No I/O."""

from __future__ import annotations

from typing import Final

from gateway.http.head_limits import DEFAULT_HEAD_LIMITS, HeadLimits
from gateway.http.message import InterimReceiver
from gateway.proxy.errors import BadResponse
from gateway.proxy.response_body import Framing, framing
from gateway.proxy.response_head import UNTIL_CLOSE, ResponseHead, parse_head

_MAX_INTERIM: Final = 16
_BODILESS: Final = frozenset({204, 304})
_EMPTY: Final[list[bytes]] = []


class ResponseReader:
    """`start` before each request, then `receive` for all bytes."""

    __slots__ = (
        "_buffered",
        "_framing",
        "_interim_receiver",
        "_interims",
        "_is_bodiless",
        "_limits",
        "body_length",
        "head",
        "is_complete",
        "keeps_alive",
    )

    def __init__(self, limits: HeadLimits = DEFAULT_HEAD_LIMITS) -> None:
        self._limits = limits
        self._is_bodiless = False
        # A part of a header section.
        self._buffered = b""
        self._interims = 0
        self._interim_receiver: InterimReceiver | None = None
        self._framing: Framing | None = None
        self.head: ResponseHead | None = None
        # Of the body on this connection: its length, or `CHUNKED`, or `UNTIL_CLOSE`.
        self.body_length = 0
        # Nothing more is expected; so it is before the first request.
        self.is_complete = True
        # Whether the connection may be used again, known once the response is complete.
        self.keeps_alive = False

    def start(self, *, is_bodiless: bool, interims: InterimReceiver | None = None) -> None:
        """Expect the response to a request; `is_bodiless` for HEAD. Interim responses go to `interims`."""
        self._is_bodiless = is_bodiless
        self._interim_receiver = interims
        self._interims = 0
        self._framing = None
        self.head = None
        self.is_complete = False
        self.keeps_alive = False

    @property
    def is_untouched(self) -> bool:
        """Whether no byte of the expected response was received."""
        return self.head is None and not self._buffered and not self._interims

    @property
    def ends_with_connection(self) -> bool:
        """Whether the end of the connection is the end of the body that is being received."""
        return self.head is not None and not self.is_complete and self.body_length == UNTIL_CLOSE

    def receive(self, data: bytes) -> list[bytes]:
        """The pieces of the body in `data`; `head` is set once it was received. Raises `BadResponse`."""
        if self._framing is not None:
            return self._receive_body(data)
        if self._buffered:
            data, self._buffered = self._buffered + data, b""
        start = 0
        limits = self._limits
        while True:
            end = data.find(b"\r\n\r\n", start)
            if (end if end >= 0 else len(data)) - start > limits.head_bytes:
                raise BadResponse("the header section is too large")
            if end < 0:
                self._buffered = data[start:]
                return _EMPTY
            head = parse_head(data[start:end], limits)
            start = end + 4
            if head.status >= 200:
                break
            self._receive_interim(head)
        self.head = head
        length = self.body_length = 0 if self._is_bodiless or head.status in _BODILESS else head.length
        if len(data) - start == length:
            # The common case: the whole response and nothing else.
            self.is_complete = True
            self.keeps_alive = head.keeps_alive
            return [data[start:]]
        self._framing = framing(length)
        return self._receive_body(data[start:])

    def _receive_body(self, data: bytes) -> list[bytes]:
        body, head = self._framing, self.head
        assert body is not None
        assert head is not None
        pieces = body.feed(data)
        if body.is_done:
            self.is_complete = True
            self.keeps_alive = head.keeps_alive and not body.has_more
            self._framing = None
        return pieces

    def _receive_interim(self, head: ResponseHead) -> None:
        """Hand on an interim response (RFC 9110, 15.2); not 100, which the client has got from the gateway."""
        self._interims += 1
        if head.status == 101 or self._interims > _MAX_INTERIM:
            raise BadResponse("another protocol that was not requested, or too many interim responses")
        if head.status != 100 and self._interim_receiver is not None:
            self._interim_receiver.send_interim(head.status, head.header_block)
