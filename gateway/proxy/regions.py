"""The gateways of other Regions, and requests that are forwarded to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from multidict import CIMultiDict

from gateway.http.header_lines import only_lines
from gateway.http.message import Handler, Request, Response, StreamedResponse, resolve

# RFC 8586: names who has forwarded a request already. A second hop would mean that two gateways take each other for the home.
_LOOP: Final = "CDN-Loop"
_OWN_ID: Final = "peakgate"
_EVENT_STREAM: Final = b"text/event-stream"
# The gateway that received the request adds its own fields for browsers, limits and caches.
_PASSED_ON: Final = (b"cache-control:", b"degraded:", b"retry-after:", b"www-authenticate:", b"x-accel-buffering:")


class Regions:
    """Handlers that forward requests, by the name of a Region; `update` them when policies change."""

    def __init__(self) -> None:
        self._handlers: Mapping[str, Handler] = {}

    def update(self, handlers: Mapping[str, Handler]) -> None:
        """Forward to these from now on."""
        self._handlers = handlers

    def can_forward(self, request: Request, region: str) -> bool:
        """Whether the Region has an address, and the request does not come from a gateway of another Region."""
        return region in self._handlers and not _was_forwarded(request)

    async def forward(self, request: Request, region: str) -> Response:
        """The response of the gateway there, or the problem of an upstream that does not respond. Awaits futures only."""
        headers = CIMultiDict(request.headers)
        headers.add(_LOOP, _OWN_ID)
        forwarded = request.with_headers(headers)
        try:
            response = await resolve(self._handlers[region](forwarded))
        finally:
            request.upstream_call = forwarded.upstream_call
        header_block = only_lines(response.header_block, _PASSED_ON)
        if not isinstance(response, StreamedResponse):
            return response.with_header_block(header_block)
        return StreamedResponse(
            response.status,
            response.chunks,
            header_block=header_block,
            content_type=response.content_type,
            length=response.length,
            is_resumable=response.content_type.startswith(_EVENT_STREAM),
        )


def _was_forwarded(request: Request) -> bool:
    """Whether `CDN-Loop` names a Peakgate: a list of ids, each with its parameters behind a semicolon."""
    ids = (
        member.partition(";")[0].strip(" \t").lower()
        for name, value in request.headers.items()
        if name.lower() == "cdn-loop"
        for member in value.split(",")
    )
    return _OWN_ID in ids
