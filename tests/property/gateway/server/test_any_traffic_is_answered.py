"""Whatever a client sends: one response for each request, in order, or a closed connection; without a socket."""

from __future__ import annotations

import asyncio
import re
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from gateway.http.endpoint import Endpoint
from gateway.http.message import Request, Response
from gateway.http.router import Router
from gateway.server.connection import Connection
from gateway.server.context import ServerContext
from tests.http1_driver import in_pieces
from tests.property.gateway.server.test_any_splitting import Sent, cuts, mutated, mutations, requests

STATUS = re.compile(rb"HTTP/1\.1 (\d\d\d) [^\r]*\r\n(?:[^\r]+\r\n)*?X-Request-Id: ")


class Wire:
    """A transport whose client reads everything at once."""

    def __init__(self) -> None:
        self.written = b""
        self.is_ended = False

    def write(self, data: bytes) -> None:
        assert not self.is_ended, "a response after the last one"
        self.written += data

    def write_eof(self) -> None:
        self.is_ended = True

    def close(self) -> None:
        self.is_ended = True

    def is_closing(self) -> bool:
        return self.is_ended

    def get_extra_info(self, _name: str) -> object:
        return ("192.0.2.1", 1234)

    def set_write_buffer_limits(self, _high: int) -> None:
        """Nothing is buffered."""

    def pause_reading(self) -> None:
        """All of it is received anyway."""

    def resume_reading(self) -> None:
        """All of it is received anyway."""


class Echo:
    """A handler that responds with what it received, at once or when a future is done."""

    def __init__(self, *, waits: bool) -> None:
        self._waits = waits
        self.received: list[tuple[str, bytes]] = []

    def __call__(self, request: Request) -> Response | object:
        self.received.append((request.path, request.body))
        response = Response(200, b"<%b>" % request.path.encode())
        return self._later(response) if self._waits else response

    async def _later(self, response: Response) -> Response:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_result, None)
        await future
        return response


async def play(pieces: list[bytes], *, waits: bool) -> tuple[Wire, Echo]:
    """Send the pieces, and wait until nothing more happens."""
    echo = Echo(waits=waits)
    endpoints = [Endpoint(method, "/{mark}", echo) for method in ("GET", "POST")]  # type: ignore[arg-type]
    context = ServerContext(Router(endpoints), keepalive_s=75, receive_timeout_s=10, send_timeout_s=30, linger_s=0)
    wire, connection = Wire(), Connection(context)
    connection.connection_made(cast("asyncio.Transport", wire))
    for piece in pieces:
        connection.data_received(piece)
    for _ in range(40):
        await asyncio.sleep(0)
    connection.connection_lost(None)
    return wire, echo


@given(sent=requests, at=cuts, waits=st.booleans())
def test_each_request_gets_its_response_in_order(sent: list[Sent], at: list[int], waits: bool) -> None:
    data = b"".join(each.encode() for each in sent)
    wire, echo = asyncio.run(play(in_pieces(data, at), waits=waits))
    assert echo.received == [(f"/{each.mark.decode()}", each.body) for each in sent]
    assert re.findall(rb"<(/[^>]*)>", wire.written) == [b"/" + each.mark for each in sent]
    assert not wire.is_ended


@given(sent=requests, changes=mutations, at=cuts, waits=st.booleans())
def test_mutated_traffic_gets_responses_or_a_closed_connection(
    sent: list[Sent], changes: list[tuple[float, int, int | bytes]], at: list[int], waits: bool
) -> None:
    data = mutated(b"".join(each.encode() for each in sent), changes)
    wire, echo = asyncio.run(play(in_pieces(data, at), waits=waits))
    statuses = [int(status) for status in STATUS.findall(wire.written)]
    assert statuses.count(200) == len(echo.received)
    assert not {status for status in statuses if status >= 500} - {501, 505}
    # Whatever is not served is rejected, and nothing follows a rejection of what is no request.
    assert {400, 413, 414, 431, 501, 505}.isdisjoint(statuses[:-1])
    if statuses and statuses[-1] in {400, 413, 414, 431, 501, 505}:
        assert wire.is_ended
