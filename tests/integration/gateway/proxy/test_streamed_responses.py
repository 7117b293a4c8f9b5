from __future__ import annotations

import asyncio

import pytest

from gateway.http.message import StreamedResponse
from gateway.proxy.body_stream import HIGH_WATER, BodyStream
from tests.integration.gateway.proxy.raw_upstream import OK, Peer, always, forwarding, whole
from tests.waiting import until

PIECE = bytes(range(256)) * 256
# One read of the event loop may come on top of the high-water mark.
ONE_READ = 256 * 1024


async def endless(peer: Peer) -> None:
    await peer.request()
    peer.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % 10**10)
    while True:
        peer.writer.write(PIECE)
        await peer.writer.drain()


async def test_a_long_response_is_streamed_and_keeps_its_connection() -> None:
    body = PIECE * 20
    response = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    async with forwarding(always(response)) as (gate, servers):
        for _ in range(3):
            got = await gate.send()
            assert isinstance(got, StreamedResponse)
            assert (got.length, got.content_type) == (len(body), b"image/png")
            assert await whole(got) == body
        assert servers[0].connections == 1


async def test_a_long_chunked_response_has_no_length_and_arrives_whole() -> None:
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(PIECE), PIECE) for _ in range(5)) + b"0\r\n\r\n"
    response = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks
    async with forwarding(always(response)) as (gate, servers):
        for _ in range(3):
            got = await gate.send()
            assert isinstance(got, StreamedResponse)
            assert got.length is None
            assert await whole(got) == PIECE * 5
        assert servers[0].connections == 1


async def test_the_longest_buffered_response_is_not_streamed() -> None:
    body = bytes(64 * 1024)
    async with forwarding(always(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))) as (gate, _):
        got = await gate.send()
        assert not isinstance(got, StreamedResponse)
        assert got.body == body


async def test_an_endless_response_takes_bounded_memory_while_it_is_not_read() -> None:
    async with forwarding(endless) as (gate, servers):
        got = await gate.send()
        assert isinstance(got, StreamedResponse)
        body = got.chunks
        assert isinstance(body, BodyStream)
        for _ in range(3):
            await until(lambda: body.is_paused)
            assert HIGH_WATER < body.buffered_bytes <= HIGH_WATER + ONE_READ
            # It waits for its reader, however long that takes: nothing more is taken from the upstream meanwhile.
            held = body.buffered_bytes
            for _ in range(100):
                await asyncio.sleep(0)
            assert body.buffered_bytes == held
            while body.is_paused:
                await anext(body)
        await body.aclose()
        await until(lambda: servers[0].open == 0)


async def test_a_slow_reader_does_not_count_against_the_upstream() -> None:
    async with forwarding(endless, idle_timeout_s=0.06) as (gate, _):
        got = await gate.send()
        assert isinstance(got, StreamedResponse)
        body = got.chunks
        assert isinstance(body, BodyStream)
        await until(lambda: body.is_paused)
        connection = next(iter(gate.upstream.targets[0].pool._busy))
        assert connection.deadline == float("inf")
        await body.aclose()


async def test_a_client_that_disconnects_frees_the_connection_before_the_first_piece() -> None:
    async with forwarding(endless) as (gate, servers):
        for _ in range(3):
            got = await gate.send()
            assert isinstance(got, StreamedResponse)
            await got.chunks.aclose()
            await got.chunks.aclose()
            with pytest.raises(StopAsyncIteration):
                await anext(got.chunks)
            await until(lambda: servers[0].open == 0)
        assert gate.upstream.targets[0].outstanding == 0


async def test_pieces_are_passed_on_as_soon_as_they_arrive() -> None:
    go_on = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        await go_on.wait()
        await peer.send(b"6\r\nsecond\r\n0\r\n\r\n")
        await peer.closed()

    async with forwarding(script, timeout_s=20.0, idle_timeout_s=20.0) as (gate, _):
        got = await gate.send()
        assert isinstance(got, StreamedResponse)
        assert await anext(got.chunks) == b"first"
        go_on.set()
        assert await anext(got.chunks) == b"second"
        with pytest.raises(StopAsyncIteration):
            await anext(got.chunks)
        assert gate.upstream.targets[0].pool.idle == 1


async def test_an_endless_response_does_not_block_other_requests() -> None:
    async def script(peer: Peer) -> None:
        await (endless if peer.number == 1 else always(OK))(peer)

    async with forwarding(script) as (gate, _):
        long = await gate.send()
        assert isinstance(long, StreamedResponse)
        for _ in range(20):
            await anext(long.chunks)
            assert await gate.body_of() == b"ok"
        await long.chunks.aclose()
