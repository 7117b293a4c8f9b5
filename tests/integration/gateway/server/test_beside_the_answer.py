"""Whatever is done beside a response may fail: the client gets the response all the same, and the connection goes on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.http.contained import FAILURES
from gateway.http.endpoint import Endpoint
from gateway.http.message import Request, Response, StreamedResponse, after
from gateway.pipeline.access_log import AccessLog
from tests.integration.gateway.small_server import Small, get, post, small_server
from tests.waiting import until

ALL: Any = dict.fromkeys(("ok", "rejected", "client_error", "server_error"), 1.0)
EVERYTHING = ("address", "path", "query", "shopper", "user_agent")
ROUTES = ["/plain", "/hop", "/slow-echo", "/big"]


@pytest.fixture(autouse=True)
def _forget_failures() -> None:
    FAILURES.counts.clear()
    FAILURES.logged_kinds.clear()


def sent_to(route: str, *headers: str) -> bytes:
    return post(route, b"x", *headers) if route == "/slow-echo" else get(route, *headers)


def fails(*_arguments: object) -> None:
    raise ZeroDivisionError("broken on purpose")


class BrokenStats:
    def add(self, _status: int, _elapsed_s: float) -> None:
        fails()


@pytest.mark.parametrize("route", ROUTES)
async def test_a_failing_access_log_is_counted_and_logged_once(route: str, caplog: pytest.LogCaptureFixture) -> None:
    async with small_server() as server, await server.client() as client:
        server.edge.access_log = fails
        for _ in range(3):
            assert (await client.request(sent_to(route))).status == 200
        await until(lambda: FAILURES.counts["the access log"] == 3)
    assert [record.levelname for record in caplog.records] == ["ERROR"]


@pytest.mark.parametrize("route", ROUTES)
async def test_failing_statistics_of_routes_are_counted(route: str) -> None:
    async with small_server() as server, await server.client() as client:
        broken: Any = BrokenStats()
        for endpoint in server.edge.router.endpoints:
            endpoint.stats = broken
        for _ in range(3):
            assert (await client.request(sent_to(route))).status == 200
        await until(lambda: FAILURES.counts["the statistics of routes"] == 3)


async def _answer(_request: Request) -> Response:
    return Response(200, b"whole")


def with_failing_layer(_small: Small) -> list[Endpoint]:
    return [
        Endpoint("GET", "/at-once", after(lambda _request: Response(200, b"whole"), fails, "a layer")),  # type: ignore[arg-type]
        Endpoint("GET", "/awaited", after(_answer, fails, "a layer")),  # type: ignore[arg-type]
    ]


@pytest.mark.parametrize("route", ["/at-once", "/awaited"])
async def test_a_response_is_sent_without_what_a_failing_layer_would_add(route: str) -> None:
    async with small_server(more_endpoints=with_failing_layer) as server, await server.client() as client:
        assert (await client.request(get(route))).body == b"whole"
        assert (await client.request(get("/plain"))).status == 200
    assert FAILURES.counts["a layer"] == 1


async def _pieces() -> AsyncIterator[bytes]:
    yield b"piece"


def unsendable(_small: Small) -> list[Endpoint]:
    text: Any = "text in place of bytes"
    whole = Response(200, b"x", header_block=text)
    long = Response(200, b"x" * 100_000, header_block=text)

    async def stream(_request: Request) -> Response:
        chunks: Any = _pieces()
        return StreamedResponse(200, chunks, header_block=text, content_type=b"text/plain")

    return [
        Endpoint("GET", "/whole", lambda _request: whole),
        Endpoint("GET", "/long", lambda _request: long),
        Endpoint("GET", "/streamed", stream, hot=False),
    ]


@pytest.mark.parametrize("route", ["/whole", "/long", "/streamed"])
async def test_a_response_that_cannot_be_sent_does_not_hold_its_connection(route: str) -> None:
    async with small_server(more_endpoints=unsendable) as server, await server.client() as client:
        await client.send(get(route))
        await client.closed()
        await until(lambda: not server.edge.connections)


async def test_a_handler_that_awaits_when_its_client_has_closed_is_counted() -> None:
    async def stubborn(_request: Request) -> Response:
        while True:
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                await asyncio.get_running_loop().create_future()

    def endpoints(_small: Small) -> list[Endpoint]:
        return [Endpoint("GET", "/stubborn", stubborn)]

    async with small_server(more_endpoints=endpoints) as server:
        async with await server.client() as client:
            await client.send(get("/stubborn"))
        await until(lambda: sum(FAILURES.counts.values()) == 1)
        await until(lambda: not server.edge.connections)


@pytest.mark.parametrize("route", ROUTES)
async def test_a_user_agent_of_any_bytes_is_answered_and_logged_escaped(route: str, tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    log = AccessLog(ALL, slow_s=1.0, file=str(path), personal_fields=EVERYTHING)
    head = sent_to(route, "User-Agent: FM-zt?l/1.0").replace(b"?l", b"\xf8l")
    async with small_server() as server, await server.client() as client:
        server.edge.access_log = log
        for _ in range(2):
            assert (await client.request(head)).status == 200
        await until(lambda: path.exists() and path.read_bytes().count(rb"FM-zt\\xf8l/1.0") == 2)
    await log.close()
    assert not FAILURES.counts


async def test_the_log_of_failures_does_not_flood(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(1000):
        FAILURES.add("a part", ValueError("x"))
        FAILURES.add("a part", TypeError("x"))
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 2
    [family] = FAILURES.metrics()
    assert [(sample.labels, sample.value) for sample in family.samples] == [({"part": "a part"}, 2000.0)]
