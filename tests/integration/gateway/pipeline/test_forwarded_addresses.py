"""The client's address behind trusted proxies: as the gateway counts it, and as it names it to the upstream."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config.policies import Identity, Limit
from store import Client
from tests.integration.gateway.proxy.raw_upstream import OK, always
from tests.integration.gateway.whole_gateway import whole_gateway

TRUSTED = Identity(trusted_proxies=("127.0.0.1",))


@pytest.mark.parametrize(
    ("clients", "nodes"),
    [
        ("192.0.2.7:4711", b'for="192.0.2.7:4711"'),
        ("[2001:db8::7]:4711", b'for="[2001:db8::7]:4711"'),
        ("[2001:db8::7]", b'for="[2001:db8::7]"'),
        ("192.0.2.7, 198.51.100.2:5", b'for=192.0.2.7, for="198.51.100.2:5"'),
    ],
)
async def test_addresses_with_ports_reach_the_upstream(
    store: Client, store_url: str, tmp_path: Path, clients: str, nodes: bytes
) -> None:
    async with whole_gateway(store_url, tmp_path, always(OK), identity=TRUSTED) as gateway:
        await gateway.get("/s/x", f"X-Forwarded-For: {clients}")
        assert gateway.sent("X-Forwarded-For") == [f"{clients}, 127.0.0.1".encode()]
        assert gateway.sent("Forwarded") == [nodes + b', for=127.0.0.1;host="shop";proto=http']


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("192.0.2.7:4711", "192.0.2.7:4712"),
        ("192.0.2.7:4711", "192.0.2.7"),
        ("[2001:db8::7]:4711", "2001:db8::8"),
        ("203.0.113.1, 192.0.2.7", "203.0.113.2, 192.0.2.7:80"),
        ("192.0.2.7, 127.0.0.1", "192.0.2.7"),
        # Nothing left of a malformed hop is believed, so both are the proxy itself.
        ("192.0.2.7, unknown", "198.51.100.2, _hidden"),
    ],
)
async def test_one_client_has_one_limit_however_its_address_is_written(
    store: Client, store_url: str, tmp_path: Path, first: str, second: str
) -> None:
    limit = Limit(name="one", by="address", quota=1, window_s=3600.0, routes=("/s/*",))
    async with whole_gateway(store_url, tmp_path, always(OK), identity=TRUSTED, limits=(limit,)) as gateway:
        statuses = [(await gateway.get("/s/x", f"X-Forwarded-For: {clients}")).status for clients in (first, second)]
        assert statuses == [200, 429]
        assert (await gateway.get("/s/x", "X-Forwarded-For: 192.0.2.99")).status == 200


async def test_an_untrusted_client_forges_none_of_the_fields(store: Client, store_url: str, tmp_path: Path) -> None:
    forged = [
        "X-Forwarded-For: 192.0.2.7",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: evil.example",
        "X-Forwarded-Port: 666",
        "X-Forwarded-Prefix: /evil",
        "x_forwarded_prefix: /evil",
        "Forwarded: for=192.0.2.7",
    ]
    async with whole_gateway(store_url, tmp_path, always(OK), route={"strip_prefix": True}) as gateway:
        await gateway.get("/s/x", *forged)
        assert gateway.upstream.requests[0].startswith(b"GET /x HTTP/1.1\r\n")
        assert gateway.sent("X-Forwarded-For") == [b"127.0.0.1"]
        assert gateway.sent("X-Forwarded-Proto") == [b"http"]
        assert gateway.sent("X-Forwarded-Host") == [b"shop"]
        assert gateway.sent("X-Forwarded-Port") == gateway.sent("x_forwarded_prefix") == []
        assert gateway.sent("X-Forwarded-Prefix") == [b"/s"]
        assert gateway.sent("Forwarded") == [b'for=127.0.0.1;host="shop";proto=http']


@pytest.mark.parametrize("name", ["X-Forwarded-Prefix", "X-Forwarded-Port", "X-Forwarded-Host", "X-Forwarded-Proto"])
async def test_a_response_to_one_address_is_cached_for_that_address(
    store: Client, store_url: str, tmp_path: Path, name: str
) -> None:
    script = always(b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 2\r\n\r\nok")
    value = {"X-Forwarded-Prefix": "/a", "X-Forwarded-Port": "8443"}.get(name, "other")
    async with whole_gateway(store_url, tmp_path, script, route={"cache": True}, identity=TRUSTED) as gateway:
        await gateway.get("/s/x")
        await gateway.get("/s/x", f"{name}: {value}")
        assert len(gateway.upstream.requests) == 2
    async with whole_gateway(store_url, tmp_path, script, route={"cache": True}) as gateway:
        await gateway.get("/s/x")
        await gateway.get("/s/x", f"{name}: {value}")
        assert len(gateway.upstream.requests) == 1, "the field of an untrusted client does not reach the upstream"


async def test_fields_that_connection_names_end_here_in_both_directions(
    store: Client, store_url: str, tmp_path: Path
) -> None:
    script = always(
        b"HTTP/1.1 200 OK\r\nConnection: X-Hop, keep-alive\r\nconnection: x-other\r\nX-Hop: 1\r\nX-Other: 1\r\n"
        b"Keep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\nUpgrade: h2c\r\nTrailer: X-T\r\nTE: trailers\r\n"
        b"X-End: 1\r\nVia: 1.1 inner\r\nContent-Length: 0\r\n\r\n"
    )
    asked = (
        b"GET /s/x HTTP/1.1\r\nHost: shop\r\nConnection: close, X-Hop\r\nConnection: cookie\r\nX-Hop: 1\r\nCookie: a=b\r\n"
        b"TE: trailers\r\nTrailer: X-T\r\nKeep-Alive: 5\r\nProxy-Authorization: Basic x\r\nX-End: 1\r\nVia: 1.0 front\r\n\r\n"
    )
    dropped = ("X-Hop", "X-Other", "Keep-Alive", "Upgrade", "Trailer", "TE", "Cookie")
    async with whole_gateway(store_url, tmp_path, script) as gateway:
        got = await gateway.send(asked)
        assert [name for name in (*dropped, "Proxy-Authenticate") if got.all(name)] == []
        assert (got["X-End"], got["Via"], got["Connection"]) == (b"1", b"1.1 inner", b"close")
        assert [name for name in (*dropped, "Proxy-Authorization", "Connection") if gateway.sent(name)] == []
        assert gateway.sent("X-End") == [b"1"]
        assert gateway.sent("Via") == [b"1.0 front, 1.1 peakgate"]
