"""An order's history as server-sent events (WHATWG HTML, section 9.2), resumable by `Last-Event-ID`."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing
from typing import Any, Final
from urllib.parse import parse_qs

import msgspec

from cart.errors import InvalidBody
from checkout.errors import OrderNotFound
from checkout.handlers import CheckoutHandlers
from checkout.order import Order
from checkout.order_events import OrderEvent, OrderEvents
from checkout.order_status import OrderStatus, may_reach
from gateway.api.home_calls import ANSWERED_HERE, HomeCalls
from gateway.http import problems
from gateway.http.message import Request, Response, StreamedResponse, header
from gateway.metrics import Metric, Sample
from primitives.outages import is_outage
from primitives.stream_limit import StreamLimit

# The delay before a stream queries an unavailable store again.
RETRY_S: Final = 1.0
# A stream ends after this, less a random quarter, and its client reconnects: with the credentials that it has then, to any worker.
LIFE_S: Final = 3600.0
UNTIL: Final = ("completed", "shipped", "delivered", "returned")
_MEDIA_TYPE: Final = b"text/event-stream"
# nginx, and proxies that follow it, would collect events before they send them on.
_NO_STORE: Final = header("Cache-Control", "no-store")
_FIELDS: Final = _NO_STORE + header("X-Accel-Buffering", "no")
# Sent while nothing happens: balancers close idle connections, and only a write detects a client that is gone.
_HEARTBEAT: Final = b":\n\n"
_RETRY_LATER: Final = header("Retry-After", 5)
_NUMBER: Final = re.compile(r"\d{1,9}", re.ASCII)


class EventStreams:
    """The streams of a worker. Each holds a connection for up to `life_s`, so they have a limit of their own."""

    def __init__(
        self,
        checkout: CheckoutHandlers,
        events: OrderEvents,
        limit: StreamLimit,
        *,
        home_calls: HomeCalls = ANSWERED_HERE,
        life_s: float = LIFE_S,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.rejected = 0
        self._home_calls = home_calls
        self._life_s = life_s
        self._chance = chance
        self._checkout = checkout
        self._order_events = events
        self._limit = limit

    async def open(self, request: Request) -> Response:
        """Start the stream of an order's events. Raises `OrderNotFound`, `InvalidBody`."""
        until = _until(request.query)
        if not self._limit.has_room(request.client):
            self.rejected += 1
            return problems.response(problems.OVERLOADED, request.id, header_block=_RETRY_LATER)
        order = await self._checkout.read(request.params[0], owner=request.shopper)
        if (response := await self._home_calls.read(request, order)) is not None:
            return response
        last = request.headers.get("Last-Event-ID", "")
        seen = int(last) if _NUMBER.fullmatch(last) else 0
        if seen >= len(order.history) and not may_reach(order.status, until):
            # An EventSource reconnects for ever when its stream ends, until it receives this (HTML, 9.2.3).
            return Response(204, header_block=_NO_STORE)
        chunks = self._chunks(request, order, seen, until)
        return StreamedResponse(200, chunks, header_block=_FIELDS, content_type=_MEDIA_TYPE, is_resumable=True)

    async def _chunks(
        self, request: Request, order: Order, seen: int, until: OrderStatus
    ) -> AsyncGenerator[bytes, None]:
        client, owner = request.client, request.shopper
        # Counted here: a response that is never sent is never closed either.
        self._limit.enter(client)
        try:
            async with aclosing(self._events(order, seen, until, owner=owner)) as events:
                async for chunk in events:
                    yield chunk
        finally:
            self._limit.leave(client)

    async def _events(
        self, order: Order, seen: int, until: OrderStatus, *, owner: str | None
    ) -> AsyncGenerator[bytes, None]:
        """The events up to `until`, or to the end of the stream's life.

        The status 200 is sent already, so the stream outlasts outages of the store and the expiry of its request's token.
        """
        now = asyncio.get_running_loop().time
        ends_at = now() + self._life_s * (1 - self._chance() / 4)
        while True:
            try:
                following = self._order_events.follow(order, after=seen, until=until, owner=owner)
                async with aclosing(following) as events:
                    async for event in events:
                        yield _HEARTBEAT if event is None else _format(event)
                        seen = seen if event is None else event.number
                        if now() >= ends_at:
                            return
            except OrderNotFound:
                return  # the order was not durable in time and was rolled back
            except Exception as error:
                if not is_outage(error):
                    raise
                yield _HEARTBEAT
                await asyncio.sleep(RETRY_S)
                if now() >= ends_at:
                    return
            else:
                return

    def snapshot(self) -> Mapping[str, Any]:
        """The streams that are open and those that were rejected."""
        return {"open": self._limit.streams, "limit": self._limit.max_streams, "rejected": self.rejected}

    def metrics(self) -> Iterable[Metric]:
        """The same as metrics."""
        for name, explained, kind, value in (
            ("peakgate_event_streams", "Streams of order events that are open.", "gauge", self._limit.streams),
            (
                "peakgate_event_streams_rejected_total",
                "Streams of order events rejected because too many are open.",
                "counter",
                self.rejected,
            ),
        ):
            yield Metric(name, explained, kind, [Sample({}, float(value))])  # type: ignore[arg-type]


def _until(query: str) -> OrderStatus:
    """The status up to which the client follows the order."""
    until = parse_qs(query, keep_blank_values=True, errors="surrogateescape").get("until", ["completed"])[-1]
    if until not in UNTIL:
        raise InvalidBody([("/until", f"must be one of {', '.join(UNTIL)}")])
    return OrderStatus(until)


def _format(event: OrderEvent) -> bytes:
    name = b"status" if event.entry.refunded is None else b"refund"
    data = msgspec.json.encode(event.entry.to_response(event.currency))
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (event.number, name, data)
