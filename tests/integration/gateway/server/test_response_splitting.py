"""No text of a shopper or an upstream becomes a header line of an response that the gateway did not mean to write."""

from __future__ import annotations

import pytest

from gateway.http.message import Request, Response
from gateway.pipeline.cors import cors
from gateway.proxy.errors import BadResponse
from gateway.proxy.response_head import parse_head
from tests.integration.gateway.proxy.raw_upstream import forwarding, once, request
from tests.integration.gateway.small_server import get, small_server

EVIL = ["x\r\nSet-Cookie: a=b", "x\nSet-Cookie: a=b", "x\rSet-Cookie: a=b", "x%0d%0aSet-Cookie:%20a=b", "x\x00y"]


@pytest.mark.parametrize("field", ["Origin", "traceparent", "Request-Timeout-Ms", "X-Request-Id", "Idempotency-Key"])
@pytest.mark.parametrize("value", EVIL)
@pytest.mark.parametrize("route", ["/plain", "/nowhere", "/slow-broken", "/refused"])
async def test_the_value_of_a_field_never_becomes_a_line_of_the_response(field: str, value: str, route: str) -> None:
    async with small_server() as server, await server.client() as client:
        response = await client.request(get(route, f"{field}: {value}"), method="GET")
        assert "Set-Cookie" not in response
        assert "Set-Cookie" not in response["X-Request-Id"]


@pytest.mark.parametrize(
    "target",
    ["/about/x%0d%0aSet-Cookie:%20a=b", "/nowhere/%0d%0aSet-Cookie:%20a=b", "/plain?x=%0d%0aSet-Cookie:%20a=b"],
)
async def test_an_escaped_line_end_in_the_target_stays_escaped_in_lines(target: str) -> None:
    async with small_server() as server, await server.client() as client:
        for sent in (get(target), get(f"http://shop{target}")):
            assert "Set-Cookie" not in await client.request(sent)


@pytest.mark.parametrize("origins", [("*",), ("https://shop.example",)])
@pytest.mark.parametrize("origin", ["https://shop.example\r\nSet-Cookie: a=b", "https://shop.example\nX: y", "\r\n"])
def test_an_origin_with_a_line_end_is_not_echoed(origins: tuple[str, ...], origin: str) -> None:
    layer = cors(origins, allow_credentials=False, max_age_s=60, expose_headers=())
    asked = Request("GET", "/x", "", {"Origin": origin}, b"", "id", ())
    response = layer(lambda _request: Response(200))(asked)
    assert isinstance(response, Response)
    assert b"Set-Cookie" not in response.header_block + asked.extra_headers
    assert b"X: y" not in response.header_block + asked.extra_headers


@pytest.mark.parametrize("value", [b"x\rSet-Cookie: a=b", b"x\nSet-Cookie: a=b", b"x\x00y", b"x\r\n folded"])
async def test_an_upstream_cannot_split_its_answer(value: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\nLocation: " + value + b"\r\nContent-Length: 2"
    with pytest.raises(BadResponse):
        parse_head(head)
    async with forwarding(once(head + b"\r\n\r\nok")) as (gate, _):
        assert (await gate.send(request())).status == 502
