"""CORS: let pages of other origins call the API (the Fetch standard's CORS protocol)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from multidict import istr

from gateway.config.policies import Cors
from gateway.http.message import Handler, Layer, Request, Response, ResponseOrAwaitable, header

_DEFAULTS: Final = Cors()
# Compared without being lowercased for each request.
_ORIGIN: Final = istr("Origin")
# Caches must not send the response of one origin to another.
_VARY: Final = header("Vary", "Origin")


class Preflight(Response):
    """The response of the gateway to a preflight."""

    __slots__ = ()


def cors(
    origins: Sequence[str],
    *,
    allow_credentials: bool,
    max_age_s: int,
    expose_headers: Sequence[str],
    allow_methods: Sequence[str] = _DEFAULTS.allow_methods,
    allow_headers: Sequence[str] = _DEFAULTS.allow_headers,
    header_block: bytes = b"",
) -> Layer:
    """Respond to preflights, and let pages of `origins` read responses; `*` is every origin, without credentials.

    Rejected requests get the same fields, because the layer is outside of those that reject. Browsers enforce CORS, so
    nothing is rejected here. `header_block` is added to each response with them: one concatenation a request.
    """
    shared = header("Access-Control-Expose-Headers", ", ".join(expose_headers)) if expose_headers else b""
    if allow_credentials:
        shared += header("Access-Control-Allow-Credentials", "true")
    always = header_block + _VARY
    # Encoded beforehand for each origin.
    by_origin = {origin: always + header("Access-Control-Allow-Origin", origin) + shared for origin in origins}
    any_origin = by_origin.get("*")
    preflight = Preflight(
        204,
        header_block=header("Access-Control-Allow-Methods", ", ".join(allow_methods))
        + header("Access-Control-Allow-Headers", ", ".join(allow_headers))
        + header("Access-Control-Max-Age", max_age_s),
    )

    def layer(handler: Handler) -> Handler:
        def add(request: Request) -> ResponseOrAwaitable:
            headers = request.headers
            origin = headers.get(_ORIGIN)
            if origin is None:
                request.extra_headers += always
                return handler(request)
            allowed = by_origin.get(origin) if any_origin is None else any_origin
            if allowed is None:
                request.extra_headers += always
                return handler(request)
            request.extra_headers += allowed
            if request.method == "OPTIONS" and "Access-Control-Request-Method" in headers:
                return preflight
            return handler(request)

        return add

    return layer
