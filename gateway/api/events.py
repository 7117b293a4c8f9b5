"""An order's history as server-sent events (WHATWG HTML, section 9.2), resumable by `Last-Event-ID`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from typing import Final

import msgspec

from checkout.errors import OrderNotFound
from checkout.handlers import CheckoutHandlers, OrderEvent
from gateway.http.message import Request, StreamedResponse, header
from store import StoreError

# Sent while nothing happens: balancers close idle connections, and only a write detects a client that is gone.
HEARTBEAT_S: Final = 15.0
# The delay before a stream queries an unavailable store again.
RETRY_S: Final = 1.0
_MEDIA_TYPE: Final = b"text/event-stream"
# nginx, and proxies that follow it, would collect events before they send them on.
_FIELDS: Final = header("Cache-Control", "no-store") + header("X-Accel-Buffering", "no")
_HEARTBEAT: Final = b":\n\n"
_NUMBER: Final = re.compile(r"\d{1,9}", re.ASCII)


async def order_events(checkout: CheckoutHandlers, request: Request) -> StreamedResponse:
    """Start the stream of an order's events. Raises `OrderNotFound`."""
    order_id, seen = request.params[0], request.headers.get("Last-Event-ID", "")
    await checkout.read(order_id, owner=request.shopper)
    events = _events(checkout, order_id, int(seen) if _NUMBER.fullmatch(seen) else 0, owner=request.shopper)
    return StreamedResponse(200, events, header_block=_FIELDS, content_type=_MEDIA_TYPE, is_resumable=True)


async def _events(
    checkout: CheckoutHandlers, order_id: str, seen: int, *, owner: str | None
) -> AsyncGenerator[bytes, None]:
    """The events up to the final status. The status 200 is sent already, so the stream outlasts outages of the store.

    It also continues when the token of its request expires.
    """
    while True:
        try:
            async for event in checkout.events(order_id, after=seen, heartbeat_s=HEARTBEAT_S, owner=owner):
                yield _HEARTBEAT if event is None else _format(event)
                seen = seen if event is None else event.number
        except StoreError:
            yield _HEARTBEAT
            await asyncio.sleep(RETRY_S)
        except OrderNotFound:
            return  # the order was not durable in time and was rolled back
        else:
            return


def _format(event: OrderEvent) -> bytes:
    return b"id: %d\nevent: status\ndata: %b\n\n" % (event.number, msgspec.json.encode(event.entry.to_response()))
