"""A shipping service for tests and trials, as `docs/shipping.md` describes it, that fails in chosen manners.

`python -m benchmarks.upstreams.shipping PORT KEY_FILE` serves until SIGTERM, and prints the port; 0 picks a free one.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from aiohttp import web

from primitives.webhook_signature import InvalidWebhookSignature, WebhookSigner

# How the next requests fail. `hangs-…`: the response never comes. `…-after`: the request has taken effect.
Fault = Literal["fails", "rejects", "fails-after", "hangs", "hangs-after", "drops-after", "garbles-after"]
# It refuses to deliver to this country.
REFUSED_COUNTRY: Final = "AQ"
KEY_LIFE_S: Final = 24 * 3600.0


class Booking(msgspec.Struct, omit_defaults=True):
    """A shipment, in the form in which the service sends it."""

    reference: str
    carrier: str
    tracking_number: str
    tracking_url: str
    status: Literal["booked", "cancelled"] = "booked"


class ShippingService:
    """Books a shipment for each request with a new idempotency key: it does not see by itself that it has the order.

    A key is forgotten after `KEY_LIFE_S` of `clock`; failures are not stored under it. `bookings` are all bookings by order id;
    `cancelled` the orders whose later bookings are refused. `faults` are those of the next requests that change something.
    `requests` counts them by kind; `addresses` are those of the bookings.
    """

    def __init__(self, signer: WebhookSigner, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.bookings: dict[str, list[Booking]] = {}
        self.cancelled: set[str] = set()
        self.addresses: dict[str, Any] = {}
        self.faults: list[Fault | None] = []
        self.requests: dict[str, int] = {"book": 0, "cancel": 0, "look-up": 0}
        self._signer = signer
        self._clock = clock
        self._responses: dict[str, tuple[float, web.Response]] = {}
        self._stopping = asyncio.Event()

    def application(self) -> web.Application:
        """The service as an application of aiohttp."""
        application = web.Application()
        application.router.add_post("/shipments", self._book)
        application.router.add_get("/shipments/{order_id}", self._look_up)
        application.router.add_post("/shipments/{order_id}/cancel", self._cancel)
        application.on_shutdown.append(self._end_hanging)
        return application

    def forget_keys(self, order_id: str) -> None:
        """Forget the keys of an order's requests that were carried out, as after `KEY_LIFE_S`."""
        for key in (f"{order_id}:arrange", f"{order_id}:cancel"):
            self._responses.pop(key, None)

    async def _book(self, request: web.Request) -> web.StreamResponse:
        self.requests["book"] += 1
        body = await request.read()

        def book() -> web.Response:
            order = msgspec.json.decode(body)
            if order["operation"] != "arrange":
                return web.Response(status=400)
            order_id = order["order_id"]
            if order_id in self.cancelled:
                return _json({"reason": "cancelled"}, 422)
            if order["address"]["country"] == REFUSED_COUNTRY:
                return _json({"reason": "address_not_served"}, 422)
            self.addresses[order_id] = order["address"]
            count = sum(map(len, self.bookings.values())) + 1
            tracking = f"PG{count:09d}GB"
            booking = Booking(f"shp_{count}", "Stand-in Post", tracking, f"https://track.example/{tracking}")
            self.bookings.setdefault(order_id, []).append(booking)
            return _json(booking, 201)

        return await self._once(request, body, book)

    async def _cancel(self, request: web.Request) -> web.StreamResponse:
        self.requests["cancel"] += 1
        order_id = request.match_info["order_id"]
        body = await request.read()

        def cancel() -> web.Response:
            if msgspec.json.decode(body) != {"operation": "cancel", "order_id": order_id}:
                return web.Response(status=400)
            self.cancelled.add(order_id)
            for booking in self.bookings.get(order_id, ()):
                booking.status = "cancelled"
            return web.Response(status=204)

        return await self._once(request, body, cancel)

    async def _look_up(self, request: web.Request) -> web.Response:
        self.requests["look-up"] += 1
        if not self._is_signed(request, b""):
            return web.Response(status=401)
        booked = self.bookings.get(request.match_info["order_id"])
        return _json(booked[-1], 200) if booked else web.Response(status=404)

    async def _once(self, request: web.Request, body: bytes, act: Callable[[], web.Response]) -> web.StreamResponse:
        """Act, at the first request with its key, and fail in the planned manner."""
        if not self._is_signed(request, body):
            return web.Response(status=401)
        fault = self.faults.pop(0) if self.faults else None
        if fault == "fails":
            return web.Response(status=500)
        if fault == "rejects":
            return web.Response(status=503)
        if fault == "hangs":
            return await self._hang()
        key = request.headers["Idempotency-Key"]
        known = self._responses.get(key)
        if known is None or self._clock() - known[0] >= KEY_LIFE_S:
            known = self._responses[key] = (self._clock(), act())
        response = known[1]
        match fault:
            case "fails-after":
                return web.Response(status=500)
            case "hangs-after":
                return await self._hang()
            case "drops-after":
                assert request.transport is not None
                request.transport.abort()
            case "garbles-after":
                return web.Response(status=200, text="<p>welcome to the network of this hotel</p>")
        return web.Response(status=response.status, body=response.body, content_type=response.content_type)

    async def _hang(self) -> web.Response:
        await self._stopping.wait()
        return web.Response(status=503)

    async def _end_hanging(self, _application: web.Application) -> None:
        self._stopping.set()

    def _is_signed(self, request: web.Request, body: bytes) -> bool:
        try:
            message_id = self._signer.verify({name.lower(): value for name, value in request.headers.items()}, body)
        except InvalidWebhookSignature:
            return False
        return request.headers.get("Idempotency-Key", message_id) == message_id


def _json(value: object, status: int) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(value), content_type="application/json")


async def serve(service: ShippingService, port: int) -> tuple[web.AppRunner, int]:
    """Serve on 127.0.0.1; returns the runner, which closes it, and the port."""
    runner = web.AppRunner(service.application(), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    return runner, runner.addresses[0][1]


async def _main(port: int, signer: WebhookSigner) -> None:
    _, port = await serve(ShippingService(signer), port)
    print(port, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), WebhookSigner.of_file(Path(sys.argv[2]).read_text())))
