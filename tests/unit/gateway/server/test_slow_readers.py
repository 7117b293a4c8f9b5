"""A connection over a transport of the test, whose client reads as slowly as the test lets it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from gateway.http.endpoint import Endpoint
from gateway.http.message import Request, Response, StreamedResponse
from gateway.http.router import Router
from gateway.server.connection import Connection
from gateway.server.context import ServerContext
from tests.waiting import until

PIECE_BYTES = 5 * 1024
SEND_TIMEOUT_S = 30.0


class Client(asyncio.Transport):
    """The transport to a client that reads when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.unsent_bytes = 0
        self.is_aborted = False
        self.connection: Connection

    def write(self, data: Any) -> None:
        self.unsent_bytes += len(data)
        self.connection.pause_writing()

    def read(self) -> None:
        """Read all that was written."""
        self.unsent_bytes = 0
        self.connection.resume_writing()

    def get_write_buffer_size(self) -> int:
        return self.unsent_bytes

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def is_closing(self) -> bool:
        return self.is_aborted

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def abort(self) -> None:
        self.is_aborted = True
        self.connection.connection_lost(None)


async def endless() -> AsyncGenerator[bytes, None]:
    while True:
        yield bytes(PIECE_BYTES)


async def serve(_request: Request) -> Response:
    return StreamedResponse(200, endless(), content_type=b"text/plain")


async def connected() -> Client:
    context = ServerContext(
        Router([Endpoint("GET", "/", serve)]),
        keepalive_s=75.0,
        receive_timeout_s=10.0,
        send_timeout_s=SEND_TIMEOUT_S,
        linger_s=0.0,
    )
    client = Client()
    client.connection = Connection(context)
    client.connection.connection_made(client)
    client.connection.data_received(b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
    await until(lambda: client.unsent_bytes)
    return client


async def readings(client: Client, every_s: float, count: int) -> int:
    """How many pieces a client gets that reads one at this interval."""
    started_at = asyncio.get_running_loop().time()
    client.connection.check(started_at)
    for number in range(1, count + 1):
        client.connection.check(started_at + number * every_s)
        if client.is_aborted:
            return number - 1
        client.read()
        await until(lambda: client.unsent_bytes)
        # As if it had begun to wait at that time.
        client.connection._unsent_since = started_at + number * every_s
    return count


async def test_a_reader_that_is_slower_than_the_pace_is_cut_off_though_it_reads_each_piece_in_time() -> None:
    client = await connected()
    assert await readings(client, SEND_TIMEOUT_S - 1, 100) < 3
    assert client.is_aborted


async def test_a_reader_at_the_pace_is_served_for_ever() -> None:
    client = await connected()
    assert await readings(client, PIECE_BYTES / 1024, 100) == 100
    client.abort()
