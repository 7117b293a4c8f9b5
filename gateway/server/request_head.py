"""The head of a request as it was read: request line and header fields."""

from __future__ import annotations

from multidict import MultiMapping


class RequestHead:
    """`target` is as it was sent. `content_length` is that of a body with a known length, else 0."""

    __slots__ = ("content_length", "headers", "is_chunked", "is_http11", "method", "should_close", "target")

    def __init__(
        self,
        method: str,
        target: str,
        headers: MultiMapping[str],
        *,
        content_length: int = 0,
        is_chunked: bool = False,
        is_http11: bool = True,
        should_close: bool = False,
    ) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.content_length = content_length
        self.is_chunked = is_chunked
        self.is_http11 = is_http11
        # Whether the client asks to close the connection after the response.
        self.should_close = should_close
