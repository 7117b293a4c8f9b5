"""Up to what a shopper follows an order, and for how long one stream lives."""

from __future__ import annotations

import asyncio
import re

import pytest

from cart.model import OrderId
from checkout.order_status import NEXT, OrderStatus
from tests.integration.gateway.api.test_shop_calls import an_order, statuses
from tests.integration.gateway.shop_server import ShopServer, shop_server
from tests.integration.gateway.small_server import get
from tests.raw_http import RawClient
from tests.waiting import WITHIN_S


async def moved(shop: ShopServer, order_id: str, *statuses: OrderStatus) -> None:
    for status in statuses:
        order = await shop.orders.read(OrderId(order_id))
        assert order is not None
        await shop.orders.transition(order, status, at=order.updated_at + 1)


WORKFLOW = tuple(NEXT.values())


async def numbers_to_the_end(client: RawClient) -> list[int]:
    """The numbers of the events of an open stream from here on."""
    async with asyncio.timeout(WITHIN_S):
        rest = await client.reader.readuntil(b"\r\n0\r\n\r\n")
    return [int(number) for number in re.findall(rb"id: (\d+)", rest)]


@pytest.mark.parametrize(
    ("query", "last"), [("", 5), ("?until=completed", 5), ("?until=shipped", 6), ("?until=delivered", 7)]
)
async def test_a_stream_ends_with_the_status_that_its_client_wants(query: str, last: int) -> None:
    async with shop_server() as shop:
        order_id = await an_order(shop)
        path = f"/v1/orders/{order_id}/events{query}"
        async with await RawClient.open(shop.port) as first, await RawClient.open(shop.port) as resumed:
            await first.send(get(path))
            await moved(shop, order_id, *WORKFLOW)
            async with asyncio.timeout(WITHIN_S):
                await first.reader.readuntil(b"completed")
            await resumed.send(get(path, "Last-Event-ID: 5" if last > 5 else "Last-Event-ID: 4"))
            async with asyncio.timeout(WITHIN_S):
                await resumed.reader.readuntil(b"event-stream" if last > 5 else b"completed")
            # The one stream has sent the end of the workflow, and the other one begins behind it.
            await moved(shop, order_id, *(OrderStatus.SHIPPED, OrderStatus.DELIVERED)[: last - 5])
            assert await numbers_to_the_end(first) == list(range(6, last + 1))
            assert await numbers_to_the_end(resumed) == list(range(6, last + 1))
        assert (await shop.call("GET", path, None, f"Last-Event-ID: {last}")).status == 204
        await moved(shop, order_id, OrderStatus.RETURNED)
        later = await shop.call("GET", path, None, f"Last-Event-ID: {last}")
        assert statuses(later.body) == [(last + 1, "returned")], (
            "whatever the client waits for, it gets all that there is"
        )


@pytest.mark.parametrize("wanted", ["", "accepted", "cancelled", "tomorrow"])
async def test_a_status_that_no_stream_ends_with_is_refused(wanted: str) -> None:
    async with shop_server() as shop:
        order_id = await an_order(shop)
        refused = await shop.call("GET", f"/v1/orders/{order_id}/events?until={wanted}")
        assert (refused.status, refused.problem) == (422, "invalid-body")
        assert refused.json()["errors"] == [
            {"pointer": "/until", "detail": "must be one of completed, shipped, delivered, returned"}
        ]


async def test_a_stream_ends_with_its_life_and_its_client_goes_on() -> None:
    async with shop_server(heartbeat_s=0.002, stream_life_s=0.0) as shop:
        order_id = await an_order(shop)
        await moved(shop, order_id, *WORKFLOW[:2])
        seen: list[int] = []
        async with asyncio.timeout(WITHIN_S):
            while len(seen) < 3:
                path = f"/v1/orders/{order_id}/events"
                response = await shop.call("GET", path, None, f"Last-Event-ID: {len(seen)}")
                assert response.status == 200, "the order goes on"
                seen += [number for number, _ in statuses(response.body)]
        assert seen == [1, 2, 3]
