"""A whole gateway on a store whose memory is full: it serves reads, finishes what it has accepted, and says why."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from checkout.queues.redis_queue import QUEUE
from gateway import compose
from gateway.prerequisites import StoreAddress, check_store
from gateway.settings import Settings
from store import Client
from store.embedded import EmbeddedServer
from tests.integration.gateway.resilience.shopping import POLICIES, SKU, Shop
from tests.waiting import until

FULL = "the store's memory is full (maxmemory 0.0977 MB): reads go on, carts and orders are refused until there is room"


async def fill_memory(operator: Client) -> None:
    await operator.execute("CONFIG", "SET", "maxmemory", "100kb")


async def empty_memory(operator: Client) -> None:
    await operator.execute("CONFIG", "SET", "maxmemory", "0")


async def test_reads_are_served_and_writes_refused_with_the_reason(
    shop: Shop, operator: Client, caplog: pytest.LogCaptureFixture
) -> None:
    cart, order_id = await shop.cart(), await shop.order(1)
    await shop.until_completed(order_id)
    passed = await shop.call("GET", f"/v1/products/{SKU}")
    session = f"Waiting-Room-Token: {passed['Waiting-Room-Token']}"
    caplog.clear()
    await fill_memory(operator)

    reads = 0
    for _ in range(20):
        # Most calls are writes, which all fail: as many failures open a breaker.
        adding = [shop.call("POST", f"/v1/carts/{cart}/lines", {"sku": SKU, "quantity": 1}) for _ in range(25)]
        assert {response.status for response in await asyncio.gather(*adding)} == {503}
        for path in (f"/v1/carts/{cart}", f"/v1/orders/{order_id}", "/v1/products", "/v1/products?q=mug"):
            response = await shop.call("GET", path)
            assert response.status == 200, (path, response.body)
            reads += 1
        # An admitted shopper stays admitted.
        assert (await shop.call("GET", f"/v1/products/{SKU}", None, session)).status == 200
        for method, path, body in (
            ("POST", "/v1/carts", {}),
            ("POST", f"/v1/carts/{cart}/lines", {"sku": SKU, "quantity": 1}),
            shop.checkout(cart),
        ):
            refused = await shop.call(method, path, body, f"Idempotency-Key: full-{reads}")
            assert refused.status == 503
            assert refused.problem == "dependency-unavailable"
            assert "Retry-After" in refused
            assert refused.json()["detail"].startswith("The store's memory is full: reads go on, carts and orders are")
    assert (await shop.snapshot("breakers"))["store"]["state"] == "closed"
    assert await shop.readiness() == (200, "degraded", FULL)

    await empty_memory(operator)
    await until(lambda: any("has room again" in record.getMessage() for record in caplog.records))
    assert (await shop.call(*shop.checkout(cart), "Idempotency-Key: again")).status == 202
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert lines[0] == FULL
    assert lines[1].startswith("the store has room again after ")
    assert len(lines) == 2


async def test_what_was_accepted_is_finished_and_what_frees_memory_is_served(shop: Shop, operator: Client) -> None:
    carts = [await shop.cart() for _ in range(2)]
    order_ids = [await shop.order(number) for number in range(10)]
    await fill_memory(operator)
    for order_id in order_ids:
        await shop.until_completed(order_id)
    left = 1
    while left:
        left = await operator.execute("XLEN", QUEUE)
        await asyncio.sleep(0.01)
    assert (await shop.call("DELETE", f"/v1/carts/{carts[0]}/lines/{SKU}")).status == 200
    assert (await shop.call("DELETE", f"/v1/carts/{carts[1]}")).status == 204
    assert (await shop.readiness())[:2] == (200, "degraded")


async def test_a_worker_starts_on_a_full_store_and_serves_reads(
    shop: Shop, own_server: EmbeddedServer, operator: Client, tmp_path: Path
) -> None:
    cart = await shop.cart()
    await fill_memory(operator)
    async with AsyncExitStack() as stack:
        address = StoreAddress(own_server.url, is_embedded=True)
        settings = Settings(data_dir=tmp_path, policies=POLICIES, workers=1)
        await check_store(settings, address)
        gateway = await compose.gateway(settings, address, stack, worker_name="s:1a")
        server = await asyncio.get_running_loop().create_server(gateway.edge.protocol, "127.0.0.1", 0)
        stack.push_async_callback(gateway.edge.drain, 0.0)
        stack.callback(server.close)
        second = Shop(gateway, server.sockets[0].getsockname()[1])
        assert (await second.call("GET", f"/v1/carts/{cart}")).status == 200
        assert (await second.readiness())[:2] == (200, "degraded")
