"""A client that hangs up is counted and logged as 499 on every kind of route, and nothing is logged as an error."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.http.endpoint import Endpoint
from gateway.http.message import Response
from gateway.pipeline.access_log import AccessLog
from gateway.server.server import EdgeServer
from store import Client
from tests.integration.gateway.proxy.raw_upstream import Peer, always
from tests.integration.gateway.proxy.test_through_the_server import front
from tests.integration.gateway.shop_server import MUG, shop_server
from tests.integration.gateway.small_server import get, small_server
from tests.integration.gateway.whole_gateway import whole_gateway
from tests.raw_http import RawClient
from tests.waiting import until

CARD = "4111111111111111"
ALL: Any = dict.fromkeys(("ok", "rejected", "client_error", "server_error"), 1.0)


@pytest.fixture(autouse=True)
def _nothing_is_logged(caplog: pytest.LogCaptureFixture) -> Any:
    caplog.set_level(logging.INFO)
    yield
    assert not [record.getMessage() for record in caplog.get_records("call") if record.levelno >= logging.WARNING]


def counts(edge: EdgeServer) -> dict[int, int]:
    """Responses by status, over all routes."""
    total: dict[int, int] = {}
    for endpoint in edge.router.endpoints:
        for status, count in endpoint.stats.by_status.items():
            total[status] = total.get(status, 0) + count
    return total


HALF_A_BODY = b"POST %b HTTP/1.1\r\nHost: shop\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\nx"


@pytest.mark.parametrize(
    "sent",
    [
        get("/wait"),
        get("/slow"),
        HALF_A_BODY % b"/echo",
        HALF_A_BODY % b"/slow-echo",
        b"POST /echo HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    ],
)
async def test_hanging_up_before_the_response_is_counted_and_logged(sent: bytes, tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    log = AccessLog(ALL, slow_s=1.0, file=str(path))
    async with small_server() as server:
        server.edge.access_log = log
        async with await server.client() as client:
            await client.send(sent)
        await until(lambda: not server.edge.connections)
        server.gate.set()
        await until(lambda: counts(server.edge) == {499: 1})
    await log.close()
    assert [orjson.loads(line)["status"] for line in path.read_bytes().splitlines()] == [499]


@pytest.mark.parametrize("route", ["/stream", "/endless-stream"])
async def test_hanging_up_on_a_stream_is_counted_when_it_happens(route: str) -> None:
    async with small_server() as server:
        async with await server.client() as client:
            await client.send(get(route))
            assert b"200 OK" in await client.reader.readline()
        await until(lambda: counts(server.edge) == {499: 1})


async def test_a_stream_that_is_read_to_its_end_is_counted_as_it_was_answered() -> None:
    async with small_server() as server, await server.client() as client:
        server.gate.set()
        assert (await client.request(get("/stream"))).status == 200
        assert counts(server.edge) == {200: 1}
        assert (await client.request(get("/big"))).status == 200
        await until(lambda: counts(server.edge) == {200: 2})


async def test_hanging_up_on_a_long_response_is_counted() -> None:
    def endpoints(_server: Any) -> list[Endpoint]:
        return [Endpoint("GET", "/huge", lambda _request: Response(200, b"x" * 20_000_000))]

    async with small_server(more_endpoints=endpoints) as server:
        async with await server.client() as client:
            await client.send(get("/huge"))
            assert b"200 OK" in await client.reader.readline()
        await until(lambda: counts(server.edge) == {499: 1})


# The shop


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/carts"),
        ("POST", "/v1/carts/{cart}/lines"),
        ("PATCH", "/v1/carts/{cart}/lines"),
        ("POST", "/v1/checkout"),
    ],
)
async def test_hanging_up_while_sending_a_call_of_the_shop_is_counted(method: str, path: str) -> None:
    async with shop_server() as shop:
        cart = await shop.cart_of(MUG)
        before = sum(counts(shop.edge).values())
        async with await shop.client() as client:
            await client.send((HALF_A_BODY % path.format(cart=cart).encode()).replace(b"POST", method.encode(), 1))
        await until(lambda: counts(shop.edge).get(499) == 1)
        assert sum(counts(shop.edge).values()) == before + 1


async def test_hanging_up_on_the_events_of_an_order_is_counted() -> None:
    async with shop_server() as shop:
        placed = await shop.check_out(await shop.cart_of(MUG))
        async with await shop.client() as client:
            await client.send(get(f"{placed['Location']}/events"))
            assert b"200 OK" in await client.reader.readline()
        await until(lambda: counts(shop.edge).get(499) == 1)


async def test_the_events_of_an_order_end_a_connection_of_http_1_0() -> None:
    async with shop_server() as shop:
        placed = await shop.check_out(await shop.cart_of(MUG))
        async with await shop.client() as client:
            await client.send(f"GET {placed['Location']}/events HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".encode())
            head = await client.reader.readuntil(b"\r\n\r\n")
            assert b"\r\nConnection: close\r\n" in head
            assert b"Transfer-Encoding" not in head
            # An event, and not the size of a chunk.
            assert (await client.reader.readline()).partition(b":")[0] in {b"id", b"event", b"retry"}


async def test_hanging_up_while_a_checkout_is_placed_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with shop_server() as shop:
        cart = await shop.cart_of(MUG)
        hold, is_held, may_go_on = shop.stock.hold, asyncio.Event(), asyncio.Event()

        async def slow(*arguments: Any, **options: Any) -> Any:
            is_held.set()
            await may_go_on.wait()
            return await hold(*arguments, **options)

        monkeypatch.setattr(shop.stock, "hold", slow)
        placing = asyncio.ensure_future(shop.check_out(cart))
        await is_held.wait()
        for connection in [*shop.edge.connections]:
            connection.abort()
        with pytest.raises((EOFError, ConnectionError)):
            await placing
        may_go_on.set()
        await until(lambda: counts(shop.edge).get(499) == 1)


# Forwarded


async def _ignore(peer: Peer) -> None:
    """An upstream that reads and does not answer."""
    await peer.closed()


LONG = b"x" * 300_000


@pytest.mark.parametrize(
    ("body", "is_forwarded"),
    [
        (b"Content-Length: 100\r\n\r\nx", False),
        (b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n", False),
        (b"Content-Length: 1000000\r\n\r\n" + LONG, True),
        (b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(LONG), LONG), True),
    ],
    ids=["short", "short, chunked", "long", "long, chunked"],
)
async def test_hanging_up_while_uploading_to_an_upstream_is_counted(body: bytes, is_forwarded: bool) -> None:
    async with front(_ignore) as made:
        client = await made.client()
        await client.send(b"POST /shop/%b HTTP/1.1\r\nHost: x\r\n%b" % (CARD.encode(), body))
        await until(lambda: made.upstream.connections == is_forwarded)
        client.writer.close()
        await until(lambda: counts(made.edge) == {499: 1})


async def test_hanging_up_while_an_upstream_does_not_answer_is_counted() -> None:
    async with front(_ignore) as made:
        client = await made.client()
        await client.send(get("/shop/slow"))
        await until(lambda: made.upstream.connections == 1)
        client.writer.close()
        await until(lambda: counts(made.edge) == {499: 1})


async def test_hanging_up_on_a_long_forwarded_response_is_counted() -> None:
    body = b"x" * 10_000_000
    async with front(always(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))) as made:
        client: RawClient = await made.client()
        await client.send(get("/shop/long"))
        assert b"200 OK" in await client.reader.readline()
        client.writer.close()
        await until(lambda: counts(made.edge) == {499: 1})


async def test_hanging_up_while_a_cached_route_is_fetched_is_counted(
    store: Client, store_url: str, tmp_path: Path
) -> None:
    async with whole_gateway(store_url, tmp_path, _ignore, route={"cache": True}) as gateway:
        client = await RawClient.open(gateway.port)
        await client.send(get("/s/x"))
        await until(lambda: gateway.upstream.connections == 1)
        client.writer.close()
        await until(lambda: counts(gateway.edge).get(499) == 1)
