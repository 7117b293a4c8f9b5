"""Requests, responses, handlers and layers: the types of the pipeline."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from gateway.http.contained import FAILURES

if TYPE_CHECKING:
    from gateway.http.problems import Problem
    from primitives.tracing.spans import Span

JSON: Final = b"application/json"
PROBLEM_JSON: Final = b"application/problem+json"
# Requests with these methods change nothing (RFC 9110 9.2.1).
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


class InterimReceiver(Protocol):
    """Receives the interim responses (1xx) to a request."""

    def send_interim(self, status: int, header_block: bytes) -> None:
        """Send one to the client, if it understands them and still waits for the response."""
        ...


class Request:
    """A request. Its body is complete in `body`, or is received as `stream` where the route supports that.

    `path` is not decoded and has no query; `params` are the decoded variable segments of the route, in their order;
    `headers` are case-insensitive; `peer` is the address at the other end of the connection.

    Layers set the rest: `client` is the address of the client (IPv6 as its /64), `api_key` the name of its API key,
    `shopper` the signed-in shopper. `extra_headers` are header lines that are added to the response.
    `interims` receives interim responses, on routes that have them.
    `upstream_call` is the name of the upstream it was forwarded to, and the seconds until its response began.
    `trace` is its span, None where none is recorded.
    """

    __slots__ = (
        "api_key",
        "body",
        "client",
        "extra_headers",
        "headers",
        "id",
        "interims",
        "method",
        "params",
        "path",
        "peer",
        "query",
        "shopper",
        "started_at",
        "stream",
        "trace",
        "upstream_call",
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
        # The loop's time when the request, or its head if the body is streamed, was received.
        self.started_at = started_at
        self.client = peer
        self.api_key: str | None = None
        self.shopper: str | None = None
        self.extra_headers = b""
        self.stream: AsyncIterator[bytes] | None = None
        self.interims: InterimReceiver | None = None
        self.upstream_call: tuple[str, float] | None = None
        self.trace: Span | None = None

    def with_headers(self, headers: Mapping[str, str]) -> Request:
        """A copy with other header fields."""
        copy = Request(
            self.method, self.path, self.query, headers, self.body, self.id, self.params, self.peer, self.started_at
        )
        copy.client, copy.api_key, copy.shopper = self.client, self.api_key, self.shopper
        copy.extra_headers, copy.stream, copy.interims = self.extra_headers, self.stream, self.interims
        copy.trace = self.trace
        return copy


def unparsed_request(request_id: str) -> Request:
    """A placeholder for bytes that could not be parsed as a request."""
    return Request("", "", "", {}, b"", request_id, ())


class Response:
    """A response. `header_block` is rendered header lines (see `header`), without those that every response has.

    `content_type` is empty for a response of an upstream that has no type.

    Immutable, because one response may be sent to many requests. Header lines for one request go to its `extra_headers`.
    """

    __slots__ = ("body", "content_type", "header_block", "problem", "status")

    def __init__(
        self, status: int, body: bytes = b"", *, header_block: bytes = b"", content_type: bytes = JSON
    ) -> None:
        self.status = status
        self.body = body
        self.header_block = header_block
        self.content_type = content_type
        # The problem that the body tells in JSON: a browser gets its page.
        self.problem: Problem | None = None

    def with_header_block(self, header_block: bytes) -> Response:
        """A copy with other header lines."""
        copy = Response(self.status, self.body, header_block=header_block, content_type=self.content_type)
        copy.problem = self.problem
        return copy


class UnsizedResponse(Response):
    """A whole response whose upstream has not declared its length: it came in chunks, or up to the end of a connection.

    A client of HTTP/1.0 gets it as it gets a streamed one, however fast it came.
    """

    __slots__ = ()

    def with_header_block(self, header_block: bytes) -> Response:
        """A copy with other header lines."""
        return UnsizedResponse(self.status, self.body, header_block=header_block, content_type=self.content_type)


class StreamedResponse(Response):
    """A response with a streamed body. `length` is its length, None if it is unknown.

    `chunks` is closed (`aclose`) when the client disconnects. When it raises, the connection is closed, so that the
    client detects the truncation. One that `is_resumable` may be ended anywhere: the client requests the rest.
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
    """The body is larger than its route accepts."""


class BodyTooSlow(Exception):
    """The next part of the body was not received in time."""


class BodyMalformed(Exception):
    """The framing of the body is malformed."""


# A response, which saves a coroutine, or a coroutine that the caller awaits.
ResponseOrAwaitable = Response | Coroutine[Any, Any, Response]
Handler = Callable[[Request], ResponseOrAwaitable]
Layer = Callable[[Handler], Handler]


async def resolve(response: ResponseOrAwaitable) -> Response:
    """The response, awaited if need be."""
    return response if isinstance(response, Response) else await response


def after(handler: Handler, act: Callable[[Request, Response], Response], part: str) -> Handler:
    """A handler that passes the response of `handler` through `act`, and unchanged if that fails: the order is placed.

    `part` is the name under which failures are counted.
    """

    def handle(request: Request) -> ResponseOrAwaitable:
        response = handler(request)
        if isinstance(response, Response):
            return contained(act, request, response, part)
        return _act_later(request, response, act, part)

    return handle


async def _act_later(
    request: Request,
    pending: Coroutine[Any, Any, Response],
    act: Callable[[Request, Response], Response],
    part: str,
) -> Response:
    return contained(act, request, await pending, part)


def contained(
    act: Callable[[Request, Response], Response], request: Request, response: Response, part: str
) -> Response:
    """The result of `act`, or the response as it was if that fails."""
    try:
        return act(request, response)
    except Exception as error:  # noqa: BLE001 - the response is sent without it
        FAILURES.add(part, error)
        return response


def header(name: str, value: str | int) -> bytes:
    """One rendered header line. The value must have no line breaks; callers check values that clients chose."""
    return f"{name}: {value}\r\n".encode("latin-1")


def stack(*layers: Layer) -> Layer:
    """Compose layers; the first named is the outermost."""

    def wrap(handler: Handler) -> Handler:
        for layer in reversed(layers):
            handler = layer(handler)
        return handler

    return wrap
