"""Stopping without losing a response."""

from __future__ import annotations

import asyncio

import pytest

from gateway.server import server as server_module
from tests.integration.gateway.small_server import get, small_server
from tests.waiting import WITHIN_S, until

BEGUN = b"GET /plain HTTP/1.1\r\nHost: shop\r\n"


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unused connections are closed soon."""
    monkeypatch.setattr(server_module, "_UNUSED_S", 0.05)


@pytest.mark.parametrize("route", ["/wait", "/slow"])
async def test_an_answer_in_the_making_is_finished_and_says_that_it_is_the_last(route: str) -> None:
    async with small_server() as server, await server.client() as client:
        await client.send(get(route))
        await until(lambda: server.running)
        draining = asyncio.create_task(server.edge.drain(10.0))
        await until(lambda: server.edge.is_draining)
        assert await client.is_silent()
        server.gate.set()
        response = await client.response()
        assert response.status == 200
        assert response.closes
        await client.closed()
        await draining


async def test_idle_connections_are_closed_and_the_drain_is_over() -> None:
    async with small_server() as server:
        clients = [await server.client() for _ in range(5)]
        for client in clients[1:]:
            await client.request(get("/plain"))
        await server.edge.drain(10.0)
        for client in clients:
            await client.closed()
            client.writer.close()


async def test_a_request_that_comes_while_draining_is_answered_as_the_last() -> None:
    async with small_server() as server, await server.client() as busy, await server.client() as idle:
        await busy.send(get("/wait"))
        await until(lambda: server.running)
        draining = asyncio.create_task(server.edge.drain(10.0))
        await until(lambda: server.edge.is_draining)
        response = await idle.request(get("/plain"))
        assert response.status == 200
        assert response.closes
        await idle.closed()
        server.gate.set()
        assert (await busy.response()).status == 200
        await draining


async def test_a_request_that_is_coming_is_awaited() -> None:
    async with small_server() as server, await server.client() as client:
        await client.send(BEGUN)
        draining = asyncio.create_task(server.edge.drain(10.0))
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await until(lambda: loop.time() - begun > 0.15)
        response = await client.request(b"\r\n", method="GET")
        assert response.status == 200
        assert response.closes
        await draining


async def test_pipelined_requests_end_with_the_first_answer_that_says_so() -> None:
    async with small_server() as server, await server.client() as client:
        await client.send(get("/wait"), get("/plain"))
        await until(lambda: server.running)
        draining = asyncio.create_task(server.edge.drain(10.0))
        await until(lambda: server.edge.is_draining)
        server.gate.set()
        assert (await client.response()).closes
        await client.closed()
        await draining
        assert server.finished == [""]


@pytest.mark.parametrize("route", ["/wait", "/slow", "/stream"])
async def test_a_request_that_does_not_end_in_time_is_cut_off(route: str) -> None:
    async with small_server() as server, await server.client() as client:
        await client.send(get(route))
        await until(lambda: server.running or client.reader._buffer)  # type: ignore[attr-defined]
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await server.edge.drain(0.1)
        # The loop's clock counts milliseconds.
        assert 0.1 <= round(loop.time() - begun, 3) < 5.0
        try:
            async with asyncio.timeout(WITHIN_S):
                await client.reader.read()
        except ConnectionError:
            pass


async def test_a_stream_ends_in_good_order() -> None:
    async with small_server() as server, await server.client() as client:
        await client.send(get("/endless-stream"))
        await until(lambda: server.running)
        draining = asyncio.create_task(server.edge.drain(10.0))
        response = await client.response()
        assert response.body.startswith(b":\n\n")
        await client.closed()
        await draining
        assert not server.running


async def test_a_drain_of_nothing_is_over_at_once() -> None:
    async with small_server() as server:
        async with asyncio.timeout(30.0):
            await server.edge.drain(3600.0)
