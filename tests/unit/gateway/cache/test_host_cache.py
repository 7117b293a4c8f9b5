"""The caches of two workers of one host are one cache."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from gateway.cache import host_memory
from gateway.cache.cache import ResponseCache
from gateway.cache.host_memory import HostMemory, HostRegion, LockUnavailable
from gateway.cache.host_tier import HostTier
from gateway.cache.response_cache import response_cache
from gateway.config.policies import Cache
from gateway.http.message import Handler, Request, Response, resolve
from tests.unit.gateway.cache.cached_origin import Clock, Origin, cache_status, get, response_with, settle, started


class Worker:
    """A worker in front of an origin of its own, whose responses say which request they are to."""

    def __init__(self, name: str, region: HostRegion, clock: Clock) -> None:
        self.origin = Origin(
            lambda _request: response_with(
                ("Cache-Control", "max-age=60, stale-if-error=60"),
                ("Cache-Tag", "shoe"),
                ("ETag", f'"{name}{self.origin.times}"'),
                body=f"{name}{self.origin.times}".encode(),
            )
        )
        self.host = HostTier(HostMemory(region), clock=clock)
        self.cache = ResponseCache(Cache(), host=self.host, clock=clock, now=clock.wall)
        self.cached: Handler = response_cache(self.cache)(self.origin)

    async def send(self, request: Request | None = None) -> Response:
        return await resolve(self.cached(request or get()))


@pytest.fixture
def region() -> Iterator[HostRegion]:
    region = HostRegion(1024 * 1024)
    yield region
    region.close()


@pytest.fixture
async def one(region: HostRegion, clock: Clock) -> AsyncIterator[Worker]:
    worker = Worker("a", region, clock)
    yield worker
    await worker.cache.close()


@pytest.fixture
async def two(region: HostRegion, clock: Clock) -> AsyncIterator[Worker]:
    worker = Worker("b", region, clock)
    yield worker
    await worker.cache.close()


async def test_a_response_that_one_worker_fetched_is_a_hit_for_the_other_at_its_age(
    one: Worker, two: Worker, clock: Clock
) -> None:
    await one.send()
    clock.time += 10
    response = await two.send()
    assert (response.body, cache_status(response)) == (b"a1", "hit; ttl=50")
    assert b"Age: 10\r\n" in response.header_block
    assert b"Cache-Tag" not in response.header_block
    assert two.cached(get()) is two.cached(get())
    assert (two.cache.stats.host_hits, two.origin.times) == (1, 0)


async def test_a_worker_that_starts_later_finds_the_responses(one: Worker, region: HostRegion, clock: Clock) -> None:
    await one.send()
    late = Worker("c", region, clock)
    assert (await late.send()).body == b"a1"


async def test_a_response_that_one_worker_replaces_is_replaced_for_the_other(one: Worker, two: Worker) -> None:
    await one.send()
    await two.send()
    await two.send(get(Cache_Control="no-cache"))
    assert two.origin.times == 1
    assert (await one.send()).body == b"b1"
    assert one.origin.times == 1


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_an_unsafe_request_invalidates_for_the_other_worker_before_its_response(
    one: Worker, two: Worker, method: str
) -> None:
    await one.send()
    await two.send()
    await one.send(get(method=method))
    assert (await two.send()).body == b"b1"
    # Of other addresses nothing changed.
    await one.send(get("/hats"))
    await two.send(get("/hats"))
    assert two.origin.times == 1


@pytest.mark.parametrize("what", [{"url": "/shoes"}, {"prefix": "/sh"}, {"tag": "shoe"}])
async def test_a_purge_is_in_force_for_the_other_worker_at_once(one: Worker, two: Worker, what: dict[str, str]) -> None:
    await one.send()
    await two.send()
    await two.send(get("/shirts"))
    assert await one.cache.purge(**what) == (1 if "url" in what else 2)  # type: ignore[arg-type] # no `soft` among them
    assert (await two.send()).body == b"b2"
    # It purges nothing that was fetched after it.
    assert (await one.send()).body == b"b2"


async def test_a_prefix_purge_covers_more_than_one_batch_and_nothing_else(one: Worker, two: Worker) -> None:
    for number in range(300):
        await one.send(get(f"/shoes/{number}"))
        await two.send(get(f"/hats/{number}"))
    assert await two.cache.purge(prefix="/shoes/") == 300
    for number in range(300):
        assert (await one.send(get(f"/hats/{number}"))).body.startswith(b"b")
    await one.send(get("/shoes/7"))
    assert (one.origin.times, two.origin.times) == (301, 300)


async def test_a_soft_purge_makes_the_copies_of_all_workers_stale(one: Worker, two: Worker) -> None:
    await one.send()
    await two.send()
    assert await one.cache.purge(tag="shoe", soft=True) == 1
    # As the admin API asks every worker.
    assert await two.cache.purge(tag="shoe", soft=True) == 0
    two.origin.respond = lambda _request: response_with(status=503)
    response = await two.send()
    assert (response.status, response.body) == (200, b"a1")
    assert two.origin.times == 1


@pytest.mark.parametrize("what", [{"url": "/shoes"}, {"prefix": "/sh"}, {"tag": "shoe"}])
async def test_a_response_that_was_requested_before_a_purge_of_another_worker_is_not_stored(
    one: Worker, two: Worker, what: dict[str, str]
) -> None:
    two.origin.gate = asyncio.Event()
    fetching = started(two.cached(get()))
    await settle()
    await one.cache.purge(**what)  # type: ignore[arg-type] # no `soft` among them
    two.origin.gate.set()
    assert (await fetching).body == b"b1"
    assert (await one.send()).body == b"a1"


async def test_a_response_that_was_requested_before_an_unsafe_request_to_another_worker_is_not_stored(
    one: Worker, two: Worker
) -> None:
    two.origin.gate = asyncio.Event()
    fetching = started(two.cached(get()))
    await settle()
    await one.send(get(method="PUT"))
    two.origin.gate.set()
    await fetching
    await one.send()
    assert one.origin.times == 2


async def test_variants_are_one_set_for_all_workers(one: Worker, two: Worker) -> None:
    def response(request: Request) -> Response:
        return response_with(
            ("Cache-Control", "max-age=60"),
            ("Vary", "Accept-Language"),
            body=request.headers.get("Accept-Language", "none").encode(),
        )

    one.origin.respond = two.origin.respond = response
    for number, language in enumerate(("en", "de", "fr", "it")):
        await (one, two)[number % 2].send(get(Accept_Language=language))
    for language in ("en", "de", "fr", "it"):
        for worker in (one, two):
            assert (await worker.send(get(Accept_Language=language))).body == language.encode()
    assert (one.origin.times, two.origin.times) == (2, 2)
    assert await one.cache.purge(url="/shoes") == 4
    await two.send(get(Accept_Language="en"))
    assert two.origin.times == 3


async def test_a_field_that_makes_the_origin_vary_removes_no_response(one: Worker, two: Worker) -> None:
    def respond(request: Request) -> Response:
        vary = (("Vary", "X-Odd"),) if "X-Odd" in request.headers else ()
        return response_with(
            ("Cache-Control", "max-age=60"), *vary, body=request.headers.get("X-Odd", "plain").encode()
        )

    one.origin.respond = two.origin.respond = respond
    await one.send()
    assert (await two.send(get(X_Odd="1", Cache_Control="no-cache"))).body == b"1"
    for worker in (one, two):
        assert (await worker.send()).body == b"plain"
        assert (await worker.send(get(X_Odd="1"))).body == b"1"
        assert (await worker.send(get(X_Odd="2"))).body == b"2"
    assert one.origin.times + two.origin.times == 3
    # A newer response replaces the one from before.
    await two.send(get(Cache_Control="no-cache"))
    assert await one.cache.purge(url="/shoes") == 3


async def test_a_header_block_of_any_bytes_is_shared(one: Worker, two: Worker) -> None:
    one.origin.respond = lambda _request: Response(
        200, b"\xff", header_block=b"Cache-Control: max-age=60\r\nCache-Tag: \xe9\r\nLocation: /\xe9\r\n"
    )
    await one.send(get("/\udce9", Accept_Language="\udce9"))
    response = await two.send(get("/\udce9"))
    assert (response.body, two.origin.times) == (b"\xff", 0)
    assert b"Location: /\xe9\r\n" in response.header_block


async def test_a_hundred_cold_requests_to_two_workers_are_one_fetch(one: Worker, two: Worker) -> None:
    one.origin.gate = asyncio.Event()
    asking = [started((one, two)[number % 2].cached(get())) for number in range(100)]
    await settle()
    one.origin.gate.set()
    responses = await asyncio.gather(*asking)
    assert {response.body for response in responses} == {b"a1"}
    assert (one.origin.times, two.origin.times) == (1, 0)
    assert "fwd=uri-miss; collapsed; ttl=60" in {cache_status(response) for response in responses[1::2]}


async def test_concurrent_revalidations_of_two_workers_are_one(one: Worker, two: Worker, clock: Clock) -> None:
    await one.send()
    await two.send()
    clock.time += 70
    two.origin.gate = asyncio.Event()
    asking = [started(two.cached(get())), started(one.cached(get()))]
    await settle()
    two.origin.gate.set()
    assert {response.body for response in await asyncio.gather(*asking)} == {b"b1"}
    assert (one.origin.times, two.origin.times) == (1, 1)


async def test_after_a_fetch_that_is_not_stored_the_other_worker_fetches_for_itself(one: Worker, two: Worker) -> None:
    one.origin.gate = asyncio.Event()
    one.origin.respond = lambda _request: response_with(("Cache-Control", "private"), body=b"mine")
    asking = [started(one.cached(get())), started(two.cached(get()))]
    await settle()
    assert two.origin.times == 0
    one.origin.gate.set()
    assert [response.body for response in await asyncio.gather(*asking)] == [b"mine", b"b1"]


async def test_when_the_fetching_client_disconnects_the_other_worker_fetches(one: Worker, two: Worker) -> None:
    one.origin.gate = asyncio.Event()
    leading = started(one.cached(get()))
    await settle()
    waiting = started(two.cached(get()))
    await settle()
    leading.cancel()
    assert (await waiting).body == b"b1"


async def test_an_evicted_response_is_a_miss_for_every_worker_because_purges_would_not_reach_its_copies(
    region: HostRegion, one: Worker, two: Worker
) -> None:
    await one.send()
    await two.send()
    one.origin.respond = lambda _request: response_with(("Cache-Control", "max-age=60"), body=bytes(100_000))
    for number in range(40):
        await one.send(get(f"/{number}"))
    assert HostMemory(region).evictions > 0
    assert (await two.send()).body == b"b1"


async def test_a_response_in_use_is_not_evicted(one: Worker, two: Worker, clock: Clock) -> None:
    one.origin.respond = lambda request: response_with(
        ("Cache-Control", "max-age=600"), body=bytes(100) if request.path == "/shoes" else bytes(100_000)
    )
    await one.send()
    for number in range(40):
        clock.time += 2
        await two.send()
        await one.send(get(f"/{number}"))
    assert two.origin.times == 0


async def test_without_the_lock_nothing_is_cached_and_invalidation_is_still_in_force(
    one: Worker, two: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    await one.send()
    await two.send()

    def refuse(_memory: HostMemory) -> None:
        raise LockUnavailable

    with monkeypatch.context() as patched:
        patched.setattr(host_memory.HostMemory, "_acquire", refuse)
        await two.send(get("/hats"))
        await two.send(get("/hats"))
        await two.send(get(method="POST"))
        await two.cache.purge(tag="shoe")
        assert two.origin.times == 3
        assert two.cache.snapshot()["host"]["lockouts"] > 0
    assert (await one.send()).body == b"a2"


async def test_a_claim_of_a_worker_that_died_expires(one: Worker, two: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.cache.host_tier.CLAIM_S", 0.05)
    one.origin.gate = asyncio.Event()
    abandoned = started(one.cached(get()))
    await settle()
    response = await two.send()
    assert response.body == b"b1"
    one.origin.gate.set()
    await abandoned
