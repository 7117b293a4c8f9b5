"""What travels through the pipeline: one request, one response, and the shapes of handlers and layers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from typing import Any, Final

JSON: Final = b"application/json"
PROBLEM_JSON: Final = b"application/problem+json"


class Request:
    """A request whose body is complete.

    `path` is as it was sent, without its query; `params` are the decoded variable segments of the route, in their order;
    `headers` look names up whatever their case.
    """

    __slots__ = ("body", "headers", "id", "method", "params", "path", "query")

    def __init__(  # noqa: PLR0917 - one per request: keywords would cost a third more
        self,
        method: str,
        path: str,
        query: str,
        headers: Mapping[str, str],
        body: bytes,
        request_id: str,
        params: tuple[str, ...],
    ) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.body = body
        self.id = request_id
        self.params = params


class Response:
    """An answer: `headers` are finished lines, as `header` makes them, besides the ones every response has."""

    __slots__ = ("body", "content_type", "headers", "status")

    def __init__(self, status: int, body: bytes = b"", *, headers: bytes = b"", content_type: bytes = JSON) -> None:
        self.status = status
        self.body = body
        self.headers = headers
        self.content_type = content_type


class StreamedResponse(Response):
    """An answer whose body comes piece by piece; only for routes that are not hot."""

    __slots__ = ("chunks",)

    def __init__(
        self, status: int, chunks: AsyncGenerator[bytes, None], *, headers: bytes = b"", content_type: bytes
    ) -> None:
        super().__init__(status, headers=headers, content_type=content_type)
        self.chunks = chunks


Handler = Callable[[Request], Coroutine[Any, Any, Response]]
Layer = Callable[[Handler], Handler]


def header(name: str, value: str | int) -> bytes:
    """One finished header line. The value must be free of line ends; those who pass a shopper's text must see to it."""
    return f"{name}: {value}\r\n".encode("latin-1")


def stack(*layers: Layer) -> Layer:
    """Compose layers; the first named is the outermost."""

    def wrap(handler: Handler) -> Handler:
        for layer in reversed(layers):
            handler = layer(handler)
        return handler

    return wrap
