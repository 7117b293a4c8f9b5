"""The payment stand-in behind the transport of the adapters, in the same process; and on a socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from aiohttp import web

from benchmarks.upstreams.payment_stand_in import PaymentStandIn
from checkout.payments.transport import Reply


class InProcessTransport:
    """A `Transport` that calls the stand-in. A call without a response waits for ever; `requests` lists all, if it keeps them."""

    def __init__(self, stand_in: PaymentStandIn, *, keeps_requests: bool = True) -> None:
        self._keeps_requests = keeps_requests
        self.requests: list[tuple[str, str, Mapping[str, str], bytes]] = []
        self._stand_in = stand_in

    async def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> Reply:
        """See `Transport.send`."""
        if self._keeps_requests:
            self.requests.append((method, path, headers, body))
        reply = self._stand_in.handle(method, path, {name.lower(): value for name, value in headers.items()}, body)
        if reply is None:
            await asyncio.Event().wait()
            raise AssertionError
        return reply


@asynccontextmanager
async def serving(stand_in: PaymentStandIn) -> AsyncIterator[str]:
    """Serve the stand-in on a free port of 127.0.0.1; yields its base URL."""
    stopping = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        reply = stand_in.handle(request.method, request.raw_path, headers, await request.read())
        if reply is None:
            await stopping.wait()  # without a response until the client gives up
            return web.Response(status=500)
        return web.Response(
            status=reply.status, body=reply.body, headers=reply.headers, content_type="application/json"
        )

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        yield f"http://{host}:{port}"
    finally:
        stopping.set()
        await runner.cleanup()
