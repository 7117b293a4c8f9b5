"""A whole gateway with a shipping service over HTTP: orders are booked once through its failures, and its webhooks arrive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import orjson
import pytest
from aiohttp.test_utils import TestServer

from benchmarks.upstreams.shipping import Fault, ShippingService
from cart.catalog.model import CatalogRow
from cart.catalog.redis_catalog import RedisCatalog
from cart.model import OrderId, Sku
from cart.sku_keys import product_key
from checkout.stored import order_key
from gateway import compose
from gateway.prerequisites import StoreAddress
from gateway.settings import Settings
from primitives.webhook_signature import WebhookSigner, new_secret
from store import Client
from tests.integration.gateway.resilience.shopping import POLICIES, SKU, Shop
from tests.waiting import WITHIN_S

STOCK = 1000


class ShippedShop(Shop):
    """A shop with a shipping service, and the carrier's webhooks."""

    service: ShippingService
    carrier: WebhookSigner

    async def report(self, order_id: str, status: str, **members: object) -> int:
        """Send the webhook of the carrier five times; returns the status of the last response."""
        body = {"order_id": order_id, "status": status, **members}
        signed = self.carrier.headers(f"msg_{order_id}_{status}", orjson.dumps(body))
        for _ in range(5):
            headers = (f"{name}: {value}" for name, value in signed.items())
            response = await self.call("POST", "/v1/webhooks/shipping", body, *headers)
        return response.status

    async def until_status(self, order_id: str, status: str) -> list[str]:
        """Wait for the status of the order; returns those of its history."""
        async with asyncio.timeout(WITHIN_S):
            while True:
                order = (await self.call("GET", f"/v1/orders/{order_id}")).json()
                if order["status"] == status:
                    return [entry["status"] for entry in order["history"]]
                await asyncio.sleep(0.01)


@pytest.fixture
async def shop(store: Client, store_url: str, tmp_path: Path) -> AsyncIterator[ShippedShop]:
    await RedisCatalog(store).put([CatalogRow(Sku(SKU), "a mug", 255, "GBP", STOCK)])
    key, secret = tmp_path / "key", tmp_path / "secret"
    for path in (key, secret):
        path.write_text(new_secret())
    service = ShippingService(WebhookSigner.of_file(key.read_text()))
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(TestServer(service.application()))
        settings = Settings(
            data_dir=tmp_path,
            policies=POLICIES,
            workers=1,
            shipping="http",
            shipping_url=str(server.make_url("/")),
            shipping_key_file=key,
            shipping_webhook_secret_file=secret,
        )
        gateway = await compose.gateway(settings, StoreAddress(store_url, is_embedded=False), stack, worker_name="s:0a")
        listener = await asyncio.get_running_loop().create_server(gateway.edge.protocol, "127.0.0.1", 0)
        stack.push_async_callback(gateway.edge.drain, 0.0)
        stack.callback(listener.close)
        shop = ShippedShop(gateway, listener.sockets[0].getsockname()[1])
        shop.service, shop.carrier = service, WebhookSigner.of_file(secret.read_text())
        yield shop


async def test_orders_are_booked_once_through_failures_of_the_service(shop: ShippedShop, store: Client) -> None:
    # Too few to open the breaker.
    faults: tuple[Fault, ...] = ("fails-after", "drops-after", "garbles-after")
    shop.service.faults = [fault for each in faults for fault in (None, None, None, each)]

    order_ids = [await shop.order(number) for number in range(12)]
    for order_id in order_ids:
        await shop.until_completed(order_id)

    assert {order_id: len(bookings) for order_id, bookings in shop.service.bookings.items()} == dict.fromkeys(
        order_ids, 1
    )
    for order_id in order_ids:
        state = orjson.loads(await store.execute("HGET", order_key(OrderId(order_id)), "state"))
        assert state["shipment"]["reference"] == shop.service.bookings[order_id][0].reference


async def test_webhooks_of_the_carrier_move_an_order_on(shop: ShippedShop, store: Client) -> None:
    order_id = await shop.order(1)

    # Perhaps before it is completed, and the later status first.
    assert await shop.report(order_id, "delivered", tracking_number="4111111111111111") == 204
    assert await shop.report(order_id, "shipped") == 204
    history = await shop.until_status(order_id, "delivered")
    assert history[-2:] == ["completed", "delivered"]

    assert await shop.report(order_id, "returned", restock=True) == 204
    assert await shop.until_status(order_id, "returned") == [*history, "returned"]
    assert int(await store.execute("HGET", product_key(Sku(SKU)), "stock")) == STOCK
