"""Calls on orders whose home is another Region, whose gateway is a server with the script of a test."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from checkout.order import Order
from gateway.config.policies import Breaker, Cors, Region
from store import Client
from tests.integration.gateway.api.test_archived_orders import Shop, open_shop
from tests.integration.gateway.proxy.raw_upstream import Peer, RawUpstream, Script, always, once, unused_url
from tests.integration.gateway.whole_gateway import Received
from tests.waiting import WITHIN_S

HOME = "us-east-1"
NEVER_OPENS = {f"region-{HOME}": Breaker(min_calls=1000)}


def response(status: int, body: bytes = b"{}", *fields: bytes, media_type: bytes = b"application/json") -> bytes:
    lines = (b"Content-Type: " + media_type, b"Content-Length: %d" % len(body), *fields)
    return b"HTTP/1.1 %d Reason\r\n%b\r\n\r\n%b" % (status, b"\r\n".join(lines), body)


def problem(status: int) -> bytes:
    body = b'{"type":"/problems/x","status":%d}' % status
    return response(status, body, b"Retry-After: 7", media_type=b"application/problem+json")


class Regions:
    """A gateway here, and the server that stands for the gateway of the home Region."""

    def __init__(self, shop: Shop, home: RawUpstream) -> None:
        self.shop = shop
        self.home = home
        self.order: Order | None = None

    async def call(self, method: str = "GET", end: str = "", *headers: str) -> Received:
        """A call on an order whose home is the other Region."""
        self.order = self.order or await self.shop.lost(home=HOME)
        return await self.shop._gateway.get(f"/v1/orders/{self.order.id}{end}", *headers, method=method)

    def sent(self, name: str) -> list[bytes]:
        """The values of a field in the last request that the home received."""
        start = name.lower().encode() + b": "
        lines = self.home.requests[-1].split(b"\r\n")
        return [line[len(start) :] for line in lines if line.lower().startswith(start)]


@asynccontextmanager
async def open_regions(store_url: str, folder: Path, script: Script) -> AsyncIterator[Regions]:
    home = RawUpstream(script)
    await home.start()
    tables = (Region(name=HOME, url=home.url, timeout_s=5.0),)
    cors = Cors(allow_origins=("https://shop.example",))
    try:
        async with open_shop(store_url, folder, regions=tables, breaker=NEVER_OPENS, cors=cors) as shop:
            yield Regions(shop, home)
    finally:
        await home.stop()


@pytest.fixture
async def regions(store: Client, store_url: str, tmp_path: Path) -> AsyncIterator[Regions]:
    async with open_regions(store_url, tmp_path, always(response(200, b'{"from":"home"}'))) as opened:
        yield opened


def problem_of(received: Received) -> str:
    return str(json.loads(received.body)["type"].removeprefix("/problems/"))


@pytest.mark.parametrize(("method", "end"), [("GET", ""), ("POST", "/cancel"), ("GET", "/events")])
async def test_a_call_on_an_order_is_answered_by_its_home(regions: Regions, method: str, end: str) -> None:
    received = await regions.call(method, end, "Authorization: Bearer x.y.z")
    assert (received.status, received.body) == (200, b'{"from":"home"}')
    assert regions.order is not None
    line = regions.home.requests[-1].partition(b"\r\n")[0]
    assert line == f"{method} /v1/orders/{regions.order.id}{end} HTTP/1.1".encode()
    assert regions.sent("Authorization") == [b"Bearer x.y.z"]
    assert regions.sent("CDN-Loop") == [b"peakgate"]
    assert regions.sent("Host") == [regions.home.url.removeprefix("http://").encode()]
    assert regions.sent("X-Request-Id") == received.all("X-Request-Id")
    assert not received.all("Degraded")


async def test_a_head_request_is_forwarded_as_one(store: Client, store_url: str, tmp_path: Path) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n"
    async with open_regions(store_url, tmp_path, always(head)) as regions:
        received = await regions.call("HEAD")
        assert (received.status, received.body, received["Content-Length"]) == (200, b"", b"15")
        assert regions.home.requests[-1].startswith(b"HEAD ")


async def test_the_fields_of_the_home_do_not_repeat_those_of_this_gateway(
    store: Client, store_url: str, tmp_path: Path
) -> None:
    origin = b"https://shop.example"
    script = always(
        response(
            200,
            b"{}",
            b"Cache-Control: no-store",
            b"Retry-After: 3",
            b"X-Content-Type-Options: nosniff",
            b"Content-Security-Policy: default-src *",
            b"Access-Control-Allow-Origin: https://elsewhere.example",
            b"RateLimit: other",
            b"Set-Cookie: balancer=1",
        )
    )
    async with open_regions(store_url, tmp_path, script) as regions:
        received = await regions.call("GET", "", f"Origin: {origin.decode()}")
    assert (received["Cache-Control"], received["Retry-After"]) == (b"no-store", b"3")
    assert received["Access-Control-Allow-Origin"] == origin
    assert b"default-src 'none'" in received["Content-Security-Policy"]
    assert len(received.all("X-Content-Type-Options")) == 1
    assert not received.all("Set-Cookie")
    assert not received.all("RateLimit")


@pytest.mark.parametrize("status", [404, 409, 429, 500])
async def test_a_refusal_of_the_home_is_passed_on(store: Client, store_url: str, tmp_path: Path, status: int) -> None:
    async with open_regions(store_url, tmp_path, always(problem(status))) as regions:
        for method, end in (("GET", ""), ("POST", "/cancel"), ("GET", "/events")):
            received = await regions.call(method, end)
            assert (received.status, problem_of(received), received["Retry-After"]) == (status, "x", b"7")


@pytest.mark.parametrize("loop", ["peakgate", "cdn.example, Peakgate;v=1"])
async def test_a_request_is_forwarded_once(regions: Regions, loop: str) -> None:
    received = await regions.call("GET", "", f"CDN-Loop: {loop}")
    assert (received.status, json.loads(received.body)["status"]) == (200, "accepted")
    assert (await regions.call("POST", "/cancel", f"CDN-Loop: {loop}")).status == 421
    assert b'"status":"accepted"' in await first_event(regions, f"CDN-Loop: {loop}")
    assert regions.home.requests == []


async def test_the_loop_field_of_a_cdn_is_kept(regions: Regions) -> None:
    await regions.call("GET", "", "CDN-Loop: cdn.example")
    assert regions.sent("CDN-Loop") == [b"cdn.example", b"peakgate"]


async def test_the_order_of_another_shopper_is_not_asked_for(regions: Regions) -> None:
    regions.order = await regions.shop.lost(home=HOME, owner="ada")
    assert (await regions.call()).status == 404
    assert (await regions.call("POST", "/cancel")).status == 404
    assert regions.home.requests == []


async def test_orders_of_this_region_and_of_regions_without_an_address_stay_here(regions: Regions) -> None:
    regions.order = await regions.shop.lost(home="eu-central-1")
    assert (await regions.call()).status == 200
    assert (await regions.call("POST", "/cancel")).status == 421
    regions.order = await regions.shop.lost(home="")
    assert (await regions.call()).status == 200
    assert (await regions.call("POST", "/cancel")).status == 202
    assert regions.home.requests == []


async def test_a_reload_applies_other_regions_and_keeps_the_breakers_of_those_that_stay(regions: Regions) -> None:
    gateway = regions.shop._gateway
    await gateway.commands["drill"]({"name": f"region-{HOME}"})

    async def reload(*tables: Region) -> None:
        swap = await gateway.prepare(replace(gateway.policies, regions=tables))
        swap()

    await reload(Region(name="eu-central-1", url=unused_url()), *gateway.policies.regions)
    assert (await regions.call())["Degraded"] == b"orders"
    assert regions.home.requests == []
    await reload()
    assert not (await regions.call()).all("Degraded")
    assert (await regions.call("POST", "/cancel")).status == 421
    await reload(*gateway.policies.regions)
    assert (await regions.call("POST", "/cancel")).body == b'{"from":"home"}'


# The home is away


async def first_event(regions: Regions, *headers: str) -> bytes:
    """The beginning of the events of the order, as this gateway has them."""
    assert regions.order is not None
    async with asyncio.timeout(WITHIN_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", regions.shop._gateway.port)
        lines = "".join(f"{line}\r\n" for line in ("Host: shop.example", *headers))
        writer.write(f"GET /v1/orders/{regions.order.id}/events HTTP/1.1\r\n{lines}\r\n".encode())
        received = await reader.readuntil(b"data: ") + await reader.readline()
        writer.transport.abort()
    return received


async def hang(peer: Peer) -> None:
    await peer.request()
    await peer.closed()


AWAY = {
    "closes": once(),
    "503": always(problem(503)),
    "504": always(response(504, b"<html>", media_type=b"text/html")),
    "a long 503": always(response(503, b"x" * 200_000, media_type=b"text/html")),
}


@pytest.mark.parametrize("name", AWAY)
async def test_while_the_home_is_away_an_order_is_read_from_the_archive(
    store: Client, store_url: str, tmp_path: Path, name: str
) -> None:
    async with open_regions(store_url, tmp_path, AWAY[name]) as regions:
        received = await regions.call()
        assert (received.status, received["Degraded"]) == (200, b"orders")
        assert json.loads(received.body)["status"] == "accepted"
        events = await first_event(regions)
        assert b"Degraded: orders" in events
        assert b'"status":"accepted"' in events
        assert regions.home.requests


async def test_a_request_that_is_never_forwarded_is_answered_from_the_archive(regions: Regions) -> None:
    received = await regions.call("GET", "", "Upgrade: websocket")
    assert (received.status, received["Degraded"], regions.home.requests) == (200, b"orders", [])


@pytest.mark.parametrize("name", ["closes", "504", "a long 503"])
async def test_while_the_home_is_away_a_change_may_have_run(
    store: Client, store_url: str, tmp_path: Path, name: str
) -> None:
    async with open_regions(store_url, tmp_path, AWAY[name]) as regions:
        received = await regions.call("POST", "/cancel")
        assert (received.status, problem_of(received)) == (503, "dependency-unavailable")
        assert json.loads(received.body)["may_have_run"] is True
        # A POST is not sent twice.
        assert len(regions.home.requests) == 1


async def test_a_home_that_hangs_does_not_hold_a_change_for_longer_than_the_timeout_of_the_client(
    store: Client, store_url: str, tmp_path: Path
) -> None:
    async with open_regions(store_url, tmp_path, hang) as regions:
        received = await regions.call("POST", "/cancel", "Request-Timeout-Ms: 50")
        assert (received.status, problem_of(received)) == (503, "dependency-unavailable")


async def test_a_change_that_was_never_sent_has_not_run(store: Client, store_url: str, tmp_path: Path) -> None:
    opened = Breaker(min_calls=1, failure_rate=0.1, open_s=3600, max_open_s=3600)
    tables = (Region(name=HOME, url=unused_url()),)
    async with open_shop(store_url, tmp_path, regions=tables, breaker={f"region-{HOME}": opened}) as shop:
        order = await shop.lost(home=HOME)
        await shop.call(f"/v1/orders/{order.id}")
        status, body = await shop.call(f"/v1/orders/{order.id}/cancel", "POST")
        assert (status, body["type"]) == (503, "/problems/dependency-unavailable")
        assert "may_have_run" not in body
        assert (await shop.call(f"/v1/orders/{order.id}"))[0] == 200


async def test_a_503_of_the_home_itself_is_passed_on_to_a_change(store: Client, store_url: str, tmp_path: Path) -> None:
    async with open_regions(store_url, tmp_path, always(problem(503))) as regions:
        received = await regions.call("POST", "/cancel")
        assert (received.status, problem_of(received), received["Retry-After"]) == (503, "x", b"7")


# Streams


async def test_events_are_passed_on_as_they_come_and_a_lost_stream_is_resumed_here(
    store: Client, store_url: str, tmp_path: Path
) -> None:
    lost = asyncio.Event()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(head, b"13\r\nid: 7\ndata: {}\n\n   \r\n")
        await lost.wait()

    async with open_regions(store_url, tmp_path, script) as regions:
        regions.order = await regions.shop.lost(home=HOME)
        async with asyncio.timeout(WITHIN_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", regions.shop._gateway.port)
            path = f"/v1/orders/{regions.order.id}/events"
            writer.write(f"GET {path} HTTP/1.1\r\nHost: shop.example\r\nLast-Event-ID: 6\r\n\r\n".encode())
            received = await reader.readuntil(b"id: 7\ndata: {}\n\n")
            assert b"Content-Type: text/event-stream" in received
            assert regions.sent("Last-Event-ID") == [b"6"]
            lost.set()
            # Cut off without the last chunk, so that an EventSource connects again.
            assert not (await reader.read()).endswith(b"0\r\n\r\n")
            writer.close()
        await regions.home.stop()
        assert b'"status":"accepted"' in await first_event(regions)
