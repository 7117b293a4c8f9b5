"""A route of the API, and the handler made of it: decode the body, call, encode the result."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, cast

import msgspec

from cart.body_faults import fault_of, malformed
from cart.errors import InvalidBody, Refusal
from checkout.errors import CardDataRefused
from gateway.api.card_check import CardCheck
from gateway.config.policies import Criticality
from gateway.http import problems
from gateway.http.conditions import matches_none
from gateway.http.endpoint import DEFAULT_BODY_LIMIT
from gateway.http.message import Handler, Request, Response, header


class View(Protocol):
    """A result that encodes itself as JSON."""

    def to_json(self) -> bytes:
        """The response body."""
        ...


# The result of a call: a `View`, None for a response without a body, or a finished `Response`.
Call = Callable[[Request, Any], Awaitable[View | Response | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A route of the API. `call` gets the request and the decoded body; its result becomes the response."""

    method: str
    path: str
    call: Call
    summary: str
    tag: str
    # The type of the request body, None for a route without one.
    body: Any = None
    body_is_optional: bool = False
    body_limit: int = DEFAULT_BODY_LIMIT
    # Whether a raw body holds a card number; without it, whether it holds one that a card network issues.
    inspect: Callable[[bytes], bool] | None = None
    # The status of a successful response.
    status: int = 200
    # Makes header lines of the response from the result and its JSON.
    headers: Callable[[Any, bytes], bytes] | None = None
    # The entity tag, quotes included; with it, a GET with a matching If-None-Match gets 304.
    etag: Callable[[Any, bytes], str] | None = None
    hot: bool = True
    # The least critical requests are shed first.
    criticality: Criticality = "optional"
    # Who is authenticated: a shopper by a token, if there is one, or an agent by its key. The calls of agents are those of a
    # published protocol, and no part of our OpenAPI document.
    caller: Literal["shopper", "agent"] = "shopper"
    # Whether clients may share a response: then it goes through the response cache and may be compressed.
    is_public: bool = False
    # For the OpenAPI document only: the struct of the response body, or else its media type; the header and query
    # parameters; the slugs of the problems.
    response: Any = None
    media_type: str | None = None
    parameters: Sequence[str] = ()
    problems: Sequence[str] = ()

    @property
    def name(self) -> str:
        """The key of the route in `gateway.api.examples`: method and path."""
        return f"{self.method} {self.path}"

    def card_check(self) -> CardCheck:
        """The search for card numbers in its requests."""
        return CardCheck(self.method, self.path, self.parameters, self.inspect)


# Called with a request and the degraded part of its response (`gateway.pipeline.degraded`).
MarkDegraded = Callable[[Request, str], None]


def _ignore_degraded(_request: Request, _part: str) -> None:
    pass


def bind(route: Route, mark_degraded: MarkDegraded = _ignore_degraded) -> Handler:
    """The handler of a route. `mark_degraded` gets the degraded parts of views with an entity tag."""
    return _BoundRoute(_decoder(route), route.call, _encoder(route, mark_degraded), route.card_check()).handle


class _BoundRoute:
    """A route with its decoder and encoder."""

    __slots__ = ("_call", "_card_check", "_decode", "_encode")

    def __init__(
        self,
        decode: Callable[[Request], Any],
        call: Call,
        encode: Callable[[Request, Any], Response],
        card_check: CardCheck,
    ) -> None:
        self._card_check = card_check
        self._decode = decode
        self._call = call
        self._encode = encode

    async def handle(self, request: Request) -> Response:
        """The handler."""
        if self._card_check.finds_card_number(request):
            raise CardDataRefused
        try:
            body = self._decode(request)
        except _Undecodable as fault:
            return fault.response
        try:
            result = await self._call(request, body)
        except Refusal:
            if self._card_check.finds_card_number_as_id(request):
                raise CardDataRefused from None
            raise
        return self._encode(request, result)


class _Undecodable(Exception):
    def __init__(self, response: Response) -> None:
        self.response = response


def _decoder(route: Route) -> Callable[[Request], Any]:
    if route.body is None:
        return _no_body
    decoder = msgspec.json.Decoder(route.body)
    body_is_optional, body_type = route.body_is_optional, route.body

    def decode(request: Request) -> Any:
        media_type = request.headers.get("Content-Type")
        if media_type is not None and media_type != "application/json" and not _is_json(media_type):
            raise _Undecodable(problems.response(problems.UNSUPPORTED_MEDIA_TYPE, request.id))
        body = request.body
        if not body and body_is_optional:
            body = b"{}"
        # The exceptions have two names, because mypyc gives a name one type.
        try:
            try:
                return decoder.decode(body)
            except msgspec.ValidationError as invalid:
                # Raised before the end of the body was read, which may be malformed: that error takes precedence.
                _ANY_JSON.decode(body)
                raise InvalidBody([fault_of(invalid, body_type)]) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
            members = {"errors": [{"pointer": "", "detail": malformed(fault)}]}
            raise _Undecodable(problems.response(problems.MALFORMED_JSON, request.id, members)) from None

    return decode


_ANY_JSON: Final = msgspec.json.Decoder(msgspec.Raw)


def _no_body(_request: Request) -> None:
    return None


def _encoder(route: Route, mark_degraded: MarkDegraded) -> Callable[[Request, Any], Response]:
    if route.etag is not None:
        return _tagging_encoder(route, route.etag, mark_degraded)
    status, headers = route.status, route.headers

    def encode(_request: Request, result: Any) -> Response:
        if result is None:
            return Response(204)
        if isinstance(result, Response):
            return result
        body = result.to_json()
        return Response(status, body, header_block=headers(result, body) if headers is not None else b"")

    return encode


def _tagging_encoder(
    route: Route, etag: Callable[[Any, bytes], str], mark_degraded: MarkDegraded
) -> Callable[[Request, Any], Response]:
    """The encoder of responses with an entity tag. The response of a view is cached in the view for this route."""
    status, headers = route.status, route.headers
    has_conditions = route.method in _SAFE

    def encode(request: Request, result: Any) -> Response:
        encoded = result.encoded
        if encoded is None or encoded[0] is not route:
            body = result.to_json()
            tag = etag(result, body)
            header_block = header("ETag", tag) + (headers(result, body) if headers is not None else b"")
            encoded = result.encoded = (route, tag, Response(status, body, header_block=header_block))
        _, tag, response = encoded
        if result.degraded:
            for part in result.degraded:
                mark_degraded(request, part)
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
