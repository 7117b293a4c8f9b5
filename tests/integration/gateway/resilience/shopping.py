"""Shopping over HTTP at a whole gateway, whose store the test troubles."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import orjson

from gateway.compose.edge import Gateway
from gateway.config.policies import AccessLog, Limit, Policies, Room
from tests.integration.gateway.small_server import get, post
from tests.raw_http import RawClient, RawResponse

SKU = "MUG"
FINAL = {"completed", "cancelled"}


POLICIES = Policies(
    limits=(
        Limit(name="clients", by="address", quota=100_000, routes=("GET /v1/carts/{cart_id}", "GET /v1/products")),
    ),
    rooms=(Room(name="drop", routes=("GET /v1/products/{sku}",), admissions_per_s=1000, max_active=100),),
    access_log=AccessLog(enabled=False),
)


class Shop:
    """A gateway as a shopper and an operator use it."""

    def __init__(self, gateway: Gateway, port: int) -> None:
        self.gateway = gateway
        self.port = port
        self.statuses: Counter[int] = Counter()

    async def call(self, method: str, path: str, body: Any = None, *headers: str) -> RawResponse:
        async with await RawClient.open(self.port) as client:
            if body is None:
                return await client.request(get(path, *headers, method=method))
            return await client.request(
                post(path, orjson.dumps(body), "Content-Type: application/json", *headers, method=method)
            )

    async def until_answered(self, method: str, path: str, body: Any = None, *headers: str) -> RawResponse:
        """Repeat a call, as a client does, until it is not answered with 503."""
        while True:
            response = await self.call(method, path, body, *headers)
            self.statuses[response.status] += 1
            if response.status != 503:
                return response
            await asyncio.sleep(0.02)

    async def cart(self) -> str:
        """The id of a new cart with one line."""
        cart = (await self.until_answered("POST", "/v1/carts", {})).json()["id"]
        await self.until_answered("POST", f"/v1/carts/{cart}/lines", {"sku": SKU, "quantity": 1})
        return str(cart)

    async def order(self, number: int) -> str:
        """Place an order, however often that must be tried; returns its id."""
        cart = await self.cart()
        placed = await self.until_answered(*self.checkout(cart), f"Idempotency-Key: key-{number}")
        assert placed.status == 202, placed.body
        return str(placed.json()["id"])

    def checkout(self, cart: str) -> tuple[str, str, Any]:
        """The method, path and body of the checkout of a cart."""
        address = {"name": "Ada", "line1": "1 Row", "city": "London", "postcode": "N1 1AA", "country": "GB"}
        body = {"cart_id": cart, "email": "a@example.com", "shipping_address": address, "payment": {"token": "tok_ok"}}
        return "POST", "/v1/checkout", body

    async def until_completed(self, order_id: str) -> None:
        """Read an order until it has ended, which must be well."""
        status = ""
        while status not in FINAL:
            status = (await self.call("GET", f"/v1/orders/{order_id}")).json()["status"]
            await asyncio.sleep(0.01)
        assert status == "completed"

    async def readiness(self) -> tuple[int, str, str]:
        """The status of `/readyz`, the word for it, and the result for the store."""
        response = await self.call("GET", "/readyz")
        body = response.json()
        return response.status, body["status"], body["checks"]["store"]

    async def drill(self, *, tripped: bool) -> None:
        await self.gateway.commands["drill"]({"name": "store", "tripped": tripped})

    async def snapshot(self, part: str) -> Any:
        return (await self.gateway.commands["snapshot"]({}))["parts"][part]
