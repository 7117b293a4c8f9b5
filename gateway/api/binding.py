"""A row of the route table, and how it becomes a handler: decode, call, encode."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, cast

import msgspec

from cart.errors import InvalidBody
from gateway.config.policies import Criticality
from gateway.http import problems
from gateway.http.conditions import matches_none
from gateway.http.endpoint import DEFAULT_BODY_LIMIT
from gateway.http.message import Handler, Request, Response, header


class Answer(Protocol):
    """Something that knows its own JSON."""

    def to_json(self) -> bytes:
        """The body of the answer."""
        ...


# The result of a call: an `Answer`, None for a response without a body, or a finished `Response`.
Call = Callable[[Request, Any], Awaitable[Answer | Response | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One call of the API. `call` gets the request and the decoded body; the rest says how its result is answered."""

    method: str
    path: str
    call: Call
    summary: str
    tag: str
    body: Any = None
    body_is_optional: bool = False
    body_limit: int = DEFAULT_BODY_LIMIT
    # Sees the body as it came, before it is decoded, and may refuse it.
    inspect: Callable[[bytes], None] | None = None
    status: int = 200
    # Header lines of an answer, made of the result and its body.
    headers: Callable[[Any, bytes], bytes] | None = None
    # The entity tag, quotes included; with it a GET answers 304 where If-None-Match names it.
    etag: Callable[[Any, bytes], str] | None = None
    hot: bool = True
    # The least critical are refused first when there is too much to do.
    criticality: Criticality = "optional"
    # Whether many may be given the same answer, so that it goes through the response cache and may be compressed.
    is_public: bool = False
    # For the documents only: the schema of the answer, header and query parameters, the slugs it may refuse with.
    answers: str | None = None
    parameters: Sequence[str] = ()
    refusals: Sequence[str] = ()

    @property
    def name(self) -> str:
        """How the examples of the API document call the route."""
        return f"{self.method} {self.path}"


# Called with a request and the degraded part of its response (`gateway.pipeline.degraded`).
Mark = Callable[[Request, str], None]


def _nobody_is_told(_request: Request, _what: str) -> None:
    pass


def bind(route: Route, mark: Mark = _nobody_is_told) -> Handler:
    """Compile a row into a handler. `mark` gets the degraded parts of views with an entity tag."""
    decode = _decoder(route)
    call, encode = route.call, _encoder(route, mark)

    async def handle(request: Request) -> Response:
        try:
            body = decode(request)
        except _Undecodable as fault:
            return fault.response
        return encode(request, await call(request, body))

    return handle


class _Undecodable(Exception):
    def __init__(self, response: Response) -> None:
        self.response = response


def _decoder(route: Route) -> Callable[[Request], Any]:
    if route.body is None:
        return _no_body
    decoder = msgspec.json.Decoder(route.body)
    body_is_optional, inspect = route.body_is_optional, route.inspect

    def decode(request: Request) -> Any:
        media_type = request.headers.get("Content-Type")
        if media_type is not None and media_type != "application/json" and not _is_json(media_type):
            raise _Undecodable(problems.response(problems.UNSUPPORTED_MEDIA_TYPE, request.id))
        body = request.body
        if inspect is not None:
            inspect(body)
        if not body and body_is_optional:
            body = b"{}"
        try:
            try:
                return decoder.decode(body)
            except msgspec.ValidationError as error:
                # The error came before the end of the body: a body that is no JSON at all gets that error.
                _ANY_JSON.decode(body)
                raise InvalidBody([_pointed(error)]) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            members = {"errors": [{"pointer": "", "detail": str(error)}]}
            raise _Undecodable(problems.response(problems.MALFORMED_JSON, request.id, members)) from None

    return decode


_ANY_JSON: Final = msgspec.json.Decoder(msgspec.Raw)


def _no_body(_request: Request) -> None:
    return None


def _encoder(route: Route, mark: Mark) -> Callable[[Request, Any], Response]:
    if route.etag is not None:
        return _tagging_encoder(route, route.etag, mark)
    status, headers = route.status, route.headers

    def encode(_request: Request, result: Any) -> Response:
        if result is None:
            return Response(204)
        if isinstance(result, Response):
            return result
        body = result.to_json()
        return Response(status, body, header_block=headers(result, body) if headers is not None else b"")

    return encode


def _tagging_encoder(route: Route, etag: Callable[[Any, bytes], str], mark: Mark) -> Callable[[Request, Any], Response]:
    """For answers with an entity tag. One that was sent by this route before is sent again as it was."""
    status, headers = route.status, route.headers
    has_conditions = route.method in _SAFE

    def encode(request: Request, result: Any) -> Response:
        encoded = result.encoded
        if encoded is None or encoded[0] is not route:
            body = result.to_json()
            tag = etag(result, body)
            lines = header("ETag", tag) + (headers(result, body) if headers is not None else b"")
            encoded = result.encoded = (route, tag, Response(status, body, header_block=lines))
        _, tag, response = encoded
        if result.degraded:
            for what in result.degraded:
                mark(request, what)
        if has_conditions:
            known = request.headers.get("If-None-Match")
            if known is not None and matches_none(known, tag):
                return Response(304, header_block=response.header_block)
        return cast(Response, response)

    return encode


_SAFE: Final = frozenset({"GET", "HEAD"})


def _is_json(media_type: str) -> bool:
    kind = media_type.partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


def _pointed(error: msgspec.ValidationError) -> tuple[str, str]:
    """Split msgspec's `Expected … - at `$.lines[0].sku`` into a JSON pointer (RFC 6901) and the detail."""
    detail, _, path = str(error).partition(" - at `$")
    pointer = path.rstrip("`").replace("[...]", "").replace("[", "/").replace("]", "").replace(".", "/")
    return pointer, detail
