"""Requests, responses, handlers and layers: the types of the pipeline."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping
from typing import Any, Final

JSON: Final = b"application/json"
PROBLEM_JSON: Final = b"application/problem+json"


class Request:
    """A request whose body is complete, or comes as `stream` where its route takes it so.

    `path` is as it was sent, without its query; `params` are the decoded variable segments of the route, in their order;
    `headers` look names up in any case; `peer` is the address at the other end of the connection.

    The edge learns more on the way: `client` is the address the request is made from (IPv6 as its /64), `api_key` the name
    of the key it came with, `shopper` who is signed in. `extra_headers` are header lines that every response to it gets.
    """

    __slots__ = (
        "api_key",
        "body",
        "client",
        "extra_headers",
        "headers",
        "id",
        "method",
        "params",
        "path",
        "peer",
        "query",
        "shopper",
        "started_at",
        "stream",
    )

    def __init__(  # noqa: PLR0917 - one per request: keywords would cost a third more
        self,
        method: str,
        path: str,
        query: str,
        headers: Mapping[str, str],
        body: bytes,
        request_id: str,
        params: tuple[str, ...],
        peer: str = "",
        started_at: float = 0.0,
    ) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.body = body
        self.id = request_id
        self.params = params
        self.peer = peer
        # The loop's time at which the whole request, or its head where the body streams, had come.
        self.started_at = started_at
        self.client = peer
        self.api_key: str | None = None
        self.shopper: str | None = None
        self.extra_headers = b""
        self.stream: AsyncIterator[bytes] | None = None

    def with_headers(self, headers: Mapping[str, str]) -> Request:
        """A copy with other header fields."""
        copy = Request(
            self.method, self.path, self.query, headers, self.body, self.id, self.params, self.peer, self.started_at
        )
        copy.client, copy.api_key, copy.shopper = self.client, self.api_key, self.shopper
        copy.extra_headers, copy.stream = self.extra_headers, self.stream
        return copy


def unread(request_id: str) -> Request:
    """A stand-in for bytes that could not be read as a request."""
    return Request("", "", "", {}, b"", request_id, ())


class Response:
    """An answer: `header_block` is finished header lines, as `header` makes them, besides the ones every response has.

    Never changed once made: the same one may answer many requests. Additions of one request go to its `extra_headers`.
    """

    __slots__ = ("body", "content_type", "header_block", "status")

    def __init__(
        self, status: int, body: bytes = b"", *, header_block: bytes = b"", content_type: bytes = JSON
    ) -> None:
        self.status = status
        self.body = body
        self.header_block = header_block
        self.content_type = content_type

    def with_header_block(self, header_block: bytes) -> Response:
        """A copy with other header lines."""
        return Response(self.status, self.body, header_block=header_block, content_type=self.content_type)


class StreamedResponse(Response):
    """An answer whose body comes piece by piece. `length` is how long it will be, None where nobody knows.

    `chunks` is closed (`aclose`) when the shopper hangs up; when it raises, the connection is cut off, so that nobody
    takes half an answer for a whole one. One that `is_resumable` may be ended anywhere: its reader asks for the rest.
    """

    __slots__ = ("chunks", "is_resumable", "length")

    def __init__(
        self,
        status: int,
        chunks: AsyncGenerator[bytes, None],
        *,
        header_block: bytes = b"",
        content_type: bytes,
        length: int | None = None,
        is_resumable: bool = False,
    ) -> None:
        super().__init__(status, header_block=header_block, content_type=content_type)
        self.chunks = chunks
        self.length = length
        self.is_resumable = is_resumable

    def with_header_block(self, header_block: bytes) -> Response:
        """A copy with other header lines, of the same chunks."""
        return StreamedResponse(
            self.status,
            self.chunks,
            header_block=header_block,
            content_type=self.content_type,
            length=self.length,
            is_resumable=self.is_resumable,
        )


class BodyTooLarge(Exception):
    """More of a body came than its route takes."""


class BodyTooSlow(Exception):
    """The next piece of a body did not come in time."""


class BodyMalformed(Exception):
    """The received bytes are no body of the announced framing."""


# A response at once, which saves a coroutine; else a coroutine, started by the caller.
ResponseOrAwaitable = Response | Coroutine[Any, Any, Response]
Handler = Callable[[Request], ResponseOrAwaitable]
Layer = Callable[[Handler], Handler]


async def resolve(outcome: ResponseOrAwaitable) -> Response:
    """The response of an outcome, waited for if need be."""
    return outcome if isinstance(outcome, Response) else await outcome


def after(handler: Handler, act: Callable[[Request, Response], Response]) -> Handler:
    """The handler, with its response given to `act`, whether it comes at once or later."""

    async def later(request: Request, coming: Coroutine[Any, Any, Response]) -> Response:
        return act(request, await coming)

    def handled(request: Request) -> ResponseOrAwaitable:
        outcome = handler(request)
        return act(request, outcome) if isinstance(outcome, Response) else later(request, outcome)

    return handled


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
