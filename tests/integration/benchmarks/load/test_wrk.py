"""The load generator's scripts against a fake gateway. wrk is a tool of the benchmarks, not of the tests' machine."""

import asyncio
import re
import shutil
from functools import partial
from typing import ClassVar, cast

import pytest

from benchmarks.load.wrk import TRACE_ID, Call, fill_carts, play
from tests.integration.benchmarks.fake_gateway import FakeGateway, serving

pytestmark = pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed (apt install wrk)")


async def test_prepared_calls_are_played_in_turn_and_errors_counted() -> None:
    async with serving(FakeGateway({"A": 1}, {"A": 1})) as server:
        calls = [Call("GET", "/healthz"), Call("GET", "/v1/carts/none"), Call("POST", "/v1/carts", b"{}")]
        result = await asyncio.to_thread(partial(play, server.port, [calls], seconds=1, connections=2))

    assert result.requests > 10
    assert abs(result.errors - result.requests / 3) <= 2
    assert result.socket_errors == 0


async def test_exactly_the_wanted_carts_are_created_and_each_is_filled() -> None:
    gateway = FakeGateway({"A": 1, "B": 1}, {"A": 1, "B": 1})
    batches = [b'[{"sku":"A","quantity":1}]', b'[{"sku":"A","quantity":2},{"sku":"B","quantity":3}]']
    async with serving(gateway) as server:
        await asyncio.to_thread(partial(fill_carts, server.port, 100, batches, connections=8))

    filled = [cart.lines for cart in gateway.carts.values()]
    assert len(filled) == 100
    assert all(lines in ({"A": 1}, {"A": 2, "B": 3}) for lines in filled)
    assert {"A": 1} in filled


class Recorder(asyncio.Protocol):
    """Responds to each request and records it, by connection."""

    connections: ClassVar[list[list[bytes]]] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.requests: list[bytes] = []
        self.connections.append(self.requests)

    def data_received(self, data: bytes) -> None:
        self.requests.append(data)
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


async def recorded(groups: list[list[Call]], *, connections: int) -> list[list[bytes]]:
    """The requests of each connection that had any."""
    Recorder.connections.clear()
    server = await asyncio.get_running_loop().create_server(Recorder, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        await asyncio.to_thread(partial(play, port, groups, seconds=1, connections=connections))
    return [requests for requests in Recorder.connections if requests]


async def test_every_request_has_another_trace_id() -> None:
    calls = [Call("GET", f"/{number}", headers=(("X-Amzn-Trace-Id", TRACE_ID),)) for number in range(3)]

    requests = [request for each in await recorded([calls], connections=2) for request in each]

    ids = [re.findall(rb"X-Amzn-Trace-Id: (.*)\r\n", request) for request in requests]
    assert all(re.fullmatch(rb"Root=1-[0-9a-f]{8}-[0-9a-f]{24}", each) for (each,) in ids)
    assert len({each for (each,) in ids}) == len(requests) > 10


async def test_the_calls_of_one_group_alternate_on_a_connection_and_several_groups_have_connections_of_their_own() -> (
    None
):
    groups = [[Call("GET", "/one")], [Call("GET", "/two")]]

    shared = await recorded([[*groups[0], *groups[1]]], connections=1)
    separate = await recorded(groups, connections=2)

    assert [{request.split()[1] for request in each} for each in shared] == [{b"/one", b"/two"}]
    assert sorted({request.split()[1] for request in each}.pop() for each in separate) == [b"/one", b"/two"]
    assert all(len(set(each)) == 1 for each in separate)
