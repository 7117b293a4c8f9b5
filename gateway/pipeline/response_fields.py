"""Each header field once in a response: the fields that layers add, and those that the response has already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway.http.header_lines import unique_members, values_of, without_lines
from gateway.http.message import Handler, Layer, Request, Response, ResponseOrAwaitable, after
from gateway.pipeline.cors import Preflight

_CORS: Final = b"\r\naccess-control-"
_VARY: Final = b"\r\nvary:"
_RATE_LIMIT: Final = b"\r\nratelimit"
_DEGRADED: Final = b"\r\ndegraded:"
_CACHE_STATUS: Final = b"\r\ncache-status:"
# A waiting room adds it to a response with a pass.
_PRIVATE: Final = b"Cache-Control: private\r\n"
_PUBLIC: Final = (b"public", b"private", b"s-maxage=")
# RFC 9213 and its forerunner: shared caches obey these instead of Cache-Control.
_CACHE_CONTROLS: Final = (b"cache-control:", b"cdn-cache-control:", b"surrogate-control:")


def response_fields(where_missing: Mapping[str, bytes], *, replaces_cors: bool = False) -> Layer:
    """Add the lines `where_missing` (by name in lower case) unless the response has the field, and merge what both have.

    With `replaces_cors` the CORS fields of the response are removed, because those of the gateway hold. Lists become one
    line: `Vary`, `RateLimit`, `Degraded`, `Cache-Status`. A response with a pass of a waiting room is for its client alone.
    """
    return ResponseFields(where_missing, replaces_cors=replaces_cors).layer


class ResponseFields:
    """The layer `response_fields` of one route."""

    __slots__ = ("_beforehand", "_replaces_cors", "_where_missing")

    def __init__(self, where_missing: Mapping[str, bytes], *, replaces_cors: bool) -> None:
        self._where_missing = [(b"\r\n%b:" % name.encode(), line) for name, line in where_missing.items()]
        # Added before the handler is called, so that the response of an exception has them too.
        self._beforehand = b"".join(where_missing.values())
        self._replaces_cors = replaces_cors

    def layer(self, handler: Handler) -> Handler:
        """The layer."""
        merged = after(handler, self._merge, "the response header fields")
        beforehand = self._beforehand

        def add(request: Request) -> ResponseOrAwaitable:
            request.extra_headers += beforehand
            return merged(request)

        return add

    def _merge(self, request: Request, response: Response) -> Response:
        fields = b"\r\n" + response.header_block.lower()
        for start, line in self._where_missing:
            if start in fields:
                request.extra_headers = request.extra_headers.replace(line, b"", 1)
        if self._replaces_cors and _CORS in fields and not isinstance(response, Preflight):
            response = response.with_header_block(without_lines(response.header_block, (_CORS[2:],)))
        extra = request.extra_headers
        if len(extra) == len(self._beforehand):
            return response  # no other layer has added anything
        if _VARY in fields and b"Vary: " in extra:
            response = _join(request, response, b"Vary")
        if _RATE_LIMIT in fields and b"RateLimit: " in extra:
            response = _join(request, _join(request, response, b"RateLimit-Policy"), b"RateLimit")
        if _DEGRADED in fields and b"Degraded: " in extra:
            response = _join(request, response, b"Degraded")
        if _CACHE_STATUS in fields and b"Cache-Status: " in extra:
            response = _join(request, response, b"Cache-Status")
        return _for_one_client(request, response) if _PRIVATE in extra else response


def _join(request: Request, response: Response, name: bytes) -> Response:
    """The response without a list that it has; the list of the extra header fields has its members, too."""
    start = (name.lower() + b":",)
    block, extra = response.header_block, request.extra_headers
    values = [*values_of(block, start[0]), *values_of(extra, start[0])]
    if name in {b"Vary", b"Degraded"}:
        values = unique_members(values)
        if b"*" in values:
            values = [b"*"]  # RFC 9110, 12.5.5
    request.extra_headers = b"%b%b: %b\r\n" % (without_lines(extra, start), name, b", ".join(values))
    return response.with_header_block(without_lines(block, start))


def _for_one_client(request: Request, response: Response) -> Response:
    """The response with one `Cache-Control`, which lets no shared cache store it."""
    values = values_of(response.header_block, _CACHE_CONTROLS[0])
    members = [member for member in unique_members(values) if not member.lower().startswith(_PUBLIC)]
    if any(b'"' in value for value in values):
        # Lists in lists, such as `no-cache="a, b"`.
        members = [b"no-cache"]
    extra = request.extra_headers.replace(_PRIVATE, b"", 1)
    request.extra_headers = b"%bCache-Control: %b\r\n" % (extra, b", ".join([b"private", *members]))
    return response.with_header_block(without_lines(response.header_block, _CACHE_CONTROLS))
