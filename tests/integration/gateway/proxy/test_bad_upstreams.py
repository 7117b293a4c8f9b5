from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.http.message import BodyTooSlow, StreamedResponse
from gateway.proxy.errors import BadResponse, ResponseTimeout, Truncated
from tests.integration.gateway.proxy.raw_upstream import OK, Peer, forwarding, once, request, unused_url, whole
from tests.waiting import until

BIG = 100_000


async def hang(peer: Peer) -> None:
    await peer.request()
    await peer.closed()


async def reset(peer: Peer) -> None:
    await peer.request()
    peer.reset()


NO_ANSWERS = {
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    "HTTP/2": b"HTTP/2 200 OK\r\n\r\n",
    "a status of four digits": b"HTTP/1.1 2000 OK\r\n\r\n",
    "both lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "both lengths, the other way round": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n"
    ),
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!",
    "a length twice": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
    "a list of lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
    "a negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
    "a length with a sign": b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
    "a coding within a coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a coding twice": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks in HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a folded line": b"HTTP/1.1 200 OK\r\nX-Long: one\r\n two\r\nContent-Length: 2\r\n\r\nok",
    "a space before the colon": b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
    "a bare line feed": b"HTTP/1.1 200 OK\r\nX: one\nY: two\r\nContent-Length: 2\r\n\r\nok",
    "a bare carriage return": b"HTTP/1.1 200 OK\r\nX: one\rY: two\r\nContent-Length: 2\r\n\r\nok",
    "a NUL": b"HTTP/1.1 200 OK\r\nX: one\x00\r\nContent-Length: 2\r\n\r\nok",
    "a header section without end": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000,
    "a header section that is too large": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
    "another protocol": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "interim responses without end": b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000,
    "two types": b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Type: text/html\r\nContent-Length: 0\r\n\r\n",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "half a short body": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok",
    "an interim response and no other": b"HTTP/1.1 100 Continue\r\n\r\n",
}


@pytest.mark.parametrize("sent", NO_ANSWERS.values(), ids=NO_ANSWERS.keys())
async def test_an_invalid_response_is_a_502_and_is_not_retried(sent: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(sent)
        if not sent.endswith((b"Content-Le", b"ok", b"100 Continue\r\n\r\n")):
            await peer.closed()  # the gateway must close by itself

    async with forwarding(script) as (gate, servers):
        response = await gate.send()
        assert response.status == 502
        await until(lambda: servers[0].open == 0)
        assert len(servers[0].requests) == 1
        assert gate.upstream.targets[0].pool.idle == 0


async def test_an_upstream_that_hangs_is_a_504() -> None:
    async with forwarding(hang) as (gate, servers):
        response = await gate.send()
        assert response.status == 504
        await until(lambda: servers[0].open == 0)
        assert gate.upstream.outcomes["timeout"] == 1


async def test_an_upstream_that_hangs_in_a_short_body_is_a_504() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok")
        await peer.closed()

    async with forwarding(script) as (gate, _):
        assert (await gate.send()).status == 504


async def test_a_short_body_that_trickles_times_out_as_a_whole() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n")
        while not peer.writer.is_closing():
            await peer.send(b"x")
            await asyncio.sleep(0.01)

    async with forwarding(script) as (gate, _):
        assert (await gate.send()).status == 504


async def test_a_reset_is_a_502_and_is_retried_if_allowed() -> None:
    async with forwarding(reset, retries=2) as (gate, servers):
        assert (await gate.send()).status == 502
        assert len(servers[0].requests) == 3
        assert (await gate.send(request("POST", body=b"{}"))).status == 502
        assert len(servers[0].requests) == 4


@pytest.mark.parametrize(
    "sent",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\nbegun" % BIG,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Accel-Buffering: no\r\n\r\n5\r\nbegun\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Accel-Buffering: no\r\n\r\n9\r\nbegun",
    ],
)
async def test_a_truncated_stream_never_looks_complete(sent: bytes) -> None:
    async with forwarding(once(sent)) as (gate, _):
        response = await gate.send()
        assert isinstance(response, StreamedResponse)
        assert await anext(response.chunks) == b"begun"
        with pytest.raises(Truncated):
            await anext(response.chunks)
        assert gate.upstream.targets[0].truncated_streams == 1


async def test_a_reset_truncates_a_body_that_ends_with_its_connection() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\nbegun")
        await begun.wait()
        peer.reset()

    begun = asyncio.Event()
    async with forwarding(script) as (gate, _):
        response = await gate.send()
        assert isinstance(response, StreamedResponse)
        assert await anext(response.chunks) == b"begun"
        begun.set()
        with pytest.raises(Truncated):
            await anext(response.chunks)


@pytest.mark.parametrize(
    "bad",
    [
        b"zz\r\n",
        b"5\r\nbegun!!",
        b"-1\r\n",
        b"0x5\r\nbegun\r\n",
        b"5;" + b"x" * 2000,
        b"0\r\nno trailer\r\n\r\n",
        b"5\nbegun\n",
    ],
)
async def test_malformed_chunks_truncate_the_response(bad: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n", bad)
        await peer.closed()

    async with forwarding(script) as (gate, servers):
        response = await gate.send()
        if not isinstance(response, StreamedResponse):
            assert response.status == 502  # both pieces came at once
            return
        with pytest.raises(BadResponse):
            await whole(response)
        await until(lambda: servers[0].open == 0)


async def test_a_streamed_body_that_stops_times_out() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\nbegun" % BIG)
        await peer.closed()

    async with forwarding(script) as (gate, servers):
        response = await gate.send()
        with pytest.raises(ResponseTimeout):
            await whole(response)
        await until(lambda: servers[0].open == 0)


async def test_bytes_after_a_response_close_the_connection_and_keep_the_response() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        await peer.closed()

    async with forwarding(script) as (gate, servers):
        for _ in range(3):
            assert await gate.body_of() == b"ok"
        assert servers[0].connections == 3


async def test_bytes_without_a_request_close_the_connection() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await until(lambda: idle() == 1 or peer.number > 1)
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        await peer.closed()

    async with forwarding(script) as (gate, servers):

        def idle() -> int:
            return gate.upstream.targets[0].pool.idle

        assert await gate.body_of() == b"ok"
        await until(lambda: servers[0].open == 0)
        assert gate.upstream.targets[0].pool.idle == 0
        assert await gate.body_of() == b"ok"
        assert servers[0].connections == 2


async def test_a_refused_connection_is_a_502() -> None:
    async with forwarding(unused_url()) as (gate, _):
        response = await gate.send()
        assert response.status == 502
        assert b"127.0.0.1" not in response.body
        assert gate.upstream.outcomes["connect_failed"] == 1


async def test_a_response_in_single_bytes_is_parsed_like_any_other() -> None:
    response = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-One: 1\r\nContent-Length: 5\r\n\r\nhello"
    async with forwarding(once(*(bytes([byte]) for byte in response)), timeout_s=5.0, idle_timeout_s=5.0) as (gate, _):
        got = await gate.send()
        assert (got.status, got.content_type, got.header_block) == (200, b"text/plain", b"X-One: 1\r\n")
        assert got.body == b"hello"


async def test_truncated_streams_in_a_row_eject_the_target() -> None:
    script = once(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Accel-Buffering: no\r\n\r\n5\r\nhello\r\n")
    async with forwarding(script, table={"failures_to_eject": 2}) as (gate, _):
        for _ in range(2):
            assert gate.upstream.targets[0].health.state == "healthy"
            with pytest.raises(Truncated):
                await gate.body_of()
        assert gate.upstream.targets[0].health.state == "ejected"


async def test_a_fault_of_the_clients_body_truncates_a_streamed_response() -> None:
    is_begun = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"first"
        await is_begun.wait()
        raise BodyTooSlow

    async def script(peer: Peer) -> None:
        await peer.reader.readuntil(b"first")
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await peer.closed()

    asked = request("POST")
    asked.stream = body()
    async with forwarding(script, timeout_s=20.0, idle_timeout_s=20.0) as (gate, _):
        response = await gate.send(asked)
        assert isinstance(response, StreamedResponse)
        assert await anext(response.chunks) == b"hello"
        is_begun.set()
        with pytest.raises(Truncated):
            await anext(response.chunks)
