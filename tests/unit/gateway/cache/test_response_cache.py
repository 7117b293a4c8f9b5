"""The response cache in front of an origin: hits, validation, single flight, stale responses, purges."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from email.utils import formatdate

import pytest

from cart.errors import ProductNotFound
from cart.model import Sku
from gateway.cache.cache import ResponseCache
from gateway.cache.fetch import REFRESH_RETRY_S
from gateway.cache.response_cache import response_cache
from gateway.cache.uncacheable import UNCACHEABLE_S
from gateway.config.policies import Cache
from gateway.http.message import Handler, Layer, Request, Response, StreamedResponse, header, resolve
from store import StoreUnavailable
from tests.unit.gateway.cache.cached_origin import CACHEABLE, Clock, Origin, cache_status, get, response_with, started
from tests.waiting import until


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def cache(clock: Clock) -> AsyncIterator[ResponseCache]:
    cache = ResponseCache(Cache(), clock=clock, now=clock.wall)
    yield cache
    await cache.close()


@pytest.fixture
def origin() -> Origin:
    return Origin()


@pytest.fixture
def cached(cache: ResponseCache, origin: Origin) -> Handler:
    return response_cache(cache)(origin)


async def ask(cached: Handler, request: Request | None = None) -> Response:
    return await resolve(cached(request if request is not None else get()))


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


# Hits


async def test_a_second_request_is_a_hit_with_its_age(cached: Handler, origin: Origin, clock: Clock) -> None:
    request = get()
    first = await ask(cached, request)
    assert cache_status(first, request) == "fwd=uri-miss; fwd-status=200; stored"
    clock.time += 7.5
    second = cached(get())
    assert isinstance(second, Response)
    assert (second.status, second.body) == (200, first.body)
    assert b"Age: 7\r\n" in second.header_block
    assert cache_status(second) == "hit; ttl=53"
    assert origin.times == 1


async def test_within_a_second_hits_are_the_same_response(cached: Handler, clock: Clock) -> None:
    await ask(cached)
    clock.time += 3.2
    first = cached(get())
    clock.time += 0.7
    assert cached(get()) is first
    clock.time += 0.2
    assert cached(get()) is not first


async def test_a_stale_response_is_fetched_again(cached: Handler, origin: Origin, clock: Clock) -> None:
    await ask(cached)
    clock.time += 60
    request = get()
    response = await ask(cached, request)
    assert response.body == b"body 2"
    assert cache_status(response, request) == "fwd=stale; fwd-status=200; stored"


async def test_host_and_query_are_part_of_the_key(cached: Handler, origin: Origin) -> None:
    for request in (get("/a"), get("/a?x=1"), get("/a?x=2"), get("/a", Host="other.example"), get("/b")):
        await ask(cached, request)
    assert origin.times == 5
    await ask(cached, get("/a", Host="SHOP.example"))
    assert origin.times == 5


async def test_key_fields_are_part_of_the_key(cache: ResponseCache, origin: Origin) -> None:
    cached = response_cache(cache, key_fields=("Host", "X-Forwarded-Proto"))(origin)
    await ask(cached, get(X_Forwarded_Proto="http"))
    await ask(cached, get(X_Forwarded_Proto="https"))
    assert origin.times == 2


async def test_a_head_is_served_from_a_get_but_not_a_get_from_a_head(cached: Handler, origin: Origin) -> None:
    await ask(cached, get(method="HEAD"))
    await ask(cached, get())
    assert origin.times == 2
    response = cached(get(method="HEAD"))
    assert isinstance(response, Response)
    assert response.status == 200


async def test_a_cache_that_is_off_is_not_a_layer(origin: Origin) -> None:
    layer = response_cache(ResponseCache(Cache(on=False)))
    assert layer(origin) is origin


@pytest.mark.parametrize("headers", [{"Range": "bytes=0-1"}, {"If_Match": '"a"'}, {"If_Unmodified_Since": "x"}])
async def test_range_and_precondition_requests_bypass_the_cache(
    cached: Handler, origin: Origin, headers: dict[str, str]
) -> None:
    await ask(cached)
    request = get(**headers)
    response = await ask(cached, request)
    assert cache_status(response, request) == "fwd=bypass; fwd-status=200"
    assert origin.seen[-1] is request


async def test_a_get_with_a_body_bypasses_the_cache(cached: Handler, origin: Origin) -> None:
    for _ in range(2):
        request = get()
        request.body = b"{}"
        await ask(cached, request)
    assert origin.times == 2


async def test_a_streamed_or_too_large_response_is_not_stored(cache: ResponseCache, origin: Origin) -> None:
    async def chunks() -> AsyncGenerator[bytes, None]:
        yield b"a"

    cached = response_cache(cache)(origin)
    origin.respond = lambda _request: StreamedResponse(
        200, chunks(), header_block=CACHEABLE, content_type=b"text/plain"
    )
    for _ in range(2):
        request = get("/stream")
        response = await ask(cached, request)
        assert isinstance(response, StreamedResponse)
        assert "stored" not in cache_status(response, request)
        await response.chunks.aclose()
    origin.respond = lambda _request: Response(200, b"x" * (Cache().max_entry_bytes + 1), header_block=CACHEABLE)
    await ask(cached, get("/large"))
    await ask(cached, get("/large"))
    assert origin.times == 4


async def test_a_degraded_response_is_not_stored(cached: Handler, origin: Origin) -> None:
    def degraded(request: Request) -> Response:
        request.extra_headers += header("Degraded", "prices")
        return response_with(("Cache-Control", "max-age=60"))

    origin.respond = degraded
    await ask(cached)
    request = get()
    await ask(cached, request)
    assert origin.times == 2
    assert request.extra_headers.count(b"Degraded: prices") == 1


async def test_fields_for_caches_alone_are_not_sent(cached: Handler, origin: Origin) -> None:
    lines = (
        ("Cache-Control", "max-age=60"),
        ("Surrogate-Key", "a b"),
        ("Cache-Tag", "c,d"),
        ("Date", formatdate(usegmt=True)),
    )
    origin.respond = lambda _request: response_with(*lines, ("X-Other", "shown"))
    for response in (await ask(cached), await ask(cached)):
        for name in (b"Surrogate-Key", b"Cache-Tag", b"Date:"):
            assert name not in response.header_block
        assert b"X-Other: shown\r\n" in response.header_block
    origin.respond = lambda _request: response_with(("Cache-Tag", "c"), ("Cache-Control", "no-store"))
    assert b"Cache-Tag" not in (await ask(cached, get("/unkept"))).header_block


async def test_responses_to_credentials_need_permission(cached: Handler, origin: Origin) -> None:
    for name in ("Authorization", "X-Api-Key"):
        target = f"/{name}"
        await ask(cached, get(target, **{name: "secret"}))
        before = origin.times
        await ask(cached, get(target))
        assert origin.times == before + 1


@pytest.mark.parametrize("name", ["X-Forwarded-For", "traceparent"])
async def test_a_response_that_varies_by_a_field_that_forwarding_writes_is_not_stored(
    cached: Handler, origin: Origin, name: str
) -> None:
    origin.respond = lambda _request: response_with(("Cache-Control", "max-age=60"), ("Vary", name))
    await ask(cached)
    await ask(cached)
    assert origin.times == 2


async def test_the_response_to_a_request_that_hides_fields_is_not_stored(cached: Handler, origin: Origin) -> None:
    await ask(cached, get(Connection="keep-alive, Accept-Language", Accept_Language="de"))
    await ask(cached, get(Accept_Language="de", Connection="Keep-Alive"))
    await ask(cached, get(Accept_Language="de"))
    assert origin.times == 2


async def test_no_client_can_end_the_caching_of_an_address_for_all(cached: Handler, origin: Origin) -> None:
    await ask(cached)
    origin.respond = lambda request: (
        response_with(status=400)
        if "X-Bad" in request.headers
        else response_with(("Cache-Control", "private" if "Cookie" in request.headers else "max-age=60"))
    )
    for headers in ({"Authorization": "x"}, {"Cookie": "a=b"}, {"X-Bad": "\x7f"}):
        request = get(Cache_Control="no-cache", **headers)
        assert "stored" not in cache_status(await ask(cached, request), request)
    assert cache_status(await ask(cached)).startswith("hit")


# Requests that ask for something


async def test_no_cache_fetches_and_refreshes_the_stored_response(cached: Handler, origin: Origin) -> None:
    await ask(cached)
    request = get(Cache_Control="no-cache")
    response = await ask(cached, request)
    assert cache_status(response, request) == "fwd=request; fwd-status=200; stored"
    assert (await ask(cached)).body == b"body 2"


async def test_no_store_is_served_a_stored_response_but_stores_none(cached: Handler, origin: Origin) -> None:
    await ask(cached, get(Cache_Control="no-store"))
    await ask(cached)
    assert origin.times == 2
    assert cache_status(await ask(cached, get(Cache_Control="no-store"))) == "hit; ttl=60"


async def test_only_if_cached_gets_504_if_nothing_is_stored(cached: Handler, origin: Origin) -> None:
    assert (await ask(cached, get(Cache_Control="only-if-cached"))).status == 504
    assert origin.times == 0
    await ask(cached)
    assert (await ask(cached, get(Cache_Control="only-if-cached"))).status == 200


async def test_max_stale_is_served_a_stale_response(cached: Handler, origin: Origin, clock: Clock) -> None:
    await ask(cached)
    clock.time += 65
    response = await ask(cached, get(Cache_Control="max-stale=10"))
    assert cache_status(response) == "hit; ttl=-5"
    assert origin.times == 1


# VaryNames


async def test_each_variant_is_served_to_the_requests_that_select_it(cached: Handler, origin: Origin) -> None:
    origin.respond = lambda request: response_with(
        *(("Cache-Control", "max-age=60"), ("Vary", "Accept-Language")),
        body=request.headers.get("Accept-Language", "-").encode(),
    )
    for language in ("en", "de", "en", "de"):
        assert (await ask(cached, get(Accept_Language=language))).body == language.encode()
    assert origin.times == 2
    request = get(Accept_Language="fr")
    assert cache_status(await ask(cached, request), request) == "fwd=vary-miss; fwd-status=200; stored"
    assert (await ask(cached, get())).body == b"-"


async def test_an_origin_that_varies_by_one_field_and_then_by_another_varies_by_both(
    cached: Handler, origin: Origin
) -> None:
    def response(request: Request) -> Response:
        name = "Accept" if "Accept" in request.headers else "Accept-Language"
        return response_with(
            ("Cache-Control", "max-age=60"), ("Vary", name), body=f"{sorted(request.headers.items())}".encode()
        )

    origin.respond = response
    for request in (get(Accept_Language="en"), get(Accept="text/html"), get(Accept="text/html", Accept_Language="de")):
        expected = f"{sorted(request.headers.items())}".encode()
        assert (await ask(cached, request)).body == expected
        assert (await ask(cached, request)).body == expected


# Conditions and validation


async def test_a_client_that_has_the_response_gets_304_from_the_cache(cached: Handler, origin: Origin) -> None:
    origin.respond = lambda _request: response_with(
        ("Cache-Control", "max-age=60"), ("ETag", '"a"'), ("Last-Modified", formatdate(0, usegmt=True)), ("Vary", "X")
    )
    first = await ask(cached, get(If_None_Match='"a"'))
    assert (first.status, first.body) == (304, b"")
    assert "If-None-Match" not in origin.seen[0].headers
    second = cached(get(If_None_Match='W/"a"'))
    assert isinstance(second, Response)
    assert second.status == 304
    assert b'ETag: "a"' in second.header_block
    assert b"Cache-Control: max-age=60" in second.header_block
    assert b"Vary: X" in second.header_block
    assert b"Last-Modified" not in second.header_block
    assert cached(get(If_None_Match='"a"')) is second
    assert (await ask(cached, get(If_None_Match='"b"'))).status == 200
    assert (await ask(cached, get(If_Modified_Since=formatdate(0, usegmt=True)))).status == 304
    assert origin.times == 1


async def test_a_stale_response_is_validated_and_updated(cached: Handler, origin: Origin, clock: Clock) -> None:
    modified = formatdate(0, usegmt=True)
    origin.respond = lambda _request: response_with(
        ("Cache-Control", "max-age=60"),
        ("ETag", '"a"'),
        ("Last-Modified", modified),
        ("X-Old", "1"),
        ("Surrogate-Key", "t"),
    )
    await ask(cached)
    clock.time += 61
    origin.respond = lambda _request: response_with(
        ("Cache-Control", "max-age=30"), ("X-New", "2"), ("Content-Type", "x/y"), status=304
    )
    request = get()
    response = await ask(cached, request)
    assert origin.seen[-1].headers["If-None-Match"] == '"a"'
    assert origin.seen[-1].headers["If-Modified-Since"] == modified
    assert "If-None-Match" not in request.headers
    assert (response.status, response.body) == (200, b"body")
    assert cache_status(response) == "fwd=stale; fwd-status=304; ttl=30"
    for line in (b"X-Old: 1\r\n", b"X-New: 2\r\n", b"Cache-Control: max-age=30\r\n", b"Age: 0\r\n"):
        assert line in response.header_block
    assert b"Content-Type" not in response.header_block
    clock.time += 29
    assert cache_status(await ask(cached)) == "hit; ttl=1"


async def test_without_validates_the_whole_is_fetched(cache: ResponseCache, origin: Origin, clock: Clock) -> None:
    cached = response_cache(cache, validates=False)(origin)
    origin.respond = lambda _request: response_with(("Cache-Control", "max-age=60"), ("ETag", '"a"'))
    await ask(cached)
    clock.time += 61
    assert (await ask(cached, get(If_None_Match='"a"'))).status == 304
    assert "If-None-Match" not in origin.seen[-1].headers


async def test_purging_everything_does_not_block_the_loop(
    cached: Handler, origin: Origin, cache: ResponseCache
) -> None:
    origin.respond = tagged("all")
    for number in range(1_200):
        await ask(cached, get(f"/{number}"))
    purging = asyncio.create_task(cache.purge(tag="all"))
    await asyncio.sleep(0)
    assert cache.snapshot()["entries"] == 700
    assert await purging == 1_200
    assert cache.snapshot()["entries"] == 0


async def test_no_cache_responses_are_validated_each_time(cached: Handler, origin: Origin) -> None:
    origin.respond = lambda request: (
        response_with(status=304, body=b"")
        if "If-None-Match" in request.headers
        else response_with(("Cache-Control", "no-cache"), ("ETag", '"a"'))
    )
    for times in range(1, 4):
        assert (await ask(cached)).body == b"body"
        assert origin.times == times


async def test_after_a_304_with_other_validators_the_whole_is_fetched(
    cached: Handler, origin: Origin, clock: Clock
) -> None:
    origin.respond = lambda _request: response_with(("Cache-Control", "max-age=60"), ("ETag", '"a"'))
    await ask(cached)
    clock.time += 61
    origin.respond = lambda request: (
        response_with(("ETag", '"b"'), status=304)
        if "If-None-Match" in request.headers
        else response_with(("Cache-Control", "max-age=60"), body=b"new")
    )
    assert (await ask(cached)).body == b"new"
    assert (await ask(cached)).body == b"new"


async def test_a_304_that_forbids_storing_removes_the_stored_response(
    cached: Handler, origin: Origin, clock: Clock
) -> None:
    origin.respond = lambda _request: response_with(("Cache-Control", "max-age=60"), ("ETag", '"a"'))
    await ask(cached)
    clock.time += 61
    origin.respond = lambda _request: response_with(("Cache-Control", "no-store"), status=304)
    assert (await ask(cached)).body == b"body"
    origin.respond = lambda _request: response_with(body=b"new")
    assert (await ask(cached)).body == b"new"


# Single flight


async def test_fifty_concurrent_requests_are_one_fetch(cached: Handler, origin: Origin, cache: ResponseCache) -> None:
    origin.gate = asyncio.Event()
    requests = [get() for _ in range(50)]
    asking = [started(cached(request)) for request in requests]
    await settle()
    origin.gate.set()
    responses = await asyncio.gather(*asking)
    assert origin.times == 1
    assert {response.body for response in responses} == {b"body 1"}
    assert cache_status(responses[0], requests[0]) == "fwd=uri-miss; fwd-status=200; stored"
    assert {cache_status(response) for response in responses[1:]} == {"fwd=uri-miss; collapsed; ttl=60"}
    assert cache.stats.collapsed == 49


async def test_requests_of_two_variants_are_two_fetches(cached: Handler, origin: Origin) -> None:
    origin.gate = asyncio.Event()
    origin.respond = lambda request: response_with(
        ("Cache-Control", "max-age=60"), ("Vary", "Accept-Encoding"), body=request.headers["Accept-Encoding"].encode()
    )
    asking = [started(cached(get(Accept_Encoding=("gzip", "br")[number % 2]))) for number in range(20)]
    await settle()
    origin.gate.set()
    responses = await asyncio.gather(*asking)
    assert [response.body for response in responses] == [b"gzip", b"br"] * 10
    assert origin.times == 2


async def test_after_a_fetch_that_is_not_stored_each_request_fetches_for_itself(
    cached: Handler, origin: Origin, clock: Clock
) -> None:
    origin.gate = asyncio.Event()
    origin.respond = lambda _request: response_with(("Cache-Control", "private"))
    asking = [started(cached(get())) for _ in range(5)]
    await settle()
    origin.gate.set()
    await asyncio.gather(*asking)
    assert origin.times == 5
    # And for a while nobody waits for anybody.
    origin.gate = asyncio.Event()
    asking = [started(cached(get())) for _ in range(5)]
    await settle()
    assert origin.times == 10
    origin.gate.set()
    await asyncio.gather(*asking)
    clock.time += UNCACHEABLE_S
    origin.respond = lambda _request: response_with(("Cache-Control", "max-age=60"))
    await ask(cached)
    await ask(cached)
    assert origin.times == 11


async def test_after_a_failed_fetch_each_request_fetches_for_itself(cached: Handler, origin: Origin) -> None:
    def fail(_request: Request) -> Response:
        raise StoreUnavailable("away")

    origin.gate = asyncio.Event()
    origin.respond = fail
    asking = [started(cached(get())) for _ in range(5)]
    await settle()
    origin.gate.set()
    errors = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(error) for error in errors] == [StoreUnavailable] * 5
    assert origin.times == 5


async def test_when_the_leader_is_cancelled_a_follower_leads(cached: Handler, origin: Origin) -> None:
    origin.gate = asyncio.Event()
    asking = [started(cached(get())) for _ in range(5)]
    await settle()
    asking[0].cancel()
    await settle()
    assert origin.times == 2
    origin.gate.set()
    responses = await asyncio.gather(*asking[1:])
    assert {response.body for response in responses} == {b"body 2"}
    assert origin.times == 2


async def test_a_cancelled_follower_leaves_the_others_waiting(cached: Handler, origin: Origin) -> None:
    origin.gate = asyncio.Event()
    asking = [started(cached(get())) for _ in range(5)]
    await settle()
    asking[2].cancel()
    await settle()
    origin.gate.set()
    responses = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(responses.pop(2), asyncio.CancelledError)
    assert origin.times == 1


# Stale on purpose


async def test_a_stale_response_is_served_while_it_is_refreshed_in_the_background(
    cached: Handler, origin: Origin, clock: Clock
) -> None:
    origin.respond = lambda _request: response_with(
        ("Cache-Control", "max-age=60, stale-while-revalidate=30"), ("ETag", '"a"'), body=b"body %d" % origin.times
    )
    await ask(cached)
    clock.time += 61
    origin.gate = asyncio.Event()
    for _ in range(5):
        response = cached(get())
        assert isinstance(response, Response)
        assert response.body == b"body 1"
        assert cache_status(response) == "hit; ttl=-1"
    await settle()
    assert origin.times == 2
    assert origin.seen[1].headers["If-None-Match"] == '"a"'
    origin.gate.set()
    await settle()
    assert (await ask(cached)).body == b"body 2"
    assert origin.times == 2


async def test_a_failed_refresh_is_retried_after_a_delay(
    cached: Handler, origin: Origin, clock: Clock, cache: ResponseCache
) -> None:
    origin.respond = lambda _request: response_with(("Cache-Control", "max-age=60, stale-while-revalidate=30"))
    await ask(cached)
    clock.time += 61
    origin.respond = lambda _request: response_with(status=500)
    for _ in range(3):
        assert (await ask(cached)).status == 200
        await settle()
    assert (origin.times, cache.stats.refresh_failed, cache.stats.stale_if_error) == (2, 1, 0)
    clock.time += REFRESH_RETRY_S
    await ask(cached)
    await settle()
    assert origin.times == 3


async def test_closing_cancels_a_refresh(cached: Handler, origin: Origin, clock: Clock, cache: ResponseCache) -> None:
    origin.respond = lambda _request: response_with(("Cache-Control", "max-age=60, stale-while-revalidate=30"))
    await ask(cached)
    clock.time += 61
    origin.gate = asyncio.Event()
    await ask(cached)
    await settle()
    assert len(asyncio.all_tasks()) == 2
    await cache.close()
    assert len(asyncio.all_tasks()) == 1


class Marks:
    def __init__(self) -> None:
        self.made: list[str] = []

    def __call__(self, _request: Request, what: str) -> None:
        self.made.append(what)


@pytest.fixture
def marks() -> Marks:
    return Marks()


FAILURES: list[Callable[[Request], Response]] = [
    lambda _request: response_with(status=500),
    lambda _request: response_with(status=503),
    lambda _request: (_ for _ in ()).throw(StoreUnavailable("away")),
    lambda _request: (_ for _ in ()).throw(ValueError("a fault")),
]


@pytest.mark.parametrize("fail", FAILURES)
async def test_a_stale_response_is_served_in_place_of_an_error_and_marked(
    cache: ResponseCache, origin: Origin, clock: Clock, marks: Marks, fail: Callable[[Request], Response]
) -> None:
    cached = response_cache(cache, mark=marks, degraded="products")(origin)
    await ask(cached)
    clock.time += 70
    origin.respond = fail
    response = await ask(cached)
    assert (response.status, response.body) == (200, b"body 1")
    assert cache_status(response).startswith("fwd=stale")
    assert cache_status(response).endswith("ttl=-10")
    assert marks.made == ["products"]


async def test_no_stale_response_is_served_after_its_time_or_in_place_of_a_refusal(
    cache: ResponseCache, origin: Origin, clock: Clock, marks: Marks
) -> None:
    cached = response_cache(cache, mark=marks)(origin)

    def gone(_request: Request) -> Response:
        raise ProductNotFound(Sku("x"))

    await ask(cached)
    clock.time += 70
    origin.respond = gone
    with pytest.raises(ProductNotFound):
        await ask(cached)
    clock.time += 60
    origin.respond = lambda _request: response_with(status=503)
    assert (await ask(cached)).status == 503
    assert marks.made == []


async def test_all_followers_of_a_failed_fetch_are_served_stale(
    cache: ResponseCache, origin: Origin, clock: Clock, marks: Marks
) -> None:
    cached = response_cache(cache, mark=marks)(origin)
    await ask(cached)
    clock.time += 70
    origin.gate = asyncio.Event()
    origin.respond = lambda _request: response_with(status=502)
    asking = [started(cached(get())) for _ in range(5)]
    await settle()
    origin.gate.set()
    assert {response.body for response in await asyncio.gather(*asking)} == {b"body 1"}
    assert (origin.times, len(marks.made)) == (2, 5)


async def test_behind_an_open_breaker_a_stale_response_is_served_at_once(
    cache: ResponseCache, origin: Origin, clock: Clock, marks: Marks
) -> None:
    tripped = False
    cached = response_cache(cache, is_tripped=lambda: tripped, mark=marks)(origin)
    await ask(cached)
    clock.time += 70
    tripped = True
    response = cached(get())
    assert isinstance(response, Response)
    assert cache_status(response) == "hit; ttl=-10; detail=tripped"
    assert marks.made == ["cache"]
    assert origin.times == 1
    clock.time += 60
    await ask(cached)
    assert origin.times == 2


async def test_after_an_error_no_request_waits_for_the_next_one(
    cache: ResponseCache, origin: Origin, clock: Clock, marks: Marks
) -> None:
    cached = response_cache(cache, mark=marks)(origin)
    await ask(cached)
    clock.time += 70
    good, origin.respond = origin.respond, lambda _request: response_with(status=504)
    await ask(cached)
    clock.time += REFRESH_RETRY_S
    origin.gate = asyncio.Event()
    for _ in range(5):
        response = cached(get())
        assert isinstance(response, Response)
        assert cache_status(response) == "hit; ttl=-11; detail=failing"
    await settle()
    assert (origin.times, len(marks.made)) == (3, 6)
    origin.respond = good
    origin.gate.set()
    await settle()
    assert cache_status(await ask(cached)) == "hit; ttl=60"
    assert origin.times == 3


async def test_a_response_that_must_be_validated_is_not_served_behind_an_open_breaker(
    cache: ResponseCache, origin: Origin, clock: Clock
) -> None:
    cached = response_cache(cache, is_tripped=lambda: True)(origin)
    origin.respond = lambda _request: response_with(("Cache-Control", "max-age=60, must-revalidate"))
    await ask(cached)
    clock.time += 61
    origin.respond = lambda _request: response_with(status=503)
    assert (await ask(cached)).status == 503


# Changes and purges


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "BREW"])
async def test_an_unsafe_request_that_succeeds_invalidates_its_address(
    cached: Handler, origin: Origin, method: str
) -> None:
    for target in ("/shoes", "/made", "/shown?x=1", "/other"):
        await ask(cached, get(target))
    origin.respond = lambda _request: response_with(
        ("Location", "/made"), ("Content-Location", "http://shop.example/shown?x=1"), status=201
    )
    request = get(method=method)
    assert cache_status(await ask(cached, request), request) == "fwd=method; fwd-status=201"
    origin.respond = lambda _request: response_with(("Cache-Control", "max-age=60"), body=b"new")
    for target in ("/shoes", "/made", "/shown?x=1"):
        assert (await ask(cached, get(target))).body == b"new"
    assert (await ask(cached, get("/other"))).body == b"body 4"


@pytest.mark.parametrize("location", ["http://other.example/shoes2", "http://[bad"])
async def test_an_unsafe_request_invalidates_nothing_of_another_host(
    cached: Handler, origin: Origin, location: str
) -> None:
    await ask(cached, get("/shoes2"))
    await ask(cached, get("/shoes2", Host="other.example"))
    origin.respond = lambda _request: response_with(("Location", location), status=201)
    await ask(cached, get("/x", method="POST"))
    assert cache_status(await ask(cached, get("/shoes2"))).startswith("hit")
    assert cache_status(await ask(cached, get("/shoes2", Host="other.example"))).startswith("hit")


async def test_an_unsafe_request_that_fails_invalidates_nothing(cached: Handler, origin: Origin) -> None:
    await ask(cached)
    origin.respond = lambda _request: response_with(status=422)
    await ask(cached, get(method="POST"))
    assert cache_status(await ask(cached)).startswith("hit")


async def test_a_response_requested_before_an_invalidation_is_not_stored_after_it(
    cached: Handler, origin: Origin
) -> None:
    origin.gate = asyncio.Event()
    fetching = started(cached(get()))
    await settle()
    gate, origin.gate = origin.gate, None
    await ask(cached, get(method="POST"))
    gate.set()
    await fetching
    before = origin.times
    await ask(cached)
    assert origin.times == before + 1


def tagged(*tags: str) -> Callable[[Request], Response]:
    return lambda _request: response_with(("Cache-Control", "max-age=60"), ("Surrogate-Key", " ".join(tags)))


async def test_purges_by_address_prefix_and_tag(cached: Handler, origin: Origin, cache: ResponseCache) -> None:
    async def fill() -> None:
        origin.respond = tagged("shoe", "new")
        await ask(cached, get("/shoes/1"))
        await ask(cached, get("/shoes/1", Host="other.example"))
        origin.respond = lambda _request: response_with(
            ("Cache-Control", "max-age=60"), ("Cache-Tag", "shoe, old sale")
        )
        await ask(cached, get("/shoes/2?x=1"))
        origin.respond = tagged()
        await ask(cached, get("/hats/1"))

    async def purged(count: int, **what: str) -> None:
        await fill()
        assert await cache.purge(**what) == count  # type: ignore[arg-type] # no `soft` among them

    await purged(2, url="/shoes/1")
    await purged(1, url="http://other.example/shoes/1")
    await purged(0, url="/shoes/2")
    await purged(1, url="/shoes/2?x=1")
    await purged(3, prefix="/shoes/")
    await purged(2, prefix="https://shop.example/shoes/")
    await purged(3, tag="shoe")
    await purged(2, tag="new")
    await purged(1, tag="old sale")
    await purged(0, tag="hat")
    await purged(4, prefix="/")
    assert cache.snapshot()["entries"] == 0
    assert cache.snapshot()["bytes"] == 0
    assert cache.memory._keys_by_tag == {}
    assert cache.memory._suffixes_by_host == {}


@pytest.mark.parametrize("what", [{}, {"url": "/a", "tag": "b"}, {"url": "shoes"}, {"tag": " "}, {"prefix": ""}])
async def test_a_purge_names_one_thing(cache: ResponseCache, what: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"name one|begins with"):
        await cache.purge(**what)  # type: ignore[arg-type]


async def test_a_purge_by_tag_removes_only_the_variants_that_have_it(
    cached: Handler, origin: Origin, cache: ResponseCache
) -> None:
    origin.respond = lambda request: response_with(
        ("Cache-Control", "max-age=60"), ("Vary", "Accept-Language"), ("Cache-Tag", request.headers["Accept-Language"])
    )
    for language in ("en", "de"):
        await ask(cached, get(Accept_Language=language))
    assert await cache.purge(tag="en") == 1
    assert cache_status(await ask(cached, get(Accept_Language="de"))).startswith("hit")
    request = get(Accept_Language="en")
    assert cache_status(await ask(cached, request), request).startswith("fwd=vary-miss")


async def test_a_soft_purge_leaves_a_response_to_serve_on_error(
    cache: ResponseCache, origin: Origin, clock: Clock, marks: Marks
) -> None:
    cached = response_cache(cache, mark=marks)(origin)
    await ask(cached)
    clock.time += 10
    assert await cache.purge(url="/shoes", soft=True) == 1
    origin.respond = lambda _request: response_with(status=503)
    assert (await ask(cached)).body == b"body 1"
    assert marks.made == ["cache"]
    clock.time += 59
    assert (await ask(cached)).status == 200
    clock.time += 2
    assert (await ask(cached)).status == 503


async def test_a_response_requested_before_a_purge_is_not_stored_after_it(
    cached: Handler, origin: Origin, cache: ResponseCache
) -> None:
    for what in ({"url": "/shoes"}, {"prefix": "/sh"}, {"tag": "shoe"}):
        origin.respond = tagged("shoe")
        origin.gate = asyncio.Event()
        fetching = started(cached(get()))
        await settle()
        await cache.purge(**what)  # type: ignore[arg-type]
        origin.gate.set()
        await fetching
        assert cache.snapshot()["entries"] == 0
        await ask(cached)
        assert cache_status(await ask(cached)).startswith("hit")


# A worker's life


async def test_a_reload_keeps_the_responses_that_fit(cached: Handler, origin: Origin, cache: ResponseCache) -> None:
    origin.respond = lambda _request: response_with(("Cache-Control", "max-age=60"))
    for number in range(10):
        await ask(cached, get(f"/{number}"))
    cache.update(Cache(memory_bytes=cache.snapshot()["bytes"] // 2))
    assert cache.snapshot()["entries"] == 5
    assert cache_status(await ask(cached, get("/9"))).startswith("hit")
    cache.update(Cache(on=False))
    assert cache.snapshot()["entries"] == 0


async def test_results_are_counted(cached: Handler, cache: ResponseCache) -> None:
    for _ in range(3):
        await ask(cached)
    assert (cache.snapshot()["hit"], cache.snapshot()["miss"]) == (2, 1)
    families = {metric.name: metric for metric in cache.metrics()}
    assert {sample.labels["result"]: sample.value for sample in families["peakgate_cache_results_total"].samples}[
        "hit"
    ] == 2
    assert families["peakgate_cache_entries"].samples[0].value == 1
    assert families["peakgate_cache_bytes"].samples[0].value > 0


async def test_layers_share_stored_responses(cache: ResponseCache, origin: Origin) -> None:
    layer: Layer = response_cache(cache)
    await ask(layer(origin))
    await ask(layer(origin))
    assert origin.times == 1


async def test_running_ends_when_cancelled(cache: ResponseCache) -> None:
    task = asyncio.create_task(cache.run())
    await until(lambda: not task.done())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
