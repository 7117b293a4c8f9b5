"""While all requests of a criticality are shed, a plain request is rejected from its bytes; all others are parsed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.http.endpoint import EarlyRejection
from gateway.http.message import header
from gateway.server.early_reject import EarlyReject
from tests.integration.gateway.small_server import Small, get, post, small_server
from tests.raw_http import RawClient

HEADER_BLOCK = header("Referrer-Policy", "no-referrer")


class ShedAll:
    """Sheds everything less critical than the checkout."""

    def __init__(self) -> None:
        self.shed = [0] * 5

    def sheds_all(self, criticality: int) -> bool:
        return criticality > 0

    def retry_after(self, _client: str) -> bytes:
        return header("Retry-After", 7)


@asynccontextmanager
async def shedding_server(criticality: int = 3) -> AsyncIterator[tuple[Small, RawClient, ShedAll]]:
    """A server that sheds `/plain`, and a connection on which a request was served."""
    async with small_server() as server, await server.client() as client:
        shedding = ShedAll()
        for method, path in (("GET", "/plain"), ("GET", "/about/x"), ("POST", "/wait")):
            server.edge.router.find(method, path)[0].early_reject = EarlyRejection(criticality, HEADER_BLOCK)
        # The second request of a connection is the first that may be rejected early.
        for _ in range(2):
            assert (await client.request(get("/plain"))).status == 200
        server.finished.clear()
        server.edge.early_rejecter = EarlyReject(server.edge, shedding)
        yield server, client, shedding


async def test_a_plain_get_is_rejected_as_by_the_layer() -> None:
    async with shedding_server() as (server, client, shedding):
        for _ in range(3):
            response = await client.request(get("/plain?x=1", "User-Agent: curl", "Authorization: Bearer x.y.z"))
            assert (response.status, response.problem) == (503, "overloaded")
            assert dict(response.headers)["Retry-After"] == "7"
            assert dict(response.headers)["Referrer-Policy"] == "no-referrer"
            assert response.json()["instance"] == dict(response.headers)["X-Request-Id"]
        assert shedding.shed[3] == 3
        assert server.finished == []
        stats = server.edge.router.find("GET", "/plain")[0].stats
        assert stats.by_status[503] == 3
        assert stats.by_problem == {"overloaded": 3}


async def test_critical_requests_and_endpoints_without_early_rejection_are_served() -> None:
    async with shedding_server(criticality=0) as (_, client, shedding):
        assert (await client.request(get("/plain"))).status == 200
        assert (await client.request(get("/dressed"))).status == 201
        assert sum(shedding.shed) == 0


@pytest.mark.parametrize(
    "message",
    [
        get("/plain", method="HEAD"),
        get("/plain", "Content-Length: 0", "Content-Length: 0"),
        get("/plain", "Content-Length: +0"),
        get("/plain", "Content-Length : 0"),
        get("/plain", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
        get("/plain", "Connection: keep-alive"),
        get("/plain", "Origin: https://shop.example"),
        get("/plain", "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        get("/plain").replace(b"Host: shop", b"Host: other"),
        get("/plain").replace(b"Host:", b"Host :"),
        get("/plain").replace(b"Host: shop", b"Host: shop\r\nHost: shop"),
        get("/plain").replace(b"HTTP/1.1", b"HTTP/1.0"),
        get("/plain", "X: \x01"),
        get("/plain", "X: a\r\n b"),
        get("/plain", "X: a\n\n"),
        get("/plain", "X: " + "a" * 5000),
        get("/about/x/..", ""),
        get("/plain#x"),
        get("/pl ain"),
        get("http://shop/plain"),
        get("/plain") + get("/plain"),
        post("/wait", b"{}") + b"x",
        post("/wait", b"{}", method="TRACE"),
    ],
)
async def test_an_ambiguous_request_is_parsed(message: bytes) -> None:
    async with shedding_server() as (server, client, shedding):
        server.gate.set()
        await client.send(message)
        await client.response(method=message.partition(b" ")[0].decode())
        assert sum(shedding.shed) == 0


async def test_a_request_in_pieces_is_parsed() -> None:
    async with shedding_server() as (_, client, shedding):
        whole = get("/plain")
        assert (await client.request(whole[:10], whole[10:])).status == 200
        assert sum(shedding.shed) == 0


async def test_a_request_whose_body_arrives_later_is_parsed() -> None:
    async with shedding_server() as (_, client, shedding):
        assert (await client.request(get("/plain", "Content-Length: 1"), b"x")).status == 200
        assert sum(shedding.shed) == 0


async def test_a_body_that_looks_like_a_request_is_a_body() -> None:
    async with shedding_server() as (_, client, shedding):
        body = get("/plain")
        head = get("/echo", f"Content-Length: {len(body)}", method="POST")
        assert (await client.request(head, body, method="POST")).body == body
        assert sum(shedding.shed) == 0


async def test_a_request_with_a_complete_body_is_rejected_together_with_it() -> None:
    async with shedding_server() as (server, client, shedding):
        for _ in range(2):
            assert (await client.request(post("/wait", b"GET / HTTP/1.1\r\n\r\n"))).status == 503
        assert (await client.request(get("/plain"))).status == 503
        assert (await client.request(post("/echo", b"{}"))).body == b"{}"
        assert (await client.request(get("/plain"))).status == 503
        assert shedding.shed[3] == 4
        assert server.running == 0


async def test_a_request_after_a_body_in_pieces_is_rejected_early_too() -> None:
    async with shedding_server() as (_, client, shedding):
        whole = post("/echo", b"abcd")
        assert (await client.request(whole[:-2], whole[-2:])).body == b"abcd"
        assert (await client.request(get("/plain"))).status == 503
        assert shedding.shed[3] == 1
