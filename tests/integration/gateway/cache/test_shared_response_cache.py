"""Two workers' response caches over one store: the second tier, and purges that reach both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest

from gateway.cache.cache import ResponseCache
from gateway.cache.purge import Purge
from gateway.cache.purge_log import PurgeLog
from gateway.cache.purging import MAX_POLL_AGE_S
from gateway.cache.response_cache import response_cache
from gateway.cache.shared_format import SharedResponse, VaryNames
from gateway.cache.store_backend import StoreBackend
from gateway.config.policies import Cache
from gateway.http.message import Handler, Request, Response, header, resolve
from store import Client, Script, Store, StoreUnavailable
from store.resp import Arg
from tests.unit.gateway.cache.cached_origin import Clock, Origin, cache_status, get, response_with
from tests.waiting import until

SHARED = Cache(shared=True, stale_if_error_s=30.0)


class FlakyStore:
    """A store that can be away."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.is_away = False

    def _refused(self) -> asyncio.Future[Any]:
        refused: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        refused.set_exception(StoreUnavailable("away"))
        return refused

    def execute(self, *command: Arg) -> Awaitable[Any]:
        return self._refused() if self.is_away else self._store.execute(*command)

    def execute_blocking(self, *command: Arg, timeout_s: float) -> Awaitable[Any]:
        raise NotImplementedError

    def run(self, script: Script, keys: object, args: object = ()) -> Awaitable[Any]:
        raise NotImplementedError


class Worker:
    """A cache of its own in front of an origin of its own."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store = FlakyStore(store)
        self.origin = Origin(
            lambda _request: response_with(("Cache-Control", "max-age=60"), ("Cache-Tag", "shoe"), ("ETag", '"a"'))
        )
        self.cache = ResponseCache(SHARED, store=self.store, clock=clock, now=clock.wall)
        self.cached: Handler = response_cache(self.cache)(self.origin)

    async def send(self, request: Request | None = None) -> Response:
        return await resolve(self.cached(request or get()))

    async def written(self) -> None:
        """Wait for the writes in the background."""
        await until(lambda: not self.cache.snapshot()["background_tasks"])


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def one(store: Client, clock: Clock) -> AsyncIterator[Worker]:
    worker = Worker(store, clock)
    await worker.cache.poll()
    yield worker
    await worker.cache.close()


@pytest.fixture
async def two(store: Client, clock: Clock) -> AsyncIterator[Worker]:
    worker = Worker(store, clock)
    await worker.cache.poll()
    yield worker
    await worker.cache.close()


async def test_a_response_that_one_worker_fetched_is_a_hit_for_the_other(
    one: Worker, two: Worker, clock: Clock
) -> None:
    await one.send()
    await one.written()
    clock.time += 10
    await two.cache.poll()
    response = await two.send()
    assert (response.status, response.body) == (200, b"body")
    assert cache_status(response) == "hit; ttl=50; detail=shared"
    assert b"Age: 10\r\n" in response.header_block
    assert b"Cache-Tag" not in response.header_block
    assert two.origin.times == 0
    assert cache_status(await two.send()) == "hit; ttl=50"


async def test_a_response_fetched_after_a_purge_is_shared(one: Worker, two: Worker) -> None:
    await one.send()
    await one.written()
    await one.cache.purge(tag="shoe")
    await one.cache.poll()
    await one.send()
    await one.written()
    await two.cache.poll()
    assert cache_status(await two.send()) == "hit; ttl=60; detail=shared"
    assert (one.origin.times, two.origin.times) == (2, 0)


async def test_variants_are_shared(one: Worker, two: Worker) -> None:
    def response(request: Request) -> Response:
        return response_with(
            ("Cache-Control", "max-age=60"),
            ("Vary", "Accept-Language"),
            body=request.headers["Accept-Language"].encode(),
        )

    one.origin.respond = two.origin.respond = response
    for language in ("en", "de"):
        await one.send(get(Accept_Language=language))
    await one.written()
    for language in ("en", "de"):
        assert (await two.send(get(Accept_Language=language))).body == language.encode()
    assert two.origin.times == 0
    await two.send(get(Accept_Language="fr"))
    assert two.origin.times == 1


async def test_a_stale_response_of_the_other_worker_is_validated_and_served_on_error(
    one: Worker, two: Worker, clock: Clock
) -> None:
    await one.send()
    await one.written()
    clock.time += 70
    await two.cache.poll()
    two.origin.respond = lambda _request: response_with(status=503)
    assert (await two.send()).status == 200
    assert two.origin.seen[0].headers["If-None-Match"] == '"a"'


@pytest.mark.parametrize("what", [{"url": "/shoes"}, {"prefix": "/sh"}, {"tag": "shoe"}])
async def test_a_purge_reaches_the_other_worker_and_the_second_tier(
    one: Worker, two: Worker, what: dict[str, str]
) -> None:
    await one.send()
    await one.written()
    await two.send()
    assert await one.cache.purge(**what) == 1  # type: ignore[arg-type] # no `soft` among them
    await one.send()
    assert one.origin.times == 2
    await two.cache.poll()
    await one.cache.poll()
    assert cache_status(await one.send()).startswith("hit")
    assert two.cache.snapshot()["entries"] == 0


async def test_a_soft_purge_reaches_the_other_worker_and_the_second_tier(one: Worker, two: Worker) -> None:
    await one.send()
    await one.written()
    await two.cache.purge(tag="shoe", soft=True)
    two.origin.respond = lambda _request: response_with(status=503)
    assert (await two.send()).status == 200
    await one.cache.poll()
    await one.send()
    assert one.origin.times == 2


async def test_an_unsafe_request_invalidates_in_the_other_worker(one: Worker, two: Worker) -> None:
    await one.send()
    await one.written()
    await two.send()
    await one.send(get(method="POST"))
    assert one.cache.snapshot()["unpublished_purges"] == 1
    # Before it is published, the second tier serves no invalidated response here.
    await one.send()
    assert one.origin.times == 3
    await one.written()
    await one.cache.poll()
    await two.cache.poll()
    assert two.cache.snapshot()["entries"] == 0


async def test_a_worker_that_starts_later_reads_nothing_that_was_purged(
    one: Worker, store: Client, clock: Clock
) -> None:
    await one.send()
    await one.written()
    await one.cache.purge(tag="shoe")
    late = Worker(store, clock)
    await late.cache.poll()
    await late.send()
    assert late.origin.times == 1
    await late.cache.close()


async def test_a_worker_that_cannot_read_purges_does_not_trust_the_second_tier(
    one: Worker, two: Worker, clock: Clock
) -> None:
    await one.send()
    await one.written()
    clock.time += MAX_POLL_AGE_S + 1
    await two.send()
    assert two.origin.times == 1


async def test_without_the_store_only_shared_responses_are_lost(one: Worker, two: Worker, clock: Clock) -> None:
    await one.send()
    await one.written()
    two.store.is_away = True
    assert (await two.send()).status == 200
    await two.written()
    assert two.origin.times == 1
    assert cache_status(await two.send()).startswith("hit")
    assert two.cache.stats.shared_errors == 2


async def test_a_purge_without_the_store_is_published_when_it_is_back(one: Worker, two: Worker) -> None:
    await one.send()
    await one.written()
    await two.send()
    one.store.is_away = True
    assert await one.cache.purge(url="/shoes") == 1
    await one.cache.poll()
    one.store.is_away = False
    # The second tier serves no purged response here, published or not.
    await one.send()
    assert one.origin.times == 2
    await one.cache.poll()
    await two.cache.poll()
    assert two.cache.snapshot()["entries"] == 0
    assert one.cache.snapshot()["unpublished_purges"] == 0


async def test_purges_reach_the_other_worker_without_a_second_tier(store: Client, clock: Clock) -> None:
    caches = [ResponseCache(Cache(), store=store, clock=clock, now=clock.wall) for _ in range(2)]
    origins = [Origin(), Origin()]
    fronts = [response_cache(cache)(origin) for cache, origin in zip(caches, origins, strict=True)]
    for cached in fronts:
        await resolve(cached(get()))
    assert await caches[0].purge(prefix="/") == 1
    await caches[1].poll()
    assert caches[1].snapshot()["entries"] == 0
    assert await store.execute("KEYS", "peakgate:cache:*") == [b"peakgate:cache:purges"]


async def test_run_reads_purges_until_it_is_cancelled(one: Worker, two: Worker) -> None:
    await two.send()
    following = asyncio.create_task(two.cache.run())
    await one.cache.purge(prefix="/")
    await until(lambda: two.cache.snapshot()["entries"] == 0)
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following


async def test_the_log_is_read_in_pages_and_once(store: Client) -> None:
    log, reader = PurgeLog(store), PurgeLog(store)
    positions = [await log.publish(Purge("tag", f"t{number}")) for number in range(1_500)]
    assert [position for position, *_ in await reader.read()] == positions
    assert await reader.read() == []
    await log.publish(Purge("url", "/\udce9/x", soft=True))
    assert [purge for _, purge, _ in await reader.read()] == [Purge("prefix", "/")]
    await store.execute("XADD", "peakgate:cache:purges", "*", "purge", b'{"kind":"moon"}')
    assert [purge for _, purge, _ in await reader.read()] == [Purge("prefix", "/")]


async def test_the_second_tier_is_an_aiocache_cache(store: Client, one: Worker) -> None:
    await one.send()
    await one.written()
    tier = StoreBackend(store)
    key = "/shoes\nshop.example"
    stored = await tier.get(key)
    assert isinstance(stored, SharedResponse)
    assert await tier.exists(key)
    assert 0 < await store.execute("PTTL", tier.build_key(key)) <= 90_000
    assert await tier.delete(key) == 1
    assert await tier.get(key) is None
    await tier.set(key, VaryNames(("accept",)), ttl=5)
    assert await tier.get(key) == VaryNames(("accept",))
    await store.execute("SET", tier.build_key(key), b"\x00\x00\x00\x05other version")
    assert await tier.get(key) is None


async def test_validators_and_tags_of_any_bytes_are_shared(one: Worker, two: Worker) -> None:
    block = b'Cache-Control: max-age=60\r\nETag: "caf\xc3\xa9 \xff"\r\nCache-Tag: caf\xc3\xa9\r\n'
    one.origin.respond = lambda _request: Response(200, b"any", header_block=block, content_type=b"")
    await one.send()
    await one.written()
    await two.cache.poll()
    response = await two.send()
    assert not two.origin.seen
    assert (response.body, response.content_type) == (b"any", b"")
    known = b'"caf\xc3\xa9 \xff"'.decode("utf-8", "surrogateescape")
    assert (await two.send(get(if_none_match=known))).status == 304
    assert await two.cache.purge(tag="café") == 1


async def test_private_responses_never_reach_the_store(one: Worker, store: Client) -> None:
    one.origin.respond = lambda _request: Response(
        200, b"secret", header_block=header("Cache-Control", "private, max-age=60")
    )
    await one.send()
    await one.written()
    assert await store.execute("KEYS", "peakgate:cache:*") == []


async def test_a_shared_response_that_is_not_younger_does_not_replace_the_one_in_memory(
    one: Worker, two: Worker, clock: Clock
) -> None:
    request = get()
    await one.send(request)
    await one.written()
    clock.time += 10
    await two.cache.poll()
    await two.send(request)
    assert two.cache.stats.shared_hits == 1
    assert await two.cache.load("/shoes\nshop.example", request.headers) is None
    assert two.cache.stats.shared_hits == 1
