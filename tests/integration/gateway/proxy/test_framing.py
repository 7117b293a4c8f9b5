"""The framing of bodies does not depend on the packets that they arrive in, in neither direction."""

from __future__ import annotations

import asyncio

import pytest

from tests.integration.gateway.proxy.raw_upstream import OK, Peer, always, once
from tests.integration.gateway.proxy.test_through_the_server import front
from tests.integration.gateway.small_server import chunked, get, post
from tests.waiting import until

FORM = b"name=Ada&city=Bath"


def head_of(request: bytes) -> bytes:
    return request.partition(b"\r\n\r\n")[0]


@pytest.mark.parametrize("segments", [1, 2, 18])
async def test_a_form_reaches_the_upstream_with_its_length_in_however_many_segments_it_came(segments: int) -> None:
    async with front(always(OK)) as made:
        client = await made.client()
        request = post("/shop/", FORM)
        start = len(request) - len(FORM)
        step = -(-len(FORM) // segments)
        await client.send(request[:start])
        for at in range(start, len(request), step):
            await asyncio.sleep(0)
            await client.send(request[at : at + step])
        assert (await client.response()).body == b"ok"
        sent = made.upstream.requests[0]
        assert b"\r\nContent-Length: %d\r\n" % len(FORM) in sent
        assert b"Transfer-Encoding" not in sent
        assert sent.endswith(b"\r\n\r\n" + FORM)


async def test_a_short_chunked_body_reaches_the_upstream_with_a_length() -> None:
    async with front(always(OK)) as made:
        client = await made.client()
        assert (await client.request(chunked("/shop/", b"one", b"three"))).body == b"ok"
        sent = made.upstream.requests[0]
        assert b"\r\nContent-Length: 8\r\n" in sent
        assert sent.endswith(b"\r\n\r\nonethree")


async def test_a_short_body_takes_no_upstream_connection_before_it_is_whole() -> None:
    async with front(always(OK)) as made:
        client = await made.client()
        request = post("/shop/", FORM)
        await client.send(request[:-1])
        other = await made.client()
        assert (await other.request(get("/own"))).body == b'"own"'
        assert made.upstream.connections == 0
        await client.send(request[-1:])
        assert (await client.response()).body == b"ok"


async def test_a_small_put_in_pieces_is_retried() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        if peer.number > 1:
            await peer.send(OK)

    async with front(script) as made:
        client = await made.client()
        request = post("/shop/", FORM, method="PUT")
        await client.send(request[:-5])
        await client.send(request[-5:])
        assert (await client.response()).body == b"ok"
        assert made.upstream.connections == 2


async def test_a_response_in_segments_has_the_framing_of_one_that_arrives_at_once() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with front(once(head, b"3\r\nfoo\r\n", b"3\r\nbar\r\n", b"0\r\n\r\n")) as made:
        in_segments = await (await made.client()).request(get("/shop/"))
    async with front(once(head + b"3\r\nfoo\r\n3\r\nbar\r\n0\r\n\r\n")) as made:
        at_once = await (await made.client()).request(get("/shop/"))
    for got in (in_segments, at_once):
        assert (got.body, got["Content-Length"]) == (b"foobar", "6")


async def test_a_get_with_a_body_is_the_last_request_of_its_upstream_connection() -> None:
    async with front(always(OK)) as made:
        client = await made.client()
        for method in ("GET", "DELETE", "OPTIONS"):
            assert (await client.request(post("/shop/", b"x", method=method))).body == b"ok"
        assert made.upstream.connections == 3
        assert (await client.request(post("/shop/", b"x"))).body == b"ok"
        assert (await client.request(get("/shop/"))).body == b"ok"
        assert made.upstream.connections == 4


async def test_a_smuggled_request_in_the_body_of_a_get_stays_a_body() -> None:
    inner = b"GET /smuggled HTTP/1.1\r\nHost: shop\r\n\r\n"
    async with front(always(OK)) as made:
        client = await made.client()
        assert (await client.request(chunked("/shop/", inner, method="GET"))).body == b"ok"
        assert (await client.request(get("/shop/next"))).body == b"ok"
        first, second = made.upstream.requests
        assert b"\r\nContent-Length: %d\r\n" % len(inner) in head_of(first)
        assert second.startswith(b"GET /shop/next ")
        assert made.upstream.connections == 2


async def test_early_hints_reach_the_client_before_the_response() -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
    async with front(always(hints + OK)) as made:
        client = await made.client()
        await client.send(get("/shop/"))
        assert await client.reader.readuntil(b"\r\n\r\n") == hints
        assert (await client.response()).body == b"ok"


async def test_early_hints_are_not_sent_to_http_1_0() -> None:
    async with front(always(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n" + OK)) as made:
        client = await made.client()
        got = await client.request(b"GET /shop/ HTTP/1.0\r\nHost: shop\r\n\r\n")
        assert (got.status, got.body) == (200, b"ok")


async def test_one_slow_client_does_not_take_the_upstream_from_the_others() -> None:
    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(OK)

    async with front(script, table={"max_connections": 8}) as made:
        for _ in range(20):
            slow = await made.client()
            await slow.send(get("/shop/", "Content-Length: 1000000", method="POST"), b"begun")
        await until(lambda: made.gate.upstream.outcomes["streams_full"] == 19)
        other = await made.client()
        assert (await other.request(get("/shop/"))).body == b"ok"


async def test_slow_readers_do_not_take_the_upstream_from_the_others() -> None:
    long = b"HTTP/1.1 200 OK\r\nContent-Length: 30000000\r\n\r\n" + bytes(30_000_000)

    async def script(peer: Peer) -> None:
        while True:
            asked = await peer.request()
            peer.writer.write(long if b"/long" in asked else OK)

    async with front(script, table={"max_connections": 8}) as made:
        for _ in range(20):
            await (await made.client()).send(get("/shop/long"))
        await until(lambda: made.gate.upstream.outcomes["streams_full"] == 19)
        other = await made.client()
        assert (await other.request(get("/shop/"))).body == b"ok"
