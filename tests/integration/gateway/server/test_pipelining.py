"""Requests sent one behind the other are answered in their order, whichever way each of them goes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import cast

import pytest

from gateway.server.connection import Connection
from gateway.server.http1 import MAX_PIPELINED_BYTES
from gateway.server.listeners import RECEIVE_BUFFER_BYTES
from tests.integration.gateway.small_server import Small, chunked, get, post, small_server
from tests.waiting import until

# One read of the socket, and the pipelined requests before it that did not stop the reading.
MAX_BUFFERED = MAX_PIPELINED_BYTES + 2 * RECEIVE_BUFFER_BYTES


async def test_hot_requests_of_one_segment_are_answered_in_order_and_once() -> None:
    async with small_server() as server, await server.client() as client:
        await client.send(b"".join(get(f"/about/{n}") for n in range(100)))
        assert [response.json()["params"] for response in await client.responses(100)] == [[str(n)] for n in range(100)]
        assert await client.is_silent()


async def test_a_hot_request_waits_for_the_hot_one_before_it() -> None:
    async with small_server() as server, await server.client() as client:
        await client.send(get("/wait"), get("/plain"), get("/about/3"))
        assert await client.is_silent()
        server.gate.set()
        assert [response.body[:8] for response in await client.responses(3)] == [b"waited", b'{"plain"', b'{"params']


async def test_a_hot_request_waits_for_the_slow_one_before_it() -> None:
    async with small_server() as server, await server.client() as client:
        await client.send(get("/slow") + get("/plain"), get("/plain"))
        assert await client.is_silent()
        server.gate.set()
        assert [response.body for response in await client.responses(3)] == [
            b"slow",
            b'{"plain":true}',
            b'{"plain":true}',
        ]


async def test_a_slow_request_waits_for_the_hot_one_before_it() -> None:
    async with small_server() as server, await server.client() as client:
        await client.send(get("/wait") + get("/slow"))
        assert await client.is_silent()
        assert server.running == 1
        server.gate.set()
        assert [response.body for response in await client.responses(2)] == [b"waited", b"slow"]


@pytest.mark.parametrize("seed", range(8))
async def test_a_mixture_in_pieces_of_any_size_is_answered_in_order(seed: int) -> None:
    chance = random.Random(seed)
    kinds: list[Callable[[int], tuple[bytes, str]]] = [
        lambda n: (get(f"/about/{n}"), f'{{"params":["{n}"]'),
        lambda n: (get(f"http://shop/about/{n}"), f'{{"params":["{n}"]'),
        lambda n: (post("/echo", b"body %d" % n), f"body {n}"),
        lambda n: (chunked("/echo", b"chunk ", b"%d" % n), f"chunk {n}"),
        lambda n: (post("/slow-echo", b"slow %d" % n), f"slow {n}"),
        lambda n: (get("/hop"), "hopped"),
        lambda n: (get("/nowhere"), '{"type":"/problems/not-found"'),
        lambda n: (post("/echo", b"x" * 30_000), "xxxx"),
    ]
    picked = [chance.choice(kinds)(n) for n in range(120)]
    stream = b"".join(sent for sent, _ in picked)
    async with small_server() as server, await server.client() as client:
        server.gate.set()
        while stream:
            size = chance.choice([1, 7, 100, 5_000, 60_000])
            await client.send(stream[:size])
            stream = stream[size:]
        for _, begins in picked:
            assert (await client.response()).body.decode().startswith(begins)
        assert await client.is_silent()


@pytest.mark.parametrize("first", ["/plain", "/wait", "/slow"])
@pytest.mark.parametrize("apart", [True, False])
async def test_a_malformed_request_is_rejected_after_the_responses_before_it(first: str, apart: bool) -> None:
    async with small_server() as server, await server.client() as client:
        pieces = [get(first), get("/about/2"), b"\0\0\0 nonsense\r\n\r\n", get("/plain?after")]
        await client.send(*(pieces if apart else [b"".join(pieces)]))
        if first != "/plain":
            assert await client.is_silent()
        server.gate.set()
        responses = await client.responses(3)
        assert [response.status for response in responses] == [200, 200, 400]
        assert responses[2].problem == "malformed-request"
        assert responses[2].closes
        await client.closed()
        assert "after" not in server.finished


async def test_garbage_after_a_running_request_is_not_buffered() -> None:
    async with small_server() as server, await server.client() as client:
        await client.send(get("/slow"))
        await until(lambda: server.running)
        for _ in range(50):
            await client.send(b"\0garbage\r\n\r\n" * 10)
        (connection,) = await connections(server)
        assert connection._http.buffered_bytes <= MAX_BUFFERED
        server.gate.set()
        assert [response.status for response in await client.responses(2)] == [200, 400]
        await client.closed()


async def test_a_refused_request_ends_those_behind_it() -> None:
    async with small_server() as server, await server.client() as client:
        await client.send(post("/small", b"x" * 100) + get("/plain"))
        assert (await client.response()).problem == "body-too-large"
        await client.closed()
        assert server.finished == []


async def test_the_last_request_ends_those_behind_it() -> None:
    async with small_server() as server, await server.client() as client:
        await client.send(get("/plain") + get("/plain?last", "Connection: close") + get("/plain?late"))
        assert [response.closes for response in await client.responses(2)] == [False, True]
        await client.closed()
        assert server.finished == ["", "last"]


async def test_a_client_that_does_not_read_is_not_read_from_either() -> None:
    async with small_server() as server, await server.client() as client:
        transport = cast(asyncio.Transport, client.writer.transport)
        transport.pause_reading()
        client.writer.write(get("/big") * 400)
        (connection,) = await connections(server)
        await until(lambda: connection._is_writing_paused and connection._is_reading_paused)
        finished = len(server.finished)
        assert finished < 300
        assert connection._http.buffered_bytes <= MAX_BUFFERED
        assert await client.is_silent()
        assert len(server.finished) == finished
        transport.resume_reading()
        for _ in range(400):
            assert len((await client.response()).body) == 100_000


async def test_thousands_of_requests_behind_a_slow_one_are_not_taken_in() -> None:
    async with small_server() as server, await server.client() as client:
        client.writer.write(get("/slow") + get("/plain") * 10_000)
        (connection,) = await connections(server)
        await until(lambda: connection._is_reading_paused)
        assert await client.is_silent()
        assert connection._http.buffered_bytes <= MAX_BUFFERED
        server.gate.set()
        assert (await client.response()).body == b"slow"
        for _ in range(10_000):
            assert (await client.response()).status == 200
        assert len(server.finished) == 10_001


async def connections(server: Small) -> list[Connection]:
    await until(lambda: server.edge.connections)
    return cast(list[Connection], list(server.edge.connections))


async def test_many_requests_with_bodies_in_pieces_do_not_stop_the_reading() -> None:
    """The parser counts the messages in flight; a body that comes later must not be counted for ever."""
    async with small_server() as server, await server.client() as client:
        for n in range(40):
            whole = post("/echo", b"body %d" % n)
            head, _, body = whole.partition(b"\r\n\r\n")
            assert (await client.request(head + b"\r\n\r\n", body)).body == b"body %d" % n
        await client.send(b"".join(get(f"/about/{n}") for n in range(100)))
        for n in range(100):
            assert (await client.response()).json()["params"] == [str(n)]


async def test_requests_held_back_while_many_wait_all_get_their_answers() -> None:
    async with small_server() as server, await server.client() as client:
        await client.send(get("/slow"))
        await until(lambda: server.running)
        for n in range(300):
            await client.send(get(f"/about/{n}"))
        server.gate.set()
        assert (await client.response()).body == b"slow"
        for n in range(300):
            assert (await client.response()).json()["params"] == [str(n)]
