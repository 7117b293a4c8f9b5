"""CORS by the gateway in front of an upstream that does CORS itself."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from gateway.config.policies import Cors, Limit, Room
from store import Client
from tests.integration.gateway.proxy.raw_upstream import always, once
from tests.integration.gateway.whole_gateway import Received, whole_gateway

PAGE = "https://shop.example"
CORS = Cors(allow_origins=(PAGE,), routes=("/s/*",))
WITH_CORS = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nAccess-Control-Allow-Origin: *\r\n"
    b"access-control-allow-credentials: true\r\nAccess-Control-Expose-Headers: X-Secret\r\n"
    b"Access-Control-Max-Age: 9\r\nVary: Cookie, Origin\r\nVary: cookie\r\nCache-Control: max-age=60\r\n"
    b"Content-Length: 2\r\n\r\nok"
)


def cors_fields(got: Received) -> set[bytes]:
    return {name.lower() for name, _ in got.lines if name.lower().startswith(b"access-control-")}


@pytest.mark.parametrize("origin", ["", PAGE, "https://evil.example"])
@pytest.mark.parametrize("route", [{}, {"cache": True}, {"cache": True, "compress": True}], ids=str)
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "OPTIONS"])
async def test_the_cors_fields_of_an_upstream_are_replaced(
    store: Client, store_url: str, tmp_path: Path, origin: str, route: dict[str, Any], method: str
) -> None:
    async with whole_gateway(store_url, tmp_path, always(WITH_CORS), route=route, cors=CORS) as gateway:
        for _ in range(2):
            got = await gateway.get("/s/x", *([f"Origin: {origin}"] if origin else []), method=method)
            assert got.status == 200
            assert {"cookie", "origin"} <= got.members("Vary")
            if origin == PAGE:
                assert got["Access-Control-Allow-Origin"] == PAGE.encode()
                assert b"X-Secret" not in got["Access-Control-Expose-Headers"]
                assert cors_fields(got) == {b"access-control-allow-origin", b"access-control-expose-headers"}
            else:
                assert cors_fields(got) == set()


async def test_without_cors_of_the_gateway_the_upstreams_pass(store: Client, store_url: str, tmp_path: Path) -> None:
    async with whole_gateway(store_url, tmp_path, always(WITH_CORS)) as gateway:
        got = await gateway.get("/s/x", f"Origin: {PAGE}")
        assert got["Access-Control-Allow-Origin"] == b"*"
        assert got.all("Vary") == [b"Cookie, Origin", b"cookie"]


@pytest.mark.parametrize("route", ["/s/*", "POST /s/*"])
async def test_a_preflight_is_answered_here_with_the_configured_lists(
    store: Client, store_url: str, tmp_path: Path, route: str
) -> None:
    cors = Cors(
        allow_origins=(PAGE,),
        routes=(route,),
        allow_methods=("GET", "POST"),
        allow_headers=("X-Cart", "Content-Type"),
        max_age_s=7,
        allow_credentials=True,
    )
    async with whole_gateway(store_url, tmp_path, always(WITH_CORS), cors=cors) as gateway:
        asked = (f"Origin: {PAGE}", "Access-Control-Request-Method: POST")
        got = await gateway.get("/s/x", *asked, method="OPTIONS")
        assert got.status == 204
        assert got["Access-Control-Allow-Methods"] == b"GET, POST"
        assert got["Access-Control-Allow-Headers"] == b"X-Cart, Content-Type"
        assert got["Access-Control-Max-Age"] == b"7"
        assert got["Access-Control-Allow-Credentials"] == b"true"
        assert got["Access-Control-Allow-Origin"] == PAGE.encode()
        assert got.members("Vary") == {"origin"}
        assert not gateway.upstream.requests
        got = await gateway.get("/s/x", "Origin: https://evil.example", *asked[1:], method="OPTIONS")
        assert cors_fields(got) == set()


async def test_a_preflight_of_one_method_of_the_api_is_answered(store: Client, store_url: str, tmp_path: Path) -> None:
    cors = Cors(allow_origins=(PAGE,), routes=("POST /v1/checkout",))
    async with whole_gateway(store_url, tmp_path, always(WITH_CORS), cors=cors) as gateway:
        asked = (f"Origin: {PAGE}", "Access-Control-Request-Method: POST")
        got = await gateway.get("/v1/checkout", *asked, method="OPTIONS")
        assert (got.status, got["Access-Control-Allow-Origin"]) == (204, PAGE.encode())
        got = await gateway.get("/v1/carts", *asked, method="OPTIONS")
        assert cors_fields(got) == set()


@pytest.mark.parametrize("coding", ["gzip", "identity"])
async def test_vary_is_one_field_whatever_layers_add(
    store: Client, store_url: str, tmp_path: Path, coding: str
) -> None:
    cors = Cors(allow_origins=(PAGE,), routes=("*",))
    body = b"text " * 1000
    script = always(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nVary: accept-encoding\r\nVary: Accept-Language,,Origin\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    )
    async with whole_gateway(store_url, tmp_path, script, route={"compress": True}, cors=cors) as gateway:
        got = await gateway.get("/s/x", f"Accept-Encoding: {coding}")
        assert got.members("Vary") == {"origin", "accept-encoding", "accept-language"}
        got = await gateway.get("/openapi.json", f"Accept-Encoding: {coding}")
        assert got.members("Vary") == {"origin", "accept-encoding"}


@pytest.mark.parametrize(("accept", "members"), [("text/html", {"accept", "accept-language"}), ("*/*", {"accept"})])
@pytest.mark.parametrize("path", ["/v1/carts/none", "/s/x", "/no/route"])
async def test_vary_of_a_refusal_is_one_field(
    store: Client, store_url: str, tmp_path: Path, accept: str, members: set[str], path: str
) -> None:
    cors = Cors(allow_origins=(PAGE,), routes=("*",))
    async with whole_gateway(store_url, tmp_path, once(b"no response"), route={"compress": True}, cors=cors) as gateway:
        got = await gateway.get(path, f"Accept: {accept}")
        assert got.status in {404, 502}
        assert got.members("Vary") == {"origin", *members}
        assert got["Referrer-Policy"] == b"no-referrer"
        assert got["X-Content-Type-Options"] == b"nosniff"


async def test_a_star_in_vary_stays_alone(store: Client, store_url: str, tmp_path: Path) -> None:
    script = always(b"HTTP/1.1 200 OK\r\nVary: Cookie\r\nVary: *\r\nContent-Length: 0\r\n\r\n")
    async with whole_gateway(store_url, tmp_path, script, cors=CORS) as gateway:
        assert (await gateway.get("/s/x"))["Vary"] == b"*"


async def test_limits_of_the_upstream_and_of_the_gateway_are_one_list(
    store: Client, store_url: str, tmp_path: Path
) -> None:
    script = always(
        b'HTTP/1.1 200 OK\r\nRateLimit-Policy: "own";q=9;w=1\r\nratelimit: "own";r=8;t=1\r\nContent-Length: 0\r\n\r\n'
    )
    limit = Limit(name="reads", by="address", quota=5, window_s=60.0, routes=("/s/*",))
    async with whole_gateway(store_url, tmp_path, script, limits=(limit,)) as gateway:
        got = await gateway.get("/s/x")
        assert got["RateLimit-Policy"] == b'"own";q=9;w=1, "reads";q=5;w=60'
        assert re.fullmatch(rb'"own";r=8;t=1, "reads";r=\d;t=\d+', got["RateLimit"])


@pytest.mark.parametrize("route", ["/s/*", "/v1/products"])
async def test_a_response_with_a_pass_of_a_waiting_room_is_for_its_client_alone(
    store: Client, store_url: str, tmp_path: Path, route: str
) -> None:
    script = always(
        b"HTTP/1.1 200 OK\r\nCache-Control: public, max-age=60, s-maxage=90\r\nCDN-Cache-Control: max-age=60\r\n"
        b"Surrogate-Control: max-age=60\r\nContent-Length: 0\r\n\r\n"
    )
    room = Room(name="drop", routes=(route,), admissions_per_s=100.0, max_active=100)
    async with whole_gateway(store_url, tmp_path, script, rooms=(room,)) as gateway:
        got = await gateway.get(route.replace("*", "x"))
        assert got.status == 200
        assert "private" in got.members("Cache-Control")
        assert not {"public", "s-maxage=90"} & got.members("Cache-Control")
        assert got.all("CDN-Cache-Control") == got.all("Surrogate-Control") == []
        assert got["Waiting-Room-Token"]


async def test_security_fields_are_those_of_the_upstream_where_it_has_them(
    store: Client, store_url: str, tmp_path: Path
) -> None:
    script = always(b"HTTP/1.1 200 OK\r\nreferrer-policy: origin\r\nContent-Length: 0\r\n\r\n")
    async with whole_gateway(store_url, tmp_path, script, cors=CORS) as gateway:
        got = await gateway.get("/s/x")
        assert got["Referrer-Policy"] == b"origin"
        assert got["X-Content-Type-Options"] == b"nosniff"
