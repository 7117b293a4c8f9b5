"""The shop's own routes on a server, over adapters in memory: what a shopper sees, without a store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson

from cart.catalog.handlers import ProductHandlers
from cart.catalog.memory import MemoryCatalog, MemorySearch
from cart.catalog.model import CatalogRow
from cart.handlers import CartHandlers
from cart.memory import MemoryCarts
from cart.model import Sku
from cart.ports import Carts
from cart.redis_carts import RedisCarts
from cart.sku_keys import product_key
from cart.stock_watch import StockWatch
from checkout.fact_intake import FactIntake
from checkout.handlers import CheckoutHandlers
from checkout.memory.order_index import MemoryOrderIndex
from checkout.memory.orders import MemoryOrders
from checkout.memory.stock import MemoryStock
from checkout.message import order_accepted
from checkout.order_events import HEARTBEAT_S, OrderEvents
from checkout.order_lists import OrderLists
from checkout.payments.http import HttpPaymentWebhooks
from checkout.payments.webhooks import PaymentWebhookIntake
from checkout.ports.order_index import OrderIndex
from checkout.ports.orders import Orders
from checkout.ports.stock import Stock
from checkout.redis.order_index import RedisOrderIndex
from checkout.redis.orders import RedisOrders
from checkout.redis.stock import RedisStock
from checkout.shipping.webhooks import ShippingWebhooks
from gateway.api.binding import bind
from gateway.api.events import LIFE_S, EventStreams
from gateway.api.routes import cart_routes, checkout_routes, product_routes
from gateway.api.webhook_routes import webhook_routes
from gateway.http.endpoint import Endpoint
from gateway.http.message import Layer, stack
from gateway.http.router import Router
from gateway.server.server import EdgeServer
from primitives.stream_limit import StreamLimit
from primitives.webhook_signature import WebhookSigner, new_secret
from store import Store
from tests.integration.gateway.small_server import get, post
from tests.raw_http import RawClient, RawResponse

BARE = stack()
# Of the webhooks about shipments.
CARRIER_SECRET = new_secret()
PAYMENT_SECRET = new_secret()
MUG, BOX = "85123A", "BANK CHARGES"


class ShopServer:
    """The server, the adapters behind it, and a shopper's connection.

    `layers` wrap each route. With a `store`, carts, orders and stock are in it.
    """

    def __init__(
        self,
        *,
        layers: Layer = BARE,
        store: Store | None = None,
        heartbeat_s: float = HEARTBEAT_S,
        stream_life_s: float = LIFE_S,
    ) -> None:
        self.catalog = MemoryCatalog()
        self.search = MemorySearch()
        memory_carts = MemoryCarts()
        self.carts: Carts = memory_carts if store is None else RedisCarts(store)
        memory_orders = MemoryOrders(memory_carts)
        self.orders: Orders = memory_orders if store is None else RedisOrders(store)
        self.stock_watch = StockWatch(self.catalog)
        self.stream_limit = StreamLimit(100, 10)
        self.stock: Stock = MemoryStock({Sku(MUG): 100, Sku(BOX): 1}) if store is None else RedisStock(store)
        index: OrderIndex = MemoryOrderIndex() if store is None else RedisOrderIndex(store)
        checkout = CheckoutHandlers(
            orders=self.orders,
            stock=self.stock,
            prices=self.catalog,
            merges=self.carts,
            message=order_accepted,
            dispatch=lambda _entry: None,
            index=index,
        )
        # Without a subscription, the streams of orders in a store read at each heartbeat.
        events = OrderEvents(checkout, memory_orders, heartbeat_s=heartbeat_s)
        intake = FactIntake(self.orders, message=order_accepted, dispatch=lambda _entry: None)
        rows = [
            *cart_routes(CartHandlers(self.carts, self.catalog, stock=self.stock_watch)),
            *product_routes(ProductHandlers(prices=self.catalog, stock=self.catalog, search=self.search)),
            *checkout_routes(
                checkout,
                OrderLists(self.orders, index),
                EventStreams(checkout, events, self.stream_limit, life_s=stream_life_s),
            ),
            *webhook_routes(
                shipping=ShippingWebhooks(WebhookSigner(CARRIER_SECRET), intake),
                payments=PaymentWebhookIntake(HttpPaymentWebhooks(WebhookSigner(PAYMENT_SECRET)), intake),
            ),
        ]
        endpoints = [
            Endpoint(row.method, row.path, layers(bind(row)), hot=row.hot, body_limit=row.body_limit) for row in rows
        ]
        self.edge = EdgeServer(Router(endpoints), linger_s=0.05)
        self.port = 0

    async def price(self, sku: str, price: int) -> None:
        """Sell the SKU at this price."""
        name = f"the {sku}"
        await self.catalog.put([CatalogRow(Sku(sku), name, price, "GBP", 100)])
        await self.search.upsert([CatalogRow(Sku(sku), name)])

    async def client(self) -> RawClient:
        """A new connection."""
        return await RawClient.open(self.port)

    async def call(self, method: str, path: str, body: Any = None, *headers: str) -> RawResponse:
        """One call on a connection of its own."""
        async with await RawClient.open(self.port) as client:
            if body is None:
                return await client.request(get(path, *headers, method=method))
            content = body if isinstance(body, bytes) else orjson.dumps(body)
            return await client.request(post(path, content, "Content-Type: application/json", *headers, method=method))

    async def cart_of(self, sku: str = MUG, quantity: int = 1) -> str:
        """The id of a new cart with one line."""
        cart_id = str((await self.call("POST", "/v1/carts")).json()["id"])
        added = await self.call("POST", f"/v1/carts/{cart_id}/lines", {"sku": sku, "quantity": quantity})
        assert added.status == 200
        return cart_id

    async def check_out(self, cart_id: str, key: str = "once", **changes: Any) -> RawResponse:
        """Order the cart."""
        body = {
            "cart_id": cart_id,
            "email": "ada@example.com",
            "shipping_address": {
                "name": "Ada",
                "line1": "1 Analytical Row",
                "city": "London",
                "postcode": "N1 1AA",
                "country": "GB",
            },
            "payment": {"token": "tok_ok"},
            **changes,
        }
        return await self.call("POST", "/v1/checkout", body, f"Idempotency-Key: {key}")


@asynccontextmanager
async def shop_server(
    *,
    layers: Layer = BARE,
    store: Store | None = None,
    heartbeat_s: float = HEARTBEAT_S,
    stream_life_s: float = LIFE_S,
) -> AsyncIterator[ShopServer]:
    """A `ShopServer` that listens on a loopback port."""
    shop = ShopServer(layers=layers, store=store, heartbeat_s=heartbeat_s, stream_life_s=stream_life_s)
    if store is not None:
        for sku, quantity in ((MUG, 100), (BOX, 1)):
            await store.execute("HSET", product_key(Sku(sku)), "stock", quantity)
    await shop.price(MUG, 255)
    await shop.price(BOX, 1000)
    server = await asyncio.get_running_loop().create_server(shop.edge.protocol, "127.0.0.1", 0)
    shop.port = server.sockets[0].getsockname()[1]
    try:
        yield shop
    finally:
        server.close()
        await shop.edge.drain(0.0)
