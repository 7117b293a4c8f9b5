"""A gateway over dicts that misbehaves on request, for trying the replay without a real one."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Responder = Callable[[web.Request, Handler], Awaitable[web.StreamResponse]]


def problem(status: int, slug: str, **members: Any) -> web.Response:
    headers = {"Retry-After": "0"} if status in {429, 503} else {}
    return web.json_response({"type": f"/problems/{slug}", "status": status, **members}, status=status, headers=headers)


async def respond_normally(request: web.Request, handler: Handler) -> web.StreamResponse:
    return await handler(request)


async def drop_before_applying(request: web.Request, handler: Handler) -> web.StreamResponse:
    return _hang_up(request)


async def drop_after_applying(request: web.Request, handler: Handler) -> web.StreamResponse:
    await handler(request)
    return _hang_up(request)


async def put_off(request: web.Request, handler: Handler) -> web.StreamResponse:
    return problem(503, "overloaded")


def _hang_up(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


@dataclass
class FakeCart:
    id: str
    version: int = 1
    lines: dict[str, int] = field(default_factory=dict)
    order_id: str | None = None


class FakeGateway:
    """Serves the calls that a replay makes. `misbehave` chooses the response to each request."""

    def __init__(self, prices: dict[str, int], stock: dict[str, int]) -> None:
        self.prices = dict(prices)
        self.stock = dict(stock)
        self.carts: dict[str, FakeCart] = {}
        self.orders: dict[str, dict[str, Any]] = {}
        self.responses_by_key: dict[str, tuple[bytes, dict[str, Any]]] = {}
        self.misbehave: Callable[[web.Request], Responder] = lambda request: respond_normally
        self.final_state = "completed"
        self.polls_until_final = 1
        self.page_size = 2
        self._created = 0
        self._polls: dict[str, int] = {}

    def app(self) -> web.Application:
        @web.middleware
        async def misbehaving(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self.misbehave(request)(request, handler)

        app = web.Application(middlewares=[misbehaving])
        app.add_routes(
            [
                web.get("/healthz", self._health),
                web.get("/v1/products", self._products),
                web.post("/v1/carts", self._create),
                web.get("/v1/carts/{cart}", self._read),
                web.post("/v1/carts/{cart}/lines", self._add),
                web.patch("/v1/carts/{cart}/lines", self._set),
                web.post("/v1/checkout", self._check_out),
                web.get("/v1/orders/{order}", self._poll),
            ]
        )
        return app

    def units_sold(self) -> int:
        return sum(line["quantity"] for order in self.orders.values() for line in order["lines"])

    async def _health(self, request: web.Request) -> web.Response:
        return web.json_response({})

    async def _products(self, request: web.Request) -> web.Response:
        start = int(request.query.get("cursor", "0"))
        end = start + self.page_size
        skus = sorted(self.prices)
        products = [
            {"sku": sku, "name": sku, "price": _gbp(self.prices[sku]), "stock": self.stock[sku]}
            for sku in skus[start:end]
        ]
        return web.json_response({"products": products, "next_cursor": str(end) if end < len(skus) else None})

    async def _create(self, request: web.Request) -> web.Response:
        self._created += 1
        cart = FakeCart(f"cart{self._created}")
        self.carts[cart.id] = cart
        return self._show(cart, status=201, headers={"Location": f"/v1/carts/{cart.id}"})

    async def _read(self, request: web.Request) -> web.Response:
        cart = self.carts.get(request.match_info["cart"])
        return self._show(cart) if cart else problem(404, "cart-not-found")

    async def _add(self, request: web.Request) -> web.Response:
        line = await request.json()

        def add(cart: FakeCart) -> None:
            cart.lines[line["sku"]] = cart.lines.get(line["sku"], 0) + line["quantity"]

        return self._write(request, add)

    async def _set(self, request: web.Request) -> web.Response:
        lines = await request.json()
        return self._write(request, lambda cart: cart.lines.update({line["sku"]: line["quantity"] for line in lines}))

    def _write(self, request: web.Request, change: Callable[[FakeCart], None]) -> web.Response:
        cart = self.carts.get(request.match_info["cart"])
        if cart is None:
            return problem(404, "cart-not-found")
        current = f'"{cart.version}"'
        if request.headers.get("If-Match", current) != current:
            return problem(412, "version-mismatch", current_version=cart.version)
        change(cart)
        cart.version += 1
        return self._show(cart)

    async def _check_out(self, request: web.Request) -> web.Response:
        key, raw = request.headers["Idempotency-Key"], await request.read()
        if key in self.responses_by_key:
            fingerprint, order = self.responses_by_key[key]
            if fingerprint != raw:
                return problem(422, "idempotency-key-reused")
            return web.json_response(order, status=202, headers={"Idempotent-Replayed": "true"})
        body = await request.json()
        cart = self.carts.get(body["cart_id"])
        if cart is None:
            return problem(404, "cart-not-found")
        if cart.order_id is not None:
            return problem(409, "cart-closed", order_id=cart.order_id)
        if body["expected_total"] != _gbp(self._total(cart)):
            return problem(409, "price-changed", lines=[])
        order = self._order(cart)
        self.responses_by_key[key] = raw, dict(order)
        return web.json_response(order, status=202)

    def _order(self, cart: FakeCart) -> dict[str, Any]:
        cart.order_id = f"order{len(self.orders)}"
        lines = [{"sku": sku, "quantity": quantity} for sku, quantity in cart.lines.items()]
        for sku, quantity in cart.lines.items():
            self.stock[sku] -= quantity
        order = {"id": cart.order_id, "status": "accepted", "lines": lines, "total": _gbp(self._total(cart))}
        self.orders[cart.order_id] = order
        return order

    async def _poll(self, request: web.Request) -> web.Response:
        order = self.orders.get(request.match_info["order"])
        if order is None:
            return problem(404, "order-not-found")
        polls = self._polls[order["id"]] = self._polls.get(order["id"], 0) + 1
        if polls >= self.polls_until_final:
            order["status"] = self.final_state
        return web.json_response(order)

    def _total(self, cart: FakeCart) -> int:
        return sum(quantity * self.prices[sku] for sku, quantity in cart.lines.items())

    def _show(
        self, cart: FakeCart, status: int = 200, headers: Mapping[str, str] = MappingProxyType({})
    ) -> web.Response:
        body = {
            "id": cart.id,
            "version": cart.version,
            "lines": [{"sku": sku, "quantity": quantity} for sku, quantity in cart.lines.items()],
            "total": _gbp(self._total(cart)),
            "order_id": cart.order_id,
        }
        return web.json_response(body, status=status, headers={"ETag": f'"{cart.version}.x"', **headers})


def _gbp(amount: int) -> dict[str, Any]:
    return {"amount": amount, "currency": "GBP"}


class Server:
    """Serves a fake gateway on a port that stays the same when it is stopped and started again."""

    def __init__(self, gateway: FakeGateway) -> None:
        self._gateway = gateway
        self.port = 0
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._runner = web.AppRunner(self._gateway.app(), access_log=None, shutdown_timeout=0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        assert self._runner is not None
        await self._runner.cleanup()


@asynccontextmanager
async def serving(gateway: FakeGateway) -> AsyncIterator[Server]:
    server = Server(gateway)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def no_waiting(seconds: float) -> None:
    """A pause of no length, so that retries and polls take no time."""
    await asyncio.sleep(0)
