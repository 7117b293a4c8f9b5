"""One connection to a target over a transport of the test: when it may be used again, and how it ends."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from gateway.http.message import Response, StreamedResponse
from gateway.proxy.connection import Connection
from gateway.proxy.errors import BadResponse, ConnectionClosed, ResponseTimeout, StreamsFull, Truncated, UpstreamFault
from primitives.stream_limit import StreamLimit
from tests.virtual_time import in_virtual_time

LIMIT = 64 * 1024
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Wire(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.end = ""
        self.is_paused = False
        self.unsent_bytes = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += bytes(data)

    def close(self) -> None:
        self.end = self.end or "closed"

    def abort(self) -> None:
        self.end = "aborted"

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def get_write_buffer_size(self) -> int:
        return self.unsent_bytes


class Owner:
    def __init__(self) -> None:
        self.events: list[str] = []
        self.buffer_bytes = LIMIT
        self.stream_limit = StreamLimit(12, 2)

    def try_stream(self, client: str) -> bool:
        return self.stream_limit.try_enter(client)

    def stream_left(self, client: str) -> None:
        self.stream_limit.leave(client)

    def released(self, connection: Connection) -> None:
        assert connection.is_open
        self.events.append("released")

    def lost(self, connection: Connection) -> None:
        assert not connection.is_open
        self.events.append("lost")

    def stream_ended(self, fault: UpstreamFault | None) -> None:
        self.events.append("complete" if fault is None else type(fault).__name__)


@pytest.fixture
def owner() -> Owner:
    return Owner()


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
async def connection(owner: Owner, wire: Wire) -> Connection:
    connection = Connection(owner)
    connection.connection_made(wire)
    return connection


def send(connection: Connection, *, is_bodiless: bool = False, **options: Any) -> asyncio.Future[Response]:
    return connection.request(
        b"GET / HTTP/1.1\r\n\r\n", is_bodiless=is_bodiless, deadline=1e9, idle_timeout_s=30.0, **options
    )


async def test_a_connection_is_used_again_after_a_whole_exchange(
    connection: Connection, owner: Owner, wire: Wire
) -> None:
    for reused in (False, True):
        assert connection.was_reused is reused
        responding = send(connection)
        assert connection.deadline == 1e9
        connection.data_received(OK)
        assert (await responding).body == b"ok"
        assert connection.deadline == math.inf
    assert owner.events == ["released", "released"]
    assert wire.end == ""


async def test_a_connection_is_not_used_again_while_a_body_is_still_being_sent(
    connection: Connection, owner: Owner, wire: Wire
) -> None:
    responding = send(connection, is_whole=False)
    await connection.send(b"5\r\nhello\r\n")
    connection.data_received(OK)
    assert (await responding).body == b"ok"
    assert owner.events == ["lost"]
    assert wire.end == "closed"
    with pytest.raises(Truncated):
        await connection.send(b"0\r\n\r\n")


async def test_a_connection_is_used_again_once_the_body_was_sent(connection: Connection, owner: Owner) -> None:
    responding = send(connection, is_whole=False)
    await connection.send(b"0\r\n\r\n")
    connection.sent(deadline=7.0)
    assert connection.deadline == 7.0
    connection.data_received(OK)
    await responding
    assert owner.events == ["released"]


async def test_a_streamed_response_that_ends_before_the_request_closes_the_connection(
    connection: Connection, owner: Owner
) -> None:
    responding = send(connection, is_whole=False)
    connection.data_received(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
    assert isinstance(await responding, StreamedResponse)
    connection.data_received(b"0\r\n\r\n")
    assert owner.events == ["lost", "complete"]


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        OK + b"more",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nmore",
    ],
)
async def test_a_connection_that_ends_or_has_bytes_left_is_not_used_again(
    connection: Connection, owner: Owner, response: bytes
) -> None:
    responding = send(connection)
    connection.data_received(response)
    assert (await responding).body == b"ok"
    assert owner.events == ["lost"]


async def test_the_response_to_a_cancelled_request_is_not_given_to_the_next(
    connection: Connection, owner: Owner
) -> None:
    responding = send(connection)
    responding.cancel()
    connection.data_received(OK)
    following = send(connection)
    connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext")
    assert (await following).body == b"next"
    assert owner.events == ["released", "released"]


async def test_the_stream_of_a_cancelled_request_closes_the_connection(
    connection: Connection, owner: Owner, wire: Wire
) -> None:
    responding = send(connection)
    responding.cancel()
    connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\npiece")
    assert (owner.events, wire.end) == (["lost"], "aborted")


async def test_bytes_without_a_request_close_an_idle_connection(
    connection: Connection, owner: Owner, wire: Wire
) -> None:
    send(connection)
    connection.data_received(OK)
    connection.data_received(b"HTTP/1.1 408 Timeout\r\nContent-Length: 0\r\n\r\n")
    assert (owner.events, wire.end) == (["released", "lost"], "aborted")


@pytest.mark.parametrize(
    ("received", "fault"),
    [
        (b"", ConnectionClosed),
        (b"HTTP", Truncated),
        (b"HTTP/1.1 100 Continue\r\n\r\n", Truncated),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok", Truncated),
    ],
)
async def test_a_close_before_any_byte_of_a_response_differs_from_one_after(
    connection: Connection, received: bytes, fault: type[UpstreamFault]
) -> None:
    responding = send(connection)
    if received:
        connection.data_received(received)
    connection.connection_lost(None)
    with pytest.raises(fault):
        await responding


@pytest.mark.parametrize(("error", "end"), [(None, "complete"), (ConnectionResetError(), "Truncated")])
async def test_an_orderly_close_ends_a_body_without_length(
    connection: Connection, owner: Owner, error: Exception | None, end: str
) -> None:
    responding = send(connection)
    connection.data_received(b"HTTP/1.1 200 OK\r\n\r\npiece")
    await responding
    connection.connection_lost(error)
    assert owner.events == ["lost", end]


async def test_a_body_up_to_the_limit_is_buffered_and_a_longer_one_streamed(connection: Connection) -> None:
    for length, is_streamed in ((LIMIT, False), (LIMIT + 1, True)):
        responding = send(connection)
        connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length)
        connection.data_received(bytes(length))
        response = await responding
        assert isinstance(response, StreamedResponse) is is_streamed
        if isinstance(response, StreamedResponse):
            assert response.length == length
            assert sum([len(piece) async for piece in response.chunks]) == length


async def test_a_chunked_body_that_arrives_at_once_is_not_streamed(connection: Connection) -> None:
    responding = send(connection)
    connection.data_received(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n1\r\n!\r\n0\r\n\r\n")
    response = await responding
    assert not isinstance(response, StreamedResponse)
    assert response.body == b"ok!"


async def test_a_buffered_body_has_one_deadline_and_each_piece_of_a_stream_its_own(connection: Connection) -> None:
    loop = asyncio.get_running_loop()
    send(connection)
    connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n1")
    assert loop.time() < connection.deadline <= loop.time() + 30
    connection.deadline = 5.0
    connection.data_received(b"2")
    assert connection.deadline == 5.0
    connection.data_received(b"3456789")
    send(connection)
    connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n1")
    connection.deadline = 5.0
    connection.data_received(b"2")
    assert connection.deadline > loop.time()


async def test_a_late_or_invalid_response_closes_the_connection(
    connection: Connection, owner: Owner, wire: Wire
) -> None:
    responding = send(connection)
    connection.time_out()
    with pytest.raises(ResponseTimeout):
        await responding
    assert (owner.events, wire.end) == (["lost"], "aborted")


async def test_bytes_that_are_not_a_response_close_the_connection(
    connection: Connection, owner: Owner, wire: Wire
) -> None:
    responding = send(connection)
    connection.data_received(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
    with pytest.raises(BadResponse):
        await responding
    assert (owner.events, wire.end) == (["lost"], "aborted")


async def test_sending_waits_while_the_upstream_does_not_read(connection: Connection) -> None:
    send(connection, is_whole=False)
    connection.pause_writing()
    sending = asyncio.create_task(connection.send(b"piece"))
    await asyncio.sleep(0)
    assert not sending.done()
    assert connection.deadline < math.inf
    connection.resume_writing()
    await sending
    assert connection.deadline == math.inf


# Framing does not depend on packets.


@pytest.mark.parametrize(
    "framing",
    [b"Content-Length: 6\r\n\r\nfoobar", b"Transfer-Encoding: chunked\r\n\r\n3\r\nfoo\r\n3\r\nbar\r\n0\r\n\r\n"],
)
async def test_a_short_response_is_whole_in_whatever_segments_it_arrives(
    connection: Connection, framing: bytes
) -> None:
    data = b"HTTP/1.1 200 OK\r\n" + framing
    for size in (1, 7, len(data) // 3, len(data)):
        responding = send(connection)
        for start in range(0, len(data), size):
            connection.data_received(data[start : start + size])
        response = await responding
        assert not isinstance(response, StreamedResponse)
        assert response.body == b"foobar"


async def test_a_short_body_that_ends_with_its_connection_is_whole(connection: Connection, owner: Owner) -> None:
    responding = send(connection)
    for piece in (b"HTTP/1.0 200 OK\r\n\r\n", b"foo", b"bar"):
        connection.data_received(piece)
    connection.connection_lost(None)
    response = await responding
    assert not isinstance(response, StreamedResponse)
    assert response.body == b"foobar"
    assert owner.events == ["lost"]


@in_virtual_time
async def test_a_body_of_unknown_length_that_pauses_is_streamed_from_its_beginning() -> None:
    connection = Connection(Owner())
    connection.connection_made(Wire())
    responding = send(connection)
    connection.data_received(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nfoo\r\n")
    response = await responding
    assert isinstance(response, StreamedResponse)
    connection.data_received(b"3\r\nbar\r\n0\r\n\r\n")
    assert [piece async for piece in response.chunks] == [b"foo", b"bar"]


@pytest.mark.parametrize("field", [b"Content-Type: text/event-stream", b"x-accel-buffering: no"])
async def test_a_response_that_is_written_live_is_streamed_at_once(connection: Connection, field: bytes) -> None:
    responding = send(connection)
    connection.data_received(b"HTTP/1.1 200 OK\r\n%b\r\nTransfer-Encoding: chunked\r\n\r\n" % field)
    assert responding.done()
    assert isinstance(await responding, StreamedResponse)


async def test_a_chunked_body_over_the_limit_is_streamed_with_all_its_bytes(connection: Connection) -> None:
    responding = send(connection)
    connection.data_received(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(3):
        connection.data_received(b"8000\r\n%b\r\n" % bytes(0x8000))
    response = await responding
    assert isinstance(response, StreamedResponse)
    connection.data_received(b"0\r\n\r\n")
    assert sum([len(piece) async for piece in response.chunks]) == 3 * 0x8000


# Connections that are not used again.


async def test_a_connection_is_not_used_again_if_its_request_forbids_it(
    connection: Connection, owner: Owner, wire: Wire
) -> None:
    responding = send(connection, allows_reuse=False)
    connection.data_received(OK)
    assert (await responding).body == b"ok"
    assert (owner.events, wire.end) == (["lost"], "closed")


async def test_a_connection_is_not_used_again_after_a_response_to_a_request_that_is_not_sent_whole(
    connection: Connection, owner: Owner, wire: Wire
) -> None:
    responding = send(connection)
    wire.unsent_bytes = 1
    connection.data_received(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
    assert (await responding).status == 413
    assert (owner.events, wire.end) == (["lost"], "closed")


# Interim responses and streams.


class Interims:
    def __init__(self) -> None:
        self.received: list[tuple[int, bytes]] = []

    def send_interim(self, status: int, header_block: bytes) -> None:
        self.received.append((status, header_block))


async def test_interim_responses_are_handed_on_but_for_100(connection: Connection) -> None:
    interims = Interims()
    responding = send(connection, interims=interims)
    connection.data_received(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n" + OK)
    assert (await responding).body == b"ok"
    assert interims.received == [(103, b"Link: </a.css>\r\n")]


async def test_a_client_with_too_many_streams_gets_no_other(connection: Connection, owner: Owner, wire: Wire) -> None:
    assert owner.try_stream("10.0.0.9")
    assert owner.try_stream("10.0.0.9")
    responding = send(connection, client="10.0.0.9")
    connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    with pytest.raises(StreamsFull):
        await responding
    assert (owner.events, wire.end) == (["lost"], "aborted")
    assert owner.stream_limit.streams == 2


async def test_a_stream_counts_until_its_connection_is_free(connection: Connection, owner: Owner) -> None:
    responding = send(connection, client="10.0.0.9")
    connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    response = await responding
    assert isinstance(response, StreamedResponse)
    assert owner.stream_limit.streams == 1
    connection.data_received(bytes(100_000))
    assert owner.stream_limit.streams == 0
    send(connection, client="10.0.0.9")
    connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    connection.connection_lost(None)
    assert owner.stream_limit.streams == 0
