import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from benchmarks.load.constant_rate import RunStats, constant_rate
from benchmarks.load.leaving_clients import NONE, Behaviour, run_clients
from benchmarks.upstreams.failing import BODY, HEAD, FailingUpstream
from tests.waiting import WITHIN_S


@asynccontextmanager
async def upstream() -> AsyncIterator[int]:
    connections: list[FailingUpstream] = []

    class Connection(FailingUpstream):
        # Not when it is created: the server may close before it is connected.
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            connections.append(self)

    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for each in connections:
            each.transport.abort()


async def say(port: int, path: str, *, at_most: int = 4096) -> bytes:
    """The bytes that the upstream sends until it closes, or at most so many."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        said = b""
        while len(said) < at_most and (more := await reader.read(at_most)):
            said += more
        return said
    finally:
        writer.transport.abort()


async def test_the_healthy_upstream_sends_a_whole_response() -> None:
    async with upstream() as port:
        said = await say(port, "/healthy/page", at_most=len(HEAD % len(BODY) + BODY))

    assert said.startswith(b"HTTP/1.1 200 OK\r\n")
    assert said.endswith(BODY)


async def test_one_that_resets_drops_the_connection() -> None:
    async with upstream() as port:
        with pytest.raises(ConnectionResetError):
            await say(port, "/resets/page")


async def test_one_that_says_nothing_closes() -> None:
    async with upstream() as port:
        assert await say(port, "/says-nothing/page") == b""


async def test_one_that_stops_short_tells_more_than_it_sends() -> None:
    async with upstream() as port:
        head, _, body = (await say(port, "/body-too-short/page")).partition(b"\r\n\r\n")

    assert body == BODY
    assert f"Content-Length: {len(BODY) * 10}".encode() in head


async def test_one_that_goes_on_sends_more_than_it_tells() -> None:
    async with upstream() as port:
        head, _, body = (await say(port, "/body-too-long/page", at_most=len(HEAD % 10 + BODY))).partition(b"\r\n\r\n")

    assert b"Content-Length: 10\r\n" in head + b"\r\n"
    assert body == BODY


async def test_one_that_sends_garbage_sends_no_http() -> None:
    async with upstream() as port:
        assert not (await say(port, "/sends-garbage/page", at_most=2052)).startswith(b"HTTP/")


async def test_one_that_dribbles_sends_a_byte_to_begin_with() -> None:
    async with upstream() as port:
        assert await say(port, "/dribbles-its-head/page", at_most=1) == b"H"


async def test_one_that_pours_sends_on_and_on_exposed_or_not() -> None:
    async with upstream() as port:
        assert len(await say(port, "/pours/page", at_most=1_000_000)) >= 1_000_000
        assert len(await say(port, "/pours-exposed/page", at_most=1_000_000)) >= 1_000_000


async def clients_at(
    port: int, path: str, is_enough: Callable[[Counter[str]], object], **options: float
) -> Counter[str]:
    """The statuses of clients at 100 a second, for as many seconds as a busy machine needs."""
    seconds = 0.2
    while True:
        seen = await run_clients(port, path, Behaviour(100, seconds, patience_s=seconds / 10, **options))
        assert seen.total() <= 100 * seconds
        if is_enough(seen):
            return seen
        seconds *= 2
        assert seconds < WITHIN_S, seen


async def test_clients_arrive_at_their_rate_and_their_statuses_are_counted() -> None:
    async with upstream() as port:
        # A client that leaves before the response has come counts as one without.
        for path, options in (("/body-too-short/page", {}), ("/pours/page", {"bytes_per_s": 1e6})):
            seen = await clients_at(port, path, lambda seen: seen["200"], **options)
            assert seen.keys() <= {"200", NONE}
        nothing = await clients_at(port, "/says-nothing/page", Counter.total)
        assert nothing.keys() == {NONE}


async def test_clients_leave_after_their_time() -> None:
    async with upstream() as port:
        seen = await clients_at(port, "/hangs/page", Counter.total)

    assert seen.keys() == {NONE}


async def reads_at(port: int, path: str, is_enough: Callable[[RunStats], object]) -> tuple[RunStats, float]:
    """The statistics of requests at 200 a second, and the seconds that they took on a machine as busy as it is."""
    request = f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    seconds = 0.2
    while True:
        seen = await constant_rate(port, [request], rate=200, seconds=seconds, connections=4)
        if is_enough(seen):
            return seen, seconds
        seconds *= 2
        assert seconds < WITHIN_S, seen


async def test_a_constant_rate_sends_the_requests_of_its_rate_and_measures_each() -> None:
    async with upstream() as port:
        seen, seconds = await reads_at(port, "/healthy/page", lambda seen: seen.took_s and not seen.wrong)

    assert len(seen.took_s) <= 200 * seconds
    assert all(each > 0 for each in seen.took_s)


async def test_missing_responses_are_wrong() -> None:
    async with upstream() as port:
        seen, _ = await reads_at(port, "/says-nothing/page", lambda seen: seen.wrong >= 2)

    assert not seen.took_s
