"""An order's history as server-sent events (WHATWG HTML, section 9.2), resumable by `Last-Event-ID`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from typing import Final

import orjson

from checkout.errors import OrderNotFound
from checkout.handlers import CheckoutHandlers, OrderEvent
from checkout.order import history_entry_json
from gateway.http.message import Request, StreamedResponse, header
from store import StoreError

# A stream on which nothing happens says so: balancers close silent connections, and only a write finds out who has gone.
PULSE_S: Final = 15.0
# How soon a stream asks a store again that did not answer.
RETRY_S: Final = 1.0
_MEDIA_TYPE: Final = b"text/event-stream"
_PULSE: Final = b":\n\n"
_NUMBER: Final = re.compile(r"\d{1,9}", re.ASCII)


async def order_events(checkout: CheckoutHandlers, request: Request) -> StreamedResponse:
    """Start the stream of an order's events. Raises `OrderNotFound`."""
    order_id, seen = request.params[0], request.headers.get("Last-Event-ID", "")
    await checkout.read(order_id, owner=request.shopper)
    lines = _lines(checkout, order_id, int(seen) if _NUMBER.fullmatch(seen) else 0, owner=request.shopper)
    no_store = header("Cache-Control", "no-store")
    return StreamedResponse(200, lines, header_block=no_store, content_type=_MEDIA_TYPE, is_resumable=True)


async def _lines(
    checkout: CheckoutHandlers, order_id: str, seen: int, *, owner: str | None
) -> AsyncGenerator[bytes, None]:
    """Until the order is at its end. The answer has begun, so a store that is away is waited for.

    A stream goes on though the token it was asked with expires meanwhile.
    """
    while True:
        try:
            async for event in checkout.events(order_id, after=seen, heartbeat_s=PULSE_S, owner=owner):
                yield _PULSE if event is None else _told(event)
                seen = seen if event is None else event.number
        except StoreError:
            yield _PULSE
            await asyncio.sleep(RETRY_S)
        except OrderNotFound:
            return  # its checkout could not keep it, and has undone it
        else:
            return


def _told(event: OrderEvent) -> bytes:
    return b"id: %d\nevent: status\ndata: %b\n\n" % (event.number, orjson.dumps(history_entry_json(event.entry)))
