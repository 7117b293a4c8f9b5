"""One request with its retries, over connections whose other end is the test."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

import pytest

from gateway.config.policies import Upstream
from gateway.http.message import Response
from gateway.proxy.connection import Connection
from gateway.proxy.exchange import Exchange
from gateway.proxy.outcomes import Outcomes
from gateway.proxy.ports import NO_GUARD
from gateway.proxy.request_head import RequestHeads
from gateway.proxy.upstream import ActiveUpstream
from tests.integration.gateway.proxy.raw_upstream import request, rule
from tests.unit.gateway.proxy.test_connection import OK, Wire
from tests.virtual_time import in_virtual_time

TLS = ssl.create_default_context()
A, B = "10.0.0.1", "10.0.0.2"


class ScriptedWire(Wire):
    """Calls `on_request` with each request."""

    def __init__(self, on_request: Callable[[bytes], None]) -> None:
        super().__init__()
        self._on_request = on_request

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._on_request(bytes(data))


class Servers:
    """Opens connections; `serve(host, number, connection, request)` is called for each request on connection `number`."""

    def __init__(self, serve: Callable[[str, int, Connection, bytes], None]) -> None:
        self._serve = serve
        self.requests: list[tuple[str, bytes]] = []
        self._opened = 0

    async def create_connection(self, factory: Callable[[], Any], host: str, *_: object, **_options: object) -> object:
        connection: Connection = factory()
        number = self._opened
        self._opened += 1

        def received(data: bytes) -> None:
            self.requests.append((host, data))
            asyncio.get_running_loop().call_soon(self._serve, host, number, connection, data)

        connection.connection_made(ScriptedWire(received))
        return None, connection


def respond(connection: Connection) -> None:
    connection.data_received(OK)


class Client:
    """Sends requests to two targets, of which the first is chosen wherever they are equal."""

    def __init__(self, servers: Servers, *, retries: int = 1) -> None:
        asyncio.get_running_loop().create_connection = servers.create_connection  # type: ignore[method-assign, assignment]
        table = Upstream(name="shop", targets=(f"http://{A}", f"http://{B}"))
        self.upstream = ActiveUpstream(table, tls=TLS, chance=lambda: 0.0)
        forward = rule(retries=retries)
        self._heads = RequestHeads(forward, is_trusted=lambda _peer: False)
        self._exchange = Exchange(forward, self.upstream, Outcomes(self.upstream, NO_GUARD, forward.timeout_s))

    async def send(self) -> Response:
        asked = request()
        return await self._exchange.send(asked, self._heads.of(asked, 0))


@in_virtual_time
async def test_a_stale_connection_is_replaced_once_free_even_to_the_same_target() -> None:
    served: set[int] = set()

    def serve(_host: str, number: int, connection: Connection, _request: bytes) -> None:
        if number in served:
            connection.connection_lost(None)
        else:
            served.add(number)
            respond(connection)

    servers = Servers(serve)
    client = Client(servers, retries=0)
    assert (await client.send()).status == 200
    assert (await client.send()).status == 200
    assert [host for host, _ in servers.requests] == [A, A, A]
    assert client.upstream.retries == {"free": 1}
    assert client.upstream.targets[0].health.state == "healthy"
    await client.upstream.close()


@in_virtual_time
async def test_a_second_stale_connection_counts_as_a_retry() -> None:
    served: set[int] = set()

    def serve(_host: str, number: int, connection: Connection, _request: bytes) -> None:
        if number in served:
            connection.connection_lost(None)
        else:
            served.add(number)
            respond(connection)

    client = Client(Servers(serve), retries=0)
    pool = client.upstream.targets[0].pool
    for connection in [await pool.obtain(1e9), await pool.obtain(1e9), await pool.obtain(1e9)]:
        await connection.request(b"", is_bodiless=False, deadline=1e9, idle_timeout_s=1.0)
    assert (await client.send()).status == 502
    assert client.upstream.retries == {"free": 1}
    assert client.upstream.outcomes == {"closed": 1}
    await client.upstream.close()


@in_virtual_time
async def test_a_retry_goes_to_another_target_with_the_time_that_is_left() -> None:
    def serve(host: str, _number: int, connection: Connection, _request: bytes) -> None:
        if host == B:
            respond(connection)
        else:
            asyncio.get_running_loop().call_later(0.125, connection.connection_lost, None)

    servers = Servers(serve)
    client = Client(servers)
    assert (await client.send()).status == 200
    assert [host for host, _ in servers.requests] == [A, B]
    assert b"\r\nRequest-Timeout-Ms: 300\r\n" in servers.requests[0][1]
    assert b"\r\nRequest-Timeout-Ms: 175\r\n" in servers.requests[1][1]
    assert client.upstream.retries == {"budgeted": 1}
    await client.upstream.close()


@in_virtual_time
@pytest.mark.parametrize("retries", [0, 1, 2])
async def test_the_number_of_retries_is_that_of_the_rule(retries: int) -> None:
    servers = Servers(lambda _host, _number, connection, _request: connection.connection_lost(None))
    client = Client(servers, retries=retries)
    assert (await client.send()).status == 502
    assert len(servers.requests) == 1 + retries
    await client.upstream.close()
