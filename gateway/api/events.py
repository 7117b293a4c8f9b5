"""An order's history as server-sent events (WHATWG HTML, section 9.2), resumable by `Last-Event-ID`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

import orjson

from checkout.handlers import CheckoutHandlers, OrderEvent
from checkout.model import shown_entry
from gateway.http import Request, StreamedResponse, header

_MEDIA_TYPE: Final = b"text/event-stream"


async def order_events(checkout: CheckoutHandlers, request: Request) -> StreamedResponse:
    """Start the stream of an order's events. Raises `OrderNotFound`."""
    seen = request.headers.get("Last-Event-ID", "")
    events = checkout.events(request.params[0], after=int(seen) if seen.isdecimal() else 0)
    await checkout.read(request.params[0])
    return StreamedResponse(200, _lines(events), headers=header("Cache-Control", "no-store"), content_type=_MEDIA_TYPE)


async def _lines(events: AsyncIterator[OrderEvent]) -> AsyncIterator[bytes]:
    async for event in events:
        yield b"id: %d\nevent: status\ndata: %b\n\n" % (event.number, orjson.dumps(shown_entry(event.entry)))
