"""Orders that have left the store, as shoppers of a whole gateway see them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from checkout.archive.sink import ArchiveSink
from checkout.order import Order
from checkout.order_status import OrderStatus
from checkout.ports.events import NewEvent
from checkout.stored import encode_order, order_key
from gateway.compose.orders import OrderBackends, open_order_backends
from gateway.prerequisites import StoreAddress, open_store
from gateway.resilience.breakers import Breakers
from gateway.settings import Settings
from store import Client
from tests.integration.gateway.whole_gateway import WholeGateway, whole_gateway
from tests.unit.checkout.fake_services import NOW, an_order


class Shop:
    def __init__(self, gateway: WholeGateway, backends: OrderBackends, folder: Path) -> None:
        self._gateway = gateway
        self._backends = backends
        self._folder = folder

    async def archived(self, owner: str | None = None) -> Order:
        """A completed order that is in the archive only."""
        order = msgspec.structs.replace(an_order(), owner=owner)
        await self._backends.client.execute(
            "HSET", order_key(order.id), "doc", encode_order(order), "status", "accepted", "key", "k", "body", "b"
        )
        for status in list(OrderStatus)[1:5]:
            order = await self._backends.orders.transition(order, status, at=NOW)
        await self._backends.orders.settle(order)
        archive = self._backends.archive
        assert archive is not None
        sink = ArchiveSink(archive.stored, archive.archive, make_durable=self._backends.orders.make_durable)
        await sink.take([NewEvent(order, order.revision)])
        assert await archive.stored.delete(order)
        return order

    async def call(self, path: str, method: str = "GET") -> tuple[int, Any]:
        received = await self._gateway.get(path, method=method)
        return received.status, json.loads(received.body)

    async def lost(self, *, home: str, owner: str | None = None) -> Order:
        """An order in flight that is in the archive only, and whose home is this Region."""
        order = msgspec.structs.replace(an_order(), owner=owner)
        await self._backends.client.execute(
            "HSET", order_key(order.id), "doc", encode_order(order), "status", "accepted", "key", "k", "body", "b"
        )
        archive = self._backends.archive
        assert archive is not None
        sink = ArchiveSink(archive.stored, archive.archive, make_durable=self._backends.orders.make_durable)
        await sink.take([NewEvent(order, order.revision)])
        await self._backends.client.execute("DEL", order_key(order.id))
        with sqlite3.connect(self._folder / "archive.sqlite3") as database:
            database.execute("UPDATE orders SET home = ? WHERE id = ?", (home, order.id))
        database.close()
        return order

    def break_archive(self) -> None:
        with sqlite3.connect(self._folder / "archive.sqlite3") as archive:
            archive.execute("ALTER TABLE orders RENAME TO lost")
        archive.close()


async def not_called(*_args: object) -> None:
    raise AssertionError


@asynccontextmanager
async def open_shop(store_url: str, folder: Path, **policies: Any) -> AsyncIterator[Shop]:
    async with whole_gateway(store_url, folder, not_called, **policies) as gateway, AsyncExitStack() as stack:
        settings = Settings(data_dir=folder, workers=1)
        client = await open_store(store_url, stack)
        backends = await open_order_backends(
            settings,
            StoreAddress(store_url, is_embedded=False),
            client,
            Breakers(settings.policies.breaker),
            stack,
            worker_name="test",
        )
        yield Shop(gateway, backends, folder)


@pytest.fixture
async def shop(store: Client, store_url: str, tmp_path: Path) -> AsyncIterator[Shop]:
    async with open_shop(store_url, tmp_path) as opened:
        yield opened


async def test_an_archived_order_is_read_as_before(shop: Shop) -> None:
    order = await shop.archived()
    status, body = await shop.call(f"/v1/orders/{order.id}")
    assert (status, body) == (200, json.loads(order.to_json()))


async def test_the_events_of_an_archived_order_are_streamed(shop: Shop) -> None:
    order = await shop.archived()
    received = await shop._gateway.get(f"/v1/orders/{order.id}/events")
    assert received.status == 200
    assert [received.body.count(f'"status":"{status}"'.encode()) for status in ("accepted", "completed")] == [1, 1]


async def test_an_archived_order_of_another_shopper_is_not_found(shop: Shop) -> None:
    order = await shop.archived(owner="ada")
    assert (await shop.call(f"/v1/orders/{order.id}"))[0] == 404


async def test_an_order_that_is_nowhere_is_not_found(shop: Shop) -> None:
    assert (await shop.call(f"/v1/orders/{an_order().id}"))[0] == 404


async def test_an_archived_order_is_too_late_to_cancel(shop: Shop) -> None:
    order = await shop.archived()
    status, body = await shop.call(f"/v1/orders/{order.id}/cancel", "POST")
    assert (status, body["type"]) == (409, "/problems/too-late-to-cancel")


async def test_an_archive_that_is_away_is_a_503_and_no_404(shop: Shop) -> None:
    order = await shop.archived()
    shop.break_archive()
    for method, path in (("GET", f"/v1/orders/{order.id}"), ("POST", f"/v1/orders/{order.id}/cancel")):
        # More often than its breaker needs to open.
        for _ in range(6):
            status, body = await shop.call(path, method)
            assert (status, body["type"]) == (503, "/problems/dependency-unavailable")
            assert "archive" in body["detail"]
            assert "may_have_run" not in body


async def test_orders_in_the_store_need_no_archive(shop: Shop) -> None:
    order = an_order()
    await shop._backends.client.execute("HSET", order_key(order.id), "doc", encode_order(order), "status", "accepted")
    shop.break_archive()
    assert (await shop.call(f"/v1/orders/{order.id}"))[0] == 200


async def test_an_order_of_another_region_is_read_here_and_changed_there(shop: Shop) -> None:
    order = await shop.lost(home="us-east-1")
    assert (await shop.call(f"/v1/orders/{order.id}"))[0] == 200
    status, body = await shop.call(f"/v1/orders/{order.id}/cancel", "POST")
    assert (status, body["type"], body["home_region"]) == (421, "/problems/order-elsewhere", "us-east-1")


async def test_an_order_in_flight_that_the_store_has_lost_can_be_cancelled(shop: Shop) -> None:
    order = await shop.lost(home="")
    status, body = await shop.call(f"/v1/orders/{order.id}/cancel", "POST")
    assert (status, body["status"]) == (202, "cancelled")
