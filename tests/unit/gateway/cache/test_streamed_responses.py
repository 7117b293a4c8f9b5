"""Streamed responses are passed on while they are received, to every client that waits, and stored at their end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import pytest

from gateway.cache import recording
from gateway.cache.cache import ResponseCache
from gateway.cache.host_memory import HostMemory, HostRegion
from gateway.cache.host_tier import HostTier
from gateway.cache.response_cache import response_cache
from gateway.config.policies import Cache
from gateway.http.message import Handler, Request, Response, StreamedResponse, header
from tests.unit.gateway.cache.cached_origin import CACHEABLE, Clock, Origin, cache_status, get, send, settle, started
from tests.waiting import until


class Stream:
    """A body that the test sends piece by piece."""

    def __init__(self, length: int | None = None, header_block: bytes = CACHEABLE) -> None:
        self._pieces: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()
        self.length = length
        self.header_block = header_block
        self.taken = 0
        self.is_closed = False

    def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self._pieces.put_nowait(piece)

    def end(self, fault: Exception | None = None) -> None:
        self._pieces.put_nowait(fault)

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        try:
            while (piece := await self._pieces.get()) is not None:
                if isinstance(piece, Exception):
                    raise piece
                self.taken += len(piece)
                yield piece
        finally:
            self.is_closed = True

    def response(self, _request: Request) -> Response:
        return StreamedResponse(
            200, self._chunks(), header_block=self.header_block, content_type=b"text/plain", length=self.length
        )


def chunks_of(response: Response) -> AsyncGenerator[bytes, None]:
    assert isinstance(response, StreamedResponse)
    return response.chunks


async def read(response: Response) -> bytes:
    if not isinstance(response, StreamedResponse):
        return response.body
    return b"".join([piece async for piece in response.chunks])


@pytest.fixture
def stream(origin: Origin) -> Stream:
    stream = Stream()
    origin.respond = stream.response
    return stream


async def test_a_streamed_response_is_passed_on_at_once_and_stored_at_its_end(
    cached: Handler, origin: Origin, stream: Stream
) -> None:
    request = get()
    response = await send(cached, request)
    assert cache_status(response, request) == "fwd=uri-miss; fwd-status=200; stored"
    chunks = chunks_of(response)
    stream.send(b"first")
    assert await anext(chunks) == b"first"
    stream.send(b"second")
    assert await anext(chunks) == b"second"
    stream.end()
    assert await read(response) == b""
    hit = await send(cached)
    assert (hit.body, cache_status(hit)) == (b"firstsecond", "hit; ttl=60")
    assert origin.times == 1
    assert stream.is_closed


@pytest.mark.parametrize("length", [None, 200_000])
@pytest.mark.parametrize("size", [1_000, 20_000])
async def test_fifty_cold_clients_are_one_fetch_and_read_the_same_stream(
    cached: Handler, origin: Origin, size: int, length: int | None, cache: ResponseCache
) -> None:
    pieces = [bytes([number % 256]) * size for number in range(200_000 // size)]
    stream = Stream(length)
    origin.respond = stream.response
    origin.gate = asyncio.Event()
    asking = [started(cached(get())) for _ in range(50)]
    await settle()
    origin.gate.set()
    responses = [await asked for asked in asking]
    reading = [asyncio.create_task(read(response)) for response in responses]
    stream.send(*pieces[:3])
    await settle()
    # One comes in the middle.
    late_response = await send(cached)
    assert cache_status(late_response) == "fwd=uri-miss; collapsed; ttl=60"
    late = asyncio.create_task(read(late_response))
    stream.send(*pieces[3:])
    stream.end()
    assert {*await asyncio.gather(*reading, late)} == {b"".join(pieces)}
    assert origin.times == 1
    assert {response.length for response in responses if isinstance(response, StreamedResponse)} == {length}
    assert cache.stats.collapsed == 50
    assert (await send(cached)).body == b"".join(pieces)


async def test_a_client_that_disconnects_or_does_not_read_delays_no_other(
    cached: Handler, origin: Origin, stream: Stream
) -> None:
    asking = [await send(cached) for _ in range(4)]
    leader, gone, slow, reader = [chunks_of(response) for response in asking]
    stream.send(b"one")
    assert await anext(leader) == await anext(gone) == await anext(reader) == b"one"
    await leader.aclose()
    await gone.aclose()
    stream.send(b"two", b"three")
    stream.end()
    assert b"".join([piece async for piece in reader]) == b"twothree"
    assert (await send(cached)).body == b"onetwothree"
    assert b"".join([piece async for piece in slow]) == b"onetwothree"
    assert origin.times == 1


async def test_without_readers_the_stream_is_abandoned_and_the_next_request_fetches(
    cached: Handler, origin: Origin, stream: Stream
) -> None:
    response = await send(cached)
    stream.send(b"one")
    await anext(chunks_of(response))
    await chunks_of(response).aclose()
    await until(lambda: stream.is_closed)
    origin.respond = lambda _request: Response(200, b"new", header_block=CACHEABLE)
    assert (await send(cached)).body == b"new"


async def test_a_client_that_leaves_before_it_reads_abandons_the_stream(cached: Handler, stream: Stream) -> None:
    response = await send(cached)
    await chunks_of(response).aclose()
    await settle()
    assert (await send(cached)).status == 200


async def test_a_truncated_body_is_not_stored_and_truncates_every_reader(
    cached: Handler, origin: Origin, stream: Stream
) -> None:
    responses = [await send(cached) for _ in range(3)]
    stream.send(b"half")
    stream.end(ConnectionResetError("the upstream is gone"))
    for response in responses:
        with pytest.raises(ConnectionResetError):
            await read(response)
    origin.respond = lambda _request: Response(200, b"whole", header_block=CACHEABLE)
    assert (await send(cached)).body == b"whole"
    assert origin.times == 2


async def test_a_body_shorter_than_its_length_is_truncated(cached: Handler, origin: Origin) -> None:
    stream = Stream(length=10)
    origin.respond = stream.response
    response = await send(cached)
    stream.send(b"short")
    stream.end()
    with pytest.raises(recording.Truncated):
        await read(response)
    await send(cached)
    assert origin.times == 2


class SmallCache:
    """A cache whose entries have at most 100,000 bytes."""

    def __init__(self, origin: Origin, clock: Clock) -> None:
        table = Cache(max_entry_bytes=100_000, memory_bytes=400_000)
        self.cache = ResponseCache(table, clock=clock, now=clock.wall)
        self.cached = response_cache(self.cache)(origin)


@pytest.fixture
def small(origin: Origin, clock: Clock) -> SmallCache:
    return SmallCache(origin, clock)


async def test_a_response_that_grows_too_long_passes_through_in_a_window(
    small: SmallCache, origin: Origin, stream: Stream
) -> None:
    first, second = [chunks_of(await send(small.cached)) for _ in range(2)]
    pieces = [bytes([number]) * 10_000 for number in range(100)]
    stream.send(*pieces)
    stream.end()
    await settle()
    # The upstream waits, and what is buffered is bounded.
    assert stream.taken <= 110_000
    read_by_first, read_by_second = b"", b""
    for _ in range(200):
        read_by_first += await anext(first, b"")
        read_by_second += await anext(second, b"")
        assert stream.taken - len(read_by_first) <= 120_000
        if len(read_by_first) == len(read_by_second) == 1_000_000:
            break
    assert read_by_first == read_by_second == b"".join(pieces)
    with pytest.raises(StopAsyncIteration):
        await anext(first)
    # A request that comes then fetches for itself.
    other = Stream()
    origin.respond = other.response
    response = await send(small.cached)
    assert origin.times == 2
    other.send(b"x")
    other.end()
    assert await read(response) == b"x"


async def test_a_reader_that_stalls_in_the_window_is_cut_off_while_others_wait(
    small: SmallCache, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "STALL_S", 0.05)
    reader, stalled = [chunks_of(await send(small.cached)) for _ in range(2)]
    stream.send(*[bytes(10_000)] * 50)
    stream.end()
    assert len(b"".join([piece async for piece in reader])) == 500_000
    with pytest.raises(recording.ReaderStalled):
        await anext(stalled)


async def test_a_single_slow_reader_is_not_cut_off(
    small: SmallCache, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "STALL_S", 0.01)
    reader = chunks_of(await send(small.cached))
    stream.send(*[bytes(10_000)] * 50)
    stream.end()
    several_times_later = asyncio.Event()
    asyncio.get_running_loop().call_later(0.1, several_times_later.set)
    await several_times_later.wait()
    assert len(b"".join([piece async for piece in reader])) == 500_000


async def test_responses_that_are_received_at_once_have_a_bounded_memory(origin: Origin, clock: Clock) -> None:
    cache = ResponseCache(Cache(max_entry_bytes=50_000, memory_bytes=400_000), clock=clock, now=clock.wall)
    cached = response_cache(cache)(origin)
    streams = [Stream() for _ in range(4)]
    responses = []
    for number, stream in enumerate(streams):
        origin.respond = stream.response
        responses.append(await send(cached, get(f"/{number}")))
        stream.send(bytes(40_000))
    await settle()
    for stream in streams:
        stream.end()
    assert [len(await read(response)) for response in responses] == [40_000] * 4
    await settle()
    origin.respond = lambda _request: Response(200, b"fetched", header_block=CACHEABLE)
    assert [len((await send(cached, get(f"/{number}"))).body) for number in range(4)] == [40_000, 40_000, 7, 7]
    await cache.close()


async def test_a_known_length_over_the_bound_is_not_recorded(small: SmallCache, origin: Origin) -> None:
    stream = Stream(length=200_000)
    origin.respond = stream.response
    request = get()
    response = await send(small.cached, request)
    assert cache_status(response, request) == "fwd=uri-miss; fwd-status=200"
    await chunks_of(response).aclose()


async def test_a_purge_during_a_stream_keeps_it_from_being_stored_and_joined(
    cached: Handler, origin: Origin, cache: ResponseCache, stream: Stream
) -> None:
    first = await send(cached)
    await cache.purge(url="/shoes")
    other = Stream()
    origin.respond = other.response
    second = await send(cached)
    other.send(b"new")
    other.end()
    assert await read(second) == b"new"
    stream.send(b"old")
    stream.end()
    assert await read(first) == b"old"
    assert (await send(cached)).body == b"new"


async def test_a_request_of_another_variant_does_not_join(cached: Handler, origin: Origin) -> None:
    streams: dict[str, Stream] = {}

    def respond(request: Request) -> Response:
        language = request.headers["Accept-Language"]
        streams[language] = Stream(header_block=CACHEABLE + header("Vary", "Accept-Language"))
        return streams[language].response(request)

    origin.respond = respond
    responses = {language: await send(cached, get(Accept_Language=language)) for language in ("en", "de")}
    for language, stream in streams.items():
        stream.send(language.encode())
        stream.end()
        assert await read(responses[language]) == language.encode()
    for language in ("en", "de"):
        assert (await send(cached, get(Accept_Language=language))).body == language.encode()
    assert origin.times == 2


async def test_a_client_that_has_the_response_gets_304_and_it_is_stored(cached: Handler, origin: Origin) -> None:
    stream = Stream(header_block=CACHEABLE + header("ETag", '"a"'))
    origin.respond = stream.response
    for _ in range(2):
        assert (await send(cached, get(If_None_Match='"a"'))).status == 304
    stream.send(b"body")
    stream.end()
    await until(lambda: stream.is_closed)
    assert (await send(cached)).body == b"body"
    assert origin.times == 1


async def test_a_request_that_excludes_stored_responses_does_not_join_a_stream_that_began_before(
    cached: Handler, origin: Origin, stream: Stream, clock: Clock
) -> None:
    origin.respond = lambda _request: Response(200, b"old", header_block=CACHEABLE)
    await send(cached)
    clock.time += 61
    origin.respond = stream.response
    first = await send(cached)
    origin.respond = lambda _request: Response(200, b"newest", header_block=CACHEABLE)
    clock.time -= 10
    assert (await send(cached, get(Cache_Control="no-cache"))).body == b"newest"
    stream.end()
    await read(first)


async def test_a_background_refresh_stores_a_stream(cached: Handler, origin: Origin, clock: Clock) -> None:
    origin.respond = lambda _request: Response(
        200, b"old", header_block=header("Cache-Control", "max-age=10, stale-while-revalidate=60")
    )
    await send(cached)
    clock.time += 20
    stream = Stream()
    origin.respond = stream.response
    assert (await send(cached)).body == b"old"
    stream.send(b"new")
    stream.end()
    await until(lambda: stream.is_closed)
    await settle()
    assert (await send(cached)).body == b"new"


@pytest.fixture
def region() -> Iterator[HostRegion]:
    region = HostRegion(1024 * 1024)
    yield region
    region.close()


async def test_another_worker_waits_a_short_time_for_a_stream_and_then_fetches(
    region: HostRegion, clock: Clock
) -> None:
    origins = [Origin(), Origin()]
    caches = [ResponseCache(Cache(), host=HostTier(HostMemory(region), clock=clock), clock=clock) for _ in origins]
    workers: list[Any] = [response_cache(cache)(origin) for cache, origin in zip(caches, origins, strict=True)]
    quick, slow = Stream(), Stream()
    origins[0].respond = quick.response
    leading = await send(workers[0])
    waiting = started(workers[1](get()))
    await settle()
    quick.send(b"body")
    quick.end()
    assert await read(leading) == b"body"
    assert (await waiting).body == b"body"
    assert origins[1].times == 0
    # One that takes long is fetched by each worker.
    origins[0].respond = slow.response
    leading = await send(workers[0], get("/slow"))
    response = await send(workers[1], get("/slow"))
    assert response.body == b"body 1"
    assert origins[1].times == 1
    await chunks_of(leading).aclose()
    for cache in caches:
        await cache.close()
