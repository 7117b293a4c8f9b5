"""Every call of the API as a shopper makes it: status, headers and body."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from cart.model import OrderId
from checkout.order import Order
from gateway.api import events
from store import StoreTimeout, StoreUnavailable
from tests.integration.gateway.shop_server import BOX, MUG, ShopServer, shop_server
from tests.integration.gateway.small_server import get
from tests.raw_http import RawClient
from tests.waiting import WITHIN_S, until


async def test_every_cart_call_returns_the_cart_and_its_etag() -> None:
    async with shop_server() as shop:
        made = await shop.call("POST", "/v1/carts", {"currency": "GBP"})
        cart = f"/v1/carts/{made.json()['id']}"
        assert (made.status, made["Location"]) == (201, cart)
        calls = [
            ("POST", "/lines", {"sku": MUG, "quantity": 2}),
            ("PUT", f"/lines/{BOX.replace(' ', '%20')}", {"quantity": 3}),
            ("PATCH", "/lines", [{"sku": MUG, "quantity": 5}]),
            ("DELETE", f"/lines/{MUG}", None),
            ("POST", "/merge", {"from": await shop.cart_of(), "strategy": "sum"}),
        ]
        for version, (method, path, body) in enumerate(calls, start=2):
            response = await shop.call(method, cart + path, body)
            assert (response.status, response.json()["version"]) == (200, version), (method, path)
            assert response["ETag"].startswith(f'"{version}.')
            assert (await shop.call("GET", cart))["ETag"] == response["ETag"]


async def test_a_cart_is_deleted_once() -> None:
    async with shop_server() as shop:
        cart = f"/v1/carts/{await shop.cart_of()}"
        refused = await shop.call("DELETE", cart, None, 'If-Match: "1"')
        assert (refused.status, refused.problem, refused.json()["current_version"]) == (412, "version-mismatch", 2)
        deleted = await shop.call("DELETE", cart, None, 'If-Match: "2"')
        assert (deleted.status, deleted.body) == (204, b"")
        again = await shop.call("DELETE", cart)
        assert (again.status, again.problem) == (404, "cart-not-found")


async def test_a_cart_is_cached_privately_and_revalidated() -> None:
    async with shop_server() as shop:
        made = await shop.call("POST", "/v1/carts")
        assert made["Cache-Control"] == "private, no-cache"
        read = await shop.call("GET", made["Location"])
        assert read["Cache-Control"] == "private, no-cache"
        same = await shop.call("GET", made["Location"], None, f"If-None-Match: {read['ETag']}")
        assert (same.status, same["Cache-Control"], same["ETag"]) == (304, "private, no-cache", read["ETag"])


async def test_a_checkout_that_loses_the_store_logs_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def unavailable(*_args: object, **_options: object) -> None:
        raise StoreUnavailable("unavailable")

    caplog.set_level("DEBUG")
    async with shop_server() as shop:
        cart_id = await shop.cart_of()
        monkeypatch.setattr(shop.stock, "hold", unavailable)
        monkeypatch.setattr(shop.orders, "release", unavailable)
        refused = await shop.check_out(cart_id)
        assert (refused.status, refused.problem, refused["Retry-After"]) == (503, "dependency-unavailable", "1")
    assert [(record.message, record.exc_info) for record in caplog.records if "claim" in record.message] == [
        ("releasing the claim of a cart failed; it expires in seconds: StoreUnavailable: unavailable", None)
    ]


class Losing:
    """A call whose reply is lost, for once; it runs or it does not."""

    def __init__(self, call: Callable[..., Awaitable[Any]], *, runs: bool) -> None:
        self._call = call
        self._runs = runs
        self._is_lost = False

    async def __call__(self, *args: Any, **options: Any) -> Any:
        if self._is_lost:
            return await self._call(*args, **options)
        self._is_lost = True
        if self._runs:
            await self._call(*args, **options)
        raise StoreTimeout("no reply", may_have_run=True)


@pytest.mark.parametrize("runs", [False, True])
async def test_a_checkout_whose_commit_got_no_reply_has_one_answer(monkeypatch: pytest.MonkeyPatch, runs: bool) -> None:
    async with shop_server() as shop:
        cart_id = await shop.cart_of()
        monkeypatch.setattr(shop.orders, "commit", Losing(shop.orders.commit, runs=runs))
        response = await shop.check_out(cart_id)
        if runs:
            assert response.status == 202
            assert "Idempotent-Replayed" not in response
        else:
            assert (response.status, response.problem) == (503, "dependency-unavailable")
            assert "may_have_run" not in response.json()
            assert "ordered nothing" in response.json()["detail"]
        again = await shop.check_out(cart_id)
        assert again.status == 202
        assert ("Idempotent-Replayed" in again) is runs


@pytest.mark.parametrize("runs", [False, True])
async def test_a_checkout_that_cannot_learn_whether_it_was_committed_says_so(
    monkeypatch: pytest.MonkeyPatch, runs: bool
) -> None:
    async with shop_server() as shop:
        cart_id = await shop.cart_of()
        for name in ("commit", "release", "receipt"):
            call = getattr(shop.orders, name)
            monkeypatch.setattr(shop.orders, name, Losing(call, runs=runs if name == "commit" else False))
        response = await shop.check_out(cart_id)
        assert (response.status, response.problem) == (503, "dependency-unavailable")
        assert response.json()["may_have_run"] is True
        assert "same Idempotency-Key" in response.json()["detail"]
        again = await shop.check_out(cart_id)
        # The claim of the first request is not released where the order was not committed.
        if runs:
            assert (again.status, again["Idempotent-Replayed"]) == (202, "true")
        else:
            assert (again.status, again.problem) == (409, "idempotency-key-in-progress")


@pytest.mark.parametrize("runs", [False, True])
async def test_a_cancellation_without_a_reply_says_that_it_may_have_run(
    monkeypatch: pytest.MonkeyPatch, runs: bool
) -> None:
    async with shop_server() as shop:
        order_id = await an_order(shop)
        monkeypatch.setattr(shop.orders, "cancel", Losing(shop.orders.cancel, runs=runs))
        response = await shop.call("POST", f"/v1/orders/{order_id}/cancel")
        assert (response.status, response.json()["may_have_run"]) == (503, True)
        again = await shop.call("POST", f"/v1/orders/{order_id}/cancel")
        assert (again.status, again.json()["status"]) == (202, "cancelled")


# Events


async def an_order(shop: ShopServer) -> str:
    return str((await shop.check_out(await shop.cart_of())).json()["id"])


async def cancelled(shop: ShopServer, order_id: str) -> None:
    assert (await shop.call("POST", f"/v1/orders/{order_id}/cancel")).status == 202


def statuses(stream: bytes) -> list[tuple[int, str]]:
    """The number and status of every event; comments are dropped."""
    blocks = [block.split("\n") for block in stream.decode().split("\n\n") if block.startswith("id: ")]
    return [(int(number[4:]), data.split('"')[3]) for number, _, data in blocks]


@pytest.mark.parametrize(
    ("seen", "numbers"),
    [("0", [1, 2]), ("1", [2]), ("none", [1, 2]), ("-1", [1, 2]), ("9" * 5000, [1, 2])],
)
async def test_a_resumed_stream_continues_after_last_event_id(seen: str, numbers: list[int]) -> None:
    async with shop_server() as shop:
        order_id = await an_order(shop)
        await cancelled(shop, order_id)
        response = await shop.call("GET", f"/v1/orders/{order_id}/events", None, f"Last-Event-ID: {seen}")
        assert (response.status, response["Content-Type"]) == (200, "text/event-stream")
        assert response["X-Accel-Buffering"] == "no"
        assert [number for number, _ in statuses(response.body)] == numbers


@pytest.mark.parametrize("seen", ["2", "99"])
async def test_a_client_that_has_all_events_of_an_order_that_has_ended_stops_reconnecting(seen: str) -> None:
    async with shop_server() as shop:
        order_id = await an_order(shop)
        path = f"/v1/orders/{order_id}/events"
        await cancelled(shop, order_id)
        response = await shop.call("GET", path, None, f"Last-Event-ID: {seen}")
        assert (response.status, response.body) == (204, b"")


async def test_a_stream_outlasts_an_outage_of_the_store(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(events, "RETRY_S", 0.001)
    async with shop_server(heartbeat_s=0.005) as shop:
        order_id = await an_order(shop)
        read, is_unavailable, refused = shop.orders.read, asyncio.Event(), asyncio.Event()

        async def read_or_fail(wanted: OrderId) -> Order | None:
            if is_unavailable.is_set():
                refused.set()
                raise StoreUnavailable("unavailable")
            return await read(wanted)

        monkeypatch.setattr(shop.orders, "read", read_or_fail)
        async with await RawClient.open(shop.port) as client:
            await client.send(get(f"/v1/orders/{order_id}/events"))
            answering = asyncio.create_task(client.response())
            is_unavailable.set()
            await refused.wait()
            is_unavailable.clear()
            await cancelled(shop, order_id)
            assert statuses((await answering).body) == [(1, "accepted"), (2, "cancelled")]
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_streams_beyond_the_limit_are_rejected_and_one_that_ends_makes_room() -> None:
    async with shop_server() as shop:
        shop.stream_limit.resize(2, 2)
        order_id = await an_order(shop)
        path = f"/v1/orders/{order_id}/events"
        async with AsyncExitStack() as streams:
            clients = [await streams.enter_async_context(await RawClient.open(shop.port)) for _ in range(2)]
            for client in clients:
                await client.send(get(path))
                await client.reader.readuntil(b"accepted")
            rejected = await shop.call("GET", path)
            assert (rejected.status, rejected.problem, rejected["Retry-After"]) == (503, "overloaded", "5")
            # The order itself can still be read.
            assert (await shop.call("GET", f"/v1/orders/{order_id}")).status == 200
        await until(lambda: shop.stream_limit.streams == 0)
        await cancelled(shop, order_id)
        assert (await shop.call("GET", path)).status == 200


async def test_an_idle_stream_sends_heartbeats() -> None:
    async with shop_server(heartbeat_s=0.002) as shop:
        order_id = await an_order(shop)
        async with await RawClient.open(shop.port) as client:
            await client.send(get(f"/v1/orders/{order_id}/events"))
            async with asyncio.timeout(WITHIN_S):
                await client.reader.readuntil(b":\n\n")
            await cancelled(shop, order_id)
