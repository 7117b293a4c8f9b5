"""Bodies however they come: at once, in pieces, in chunks, asked for first, too large, too slow, or broken."""

from __future__ import annotations

import pytest

from tests.integration.gateway.small_server import SMALL, chunked, get, post, small_server

ROUTES = ["/echo", "/slow-echo"]


@pytest.mark.parametrize("route", ROUTES)
async def test_a_body_in_pieces_arrives_whole(route: str) -> None:
    async with small_server() as server, await server.client() as client:
        sent = post(route, bytes(range(256)) * 100)
        pieces = [sent[start : start + 1_000] for start in range(0, len(sent), 1_000)]
        assert (await client.request(*pieces)).body == bytes(range(256)) * 100
        assert (await client.request(get("/plain"))).status == 200


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("size", [1, 2, 7, 1_000_000])
async def test_a_body_in_chunks_cut_anywhere_arrives_whole(route: str, size: int) -> None:
    sent = chunked(route, b"one", b"\r\n\r\n0\r\n\r\n", b"three" * 50, trailers=b"Digest: x\r\nGreeting: y\r\n")
    async with small_server() as server, await server.client() as client:
        pieces = [sent[start : start + size] for start in range(0, len(sent), size)]
        assert (await client.request(*pieces)).body == b"one\r\n\r\n0\r\n\r\n" + b"three" * 50
        assert (await client.request(get("/plain"))).status == 200


async def test_chunks_may_carry_extensions() -> None:
    async with small_server() as server, await server.client() as client:
        head = get("/echo", "Transfer-Encoding: chunked", method="POST")
        assert (await client.request(head + b"3;colour=red\r\none\r\n0\r\n\r\n")).body == b"one"


# Asked for first


@pytest.mark.parametrize("route", ROUTES)
async def test_a_body_that_waits_to_be_wanted_is_asked_for(route: str) -> None:
    async with small_server() as server, await server.client() as client:
        await client.send(get(route, "Content-Length: 4", "Expect: 100-Continue", method="POST"))
        assert await client.interim() == 100
        await client.send(b"body")
        assert (await client.response()).body == b"body"
        assert (await client.request(get("/plain"))).status == 200


async def test_a_chunked_body_that_waits_to_be_wanted_is_asked_for() -> None:
    async with small_server() as server, await server.client() as client:
        await client.send(get("/echo", "Transfer-Encoding: chunked", "Expect: 100-continue", method="POST"))
        assert await client.interim() == 100
        await client.send(b"4\r\nbody\r\n0\r\n\r\n")
        assert (await client.response()).body == b"body"


async def test_a_body_too_large_is_not_asked_for() -> None:
    async with small_server() as server, await server.client() as client:
        sent = get("/small", f"Content-Length: {SMALL + 1}", "Expect: 100-continue", method="POST")
        refused = await client.request(sent)
        assert refused.status == 413
        assert refused.problem == "body-too-large"
        assert refused.closes
        await client.closed()


async def test_an_expectation_nobody_can_meet_is_refused() -> None:
    async with small_server() as server, await server.client() as client:
        refused = await client.request(get("/echo", "Content-Length: 4", "Expect: 200-ok", method="POST"))
        assert refused.status == 417
        assert refused.problem == "expectation-failed"


async def test_a_body_for_nothing_is_not_asked_for_in_vain() -> None:
    async with small_server() as server, await server.client() as client:
        await client.send(get("/nowhere", "Content-Length: 4", "Expect: 100-continue", method="POST"))
        assert await client.interim() == 100
        await client.send(b"body")
        assert (await client.response()).status == 404


# Too large


@pytest.mark.parametrize("route", ["/echo", "/slow-echo", "/nowhere", "/plain"])
async def test_a_length_beyond_the_limit_is_refused_before_it_comes(route: str) -> None:
    async with small_server() as server, await server.client() as client:
        refused = await client.request(get(route, "Content-Length: 65537", method="POST"))
        assert refused.problem == "body-too-large"
        assert refused.status == 413
        assert refused.closes
        await client.closed()


@pytest.mark.parametrize("route", ROUTES)
async def test_a_body_of_64_kib_fits(route: str) -> None:
    async with small_server() as server, await server.client() as client:
        assert len((await client.request(post(route, b"x" * 65_536))).body) == 65_536


@pytest.mark.parametrize("pieces", [1, 50])
async def test_chunks_beyond_the_limit_are_refused(pieces: int) -> None:
    # The client is still sending when it is refused: on a busy machine for longer than servers of tests listen on.
    async with small_server(linger_s=1.0) as server, await server.client() as client:
        sent = get("/echo", "Transfer-Encoding: chunked", method="POST") + b"1000\r\n" + b"x" * 4096 + b"\r\n"
        sent += (b"1000\r\n" + b"x" * 4096 + b"\r\n") * 40
        size = len(sent) // pieces + 1
        refused = await client.request(*[sent[start : start + size] for start in range(0, len(sent), size)])
        assert refused.problem == "body-too-large"
        await client.closed()


async def test_a_body_far_too_large_that_is_sent_all_the_same_does_not_lose_the_answer() -> None:
    async with small_server() as server, await server.client() as client:
        client.writer.write(post("/echo", b"x" * 3_000_000))
        assert (await client.response(method="POST")).problem == "body-too-large"
        await client.closed()


# Too slow


@pytest.mark.parametrize("route", [*ROUTES, "/nowhere"])
@pytest.mark.parametrize("begun", [b"", b"bo"])
async def test_a_body_that_does_not_come_is_given_up(route: str, begun: bytes) -> None:
    async with small_server(receive_timeout_s=0.05) as server, await server.client() as client:
        refused = await client.request(get(route, "Content-Length: 4", method="POST") + begun)
        assert refused.status == 408
        assert refused.problem == "request-timeout"
        assert refused.closes
        await client.closed()


async def test_a_body_that_dribbles_is_given_up() -> None:
    async with small_server(receive_timeout_s=0.1) as server, await server.client() as client:
        await client.send(get("/echo", "Content-Length: 40000", method="POST"))
        while not client.reader._buffer:  # type: ignore[attr-defined]
            await client.send(b"x")
        assert (await client.response()).status == 408
        await client.closed()


# Broken


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param(b"zz\r\nxx\r\n0\r\n\r\n", id="size-no-number"),
        pytest.param(b"-1\r\nx\r\n0\r\n\r\n", id="size-negative"),
        pytest.param(b"ffffffffffffffffff\r\nx", id="size-beyond-all"),
        pytest.param(b"1\r\nxx\r\n0\r\n\r\n", id="longer-than-its-size"),
        pytest.param(b"1 \r\nx\r\n0\r\n\r\n", id="space-after-the-size"),
        pytest.param(b"0\r\nno trailer\r\n\r\n", id="trailer-no-header"),
    ],
)
@pytest.mark.parametrize("apart", [True, False])
async def test_broken_chunks_are_a_malformed_request(route: str, chunks: bytes, apart: bool) -> None:
    async with small_server() as server, await server.client() as client:
        head = get(route, "Transfer-Encoding: chunked", method="POST")
        refused = await client.request(*([head, chunks] if apart else [head + chunks]))
        assert refused.status == 400
        assert refused.problem == "malformed-request"
        assert refused.closes
        await client.closed()


async def test_a_broken_body_behind_a_slow_request_is_refused_after_it() -> None:
    async with small_server() as server, await server.client() as client:
        await client.send(get("/slow") + get("/echo", "Transfer-Encoding: chunked", method="POST"), b"zz\r\n")
        assert await client.is_silent()
        server.gate.set()
        assert (await client.response()).body == b"slow"
        assert (await client.response()).status == 400
        await client.closed()


@pytest.mark.parametrize("route", ROUTES)
async def test_a_client_that_closes_within_a_body_leaves_no_state(route: str, caplog: pytest.LogCaptureFixture) -> None:
    async with small_server() as server:
        async with await server.client() as client:
            await client.send(get(route, "Content-Length: 100", method="POST"), b"half")
        async with await server.client() as client:
            assert (await client.request(get("/plain"))).status == 200
    assert not caplog.records
