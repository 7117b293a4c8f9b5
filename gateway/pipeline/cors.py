"""Let pages of other origins call the API (the Fetch standard's CORS protocol)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gateway.http.message import Handler, Layer, Request, Response, ResponseOrAwaitable, header

_METHODS: Final = header("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, PATCH, DELETE")
# What the calls take besides the fields that browsers allow anyway.
_REQUEST_FIELDS: Final = header(
    "Access-Control-Allow-Headers",
    "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID, Waiting-Room-Token, X-Api-Key, traceparent, tracestate",
)
# Caches must not give the answer to one origin to another.
_VARY: Final = header("Vary", "Origin")


def cors(origins: Sequence[str], *, credentials: bool, max_age_s: int, expose: Sequence[str]) -> Layer:
    """Answer preflights, and tell browsers which of the `origins` may read answers; `*` is every one, without credentials.

    Refusals are told the same way, since the layer is outside of those that refuse. Nobody is refused here: the browser
    does that, and whoever is no browser does not ask.
    """
    allowed = frozenset(origins)
    shared = header("Access-Control-Expose-Headers", ", ".join(expose)) if expose else b""
    if credentials:
        shared += header("Access-Control-Allow-Credentials", "true")
    preflight = Response(204, header_block=_METHODS + _REQUEST_FIELDS + header("Access-Control-Max-Age", max_age_s))

    def layer(handler: Handler) -> Handler:
        def crossed(request: Request) -> ResponseOrAwaitable:
            request.extra_headers += _VARY
            origin = request.headers.get("Origin")
            if origin is None:
                return handler(request)
            if "*" in allowed:
                request.extra_headers += b"Access-Control-Allow-Origin: *\r\n" + shared
            elif origin in allowed:
                request.extra_headers += header("Access-Control-Allow-Origin", origin) + shared
            else:
                return handler(request)
            if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
                return preflight
            return handler(request)

        return crossed

    return layer
