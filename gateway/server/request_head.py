"""The head of a request as it was read: request line and header fields."""

from __future__ import annotations

from multidict import MultiMapping

from gateway.server.request_line import RequestLine


class RequestHead:
    """`content_length` is that of a body with a known length, else 0.

    A plain head has each field once and a target that begins with a slash: only its line can be ambiguous.
    """

    __slots__ = ("content_length", "headers", "is_chunked", "is_http11", "is_plain", "line", "should_close")

    def __init__(
        self,
        line: RequestLine,
        headers: MultiMapping[str],
        *,
        content_length: int = 0,
        is_chunked: bool = False,
        is_http11: bool = True,
        is_plain: bool = False,
        should_close: bool = False,
    ) -> None:
        self.line = line
        self.headers = headers
        self.is_plain = is_plain
        self.content_length = content_length
        self.is_chunked = is_chunked
        self.is_http11 = is_http11
        # Whether the client asks to close the connection after the response.
        self.should_close = should_close
