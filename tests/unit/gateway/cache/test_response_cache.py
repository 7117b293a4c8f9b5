"""The response cache in front of an origin: hits, validation, single flight, stale answers, purges."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from email.utils import formatdate

import pytest

from cart.errors import ProductNotFound
from cart.model import Sku
from gateway.cache.cache import UNCACHEABLE_S, ResponseCache
from gateway.cache.response_cache import REFRESH_AGAIN_S, response_cache
from gateway.config.policies import Cache
from gateway.http.message import Handler, Layer, Request, Response, StreamedResponse, header, resolve
from store import StoreUnavailable
from tests.unit.gateway.cache.cached_origin import CACHEABLE, Clock, Origin, cache_status, get, running, says
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
def front(cache: ResponseCache, origin: Origin) -> Handler:
    return response_cache(cache)(origin)


async def ask(front: Handler, request: Request | None = None) -> Response:
    return await resolve(front(request if request is not None else get()))


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


# Hits


async def test_a_second_request_is_answered_at_once_with_its_age(front: Handler, origin: Origin, clock: Clock) -> None:
    request = get()
    first = await ask(front, request)
    assert cache_status(first, request) == "fwd=uri-miss; fwd-status=200; stored"
    clock.time += 7.5
    second = front(get())
    assert isinstance(second, Response)
    assert (second.status, second.body) == (200, first.body)
    assert b"Age: 7\r\n" in second.header_block
    assert cache_status(second) == "hit; ttl=53"
    assert origin.times == 1


async def test_within_a_second_hits_are_the_same_response(front: Handler, clock: Clock) -> None:
    await ask(front)
    clock.time += 3.2
    first = front(get())
    clock.time += 0.7
    assert front(get()) is first
    clock.time += 0.2
    assert front(get()) is not first


async def test_what_is_stale_is_fetched_again(front: Handler, origin: Origin, clock: Clock) -> None:
    await ask(front)
    clock.time += 60
    request = get()
    answer = await ask(front, request)
    assert answer.body == b"body 2"
    assert cache_status(answer, request) == "fwd=stale; fwd-status=200; stored"


async def test_host_and_query_are_part_of_the_address(front: Handler, origin: Origin) -> None:
    for request in (get("/a"), get("/a?x=1"), get("/a?x=2"), get("/a", Host="other.example"), get("/b")):
        await ask(front, request)
    assert origin.times == 5
    await ask(front, get("/a", Host="SHOP.example"))
    assert origin.times == 5


async def test_key_fields_are_part_of_the_address(cache: ResponseCache, origin: Origin) -> None:
    front = response_cache(cache, key_fields=("Host", "X-Forwarded-Proto"))(origin)
    await ask(front, get(X_Forwarded_Proto="http"))
    await ask(front, get(X_Forwarded_Proto="https"))
    assert origin.times == 2


async def test_a_head_is_answered_from_a_get_but_not_the_other_way_round(front: Handler, origin: Origin) -> None:
    await ask(front, get(method="HEAD"))
    await ask(front, get())
    assert origin.times == 2
    answer = front(get(method="HEAD"))
    assert isinstance(answer, Response)
    assert answer.status == 200


async def test_a_cache_that_is_off_is_no_layer(origin: Origin) -> None:
    layer = response_cache(ResponseCache(Cache(on=False)))
    assert layer(origin) is origin


@pytest.mark.parametrize("headers", [{"Range": "bytes=0-1"}, {"If_Match": '"a"'}, {"If_Unmodified_Since": "x"}])
async def test_requests_for_parts_or_under_preconditions_pass(
    front: Handler, origin: Origin, headers: dict[str, str]
) -> None:
    await ask(front)
    request = get(**headers)
    answer = await ask(front, request)
    assert cache_status(answer, request) == "fwd=bypass; fwd-status=200"
    assert origin.seen[-1] is request


async def test_a_get_with_a_body_passes(front: Handler, origin: Origin) -> None:
    for _ in range(2):
        request = get()
        request.body = b"{}"
        await ask(front, request)
    assert origin.times == 2


async def test_what_is_streamed_or_too_large_passes_unkept(cache: ResponseCache, origin: Origin) -> None:
    async def chunks() -> AsyncGenerator[bytes, None]:
        yield b"a"

    front = response_cache(cache)(origin)
    origin.answer = lambda _request: StreamedResponse(200, chunks(), header_block=CACHEABLE, content_type=b"text/plain")
    for _ in range(2):
        request = get("/stream")
        answer = await ask(front, request)
        assert isinstance(answer, StreamedResponse)
        assert "stored" not in cache_status(answer, request)
        await answer.chunks.aclose()
    origin.answer = lambda _request: Response(200, b"x" * (Cache().entry_most_bytes + 1), header_block=CACHEABLE)
    await ask(front, get("/large"))
    await ask(front, get("/large"))
    assert origin.times == 4


async def test_a_degraded_answer_is_not_kept(front: Handler, origin: Origin) -> None:
    def degraded(request: Request) -> Response:
        request.extra_headers += header("Degraded", "prices")
        return says(("Cache-Control", "max-age=60"))

    origin.answer = degraded
    await ask(front)
    request = get()
    await ask(front, request)
    assert origin.times == 2
    assert request.extra_headers.count(b"Degraded: prices") == 1


async def test_what_is_for_caches_alone_is_not_shown(front: Handler, origin: Origin) -> None:
    lines = (
        ("Cache-Control", "max-age=60"),
        ("Surrogate-Key", "a b"),
        ("Cache-Tag", "c,d"),
        ("Date", formatdate(usegmt=True)),
    )
    origin.answer = lambda _request: says(*lines, ("X-Other", "shown"))
    for answer in (await ask(front), await ask(front)):
        for name in (b"Surrogate-Key", b"Cache-Tag", b"Date:"):
            assert name not in answer.header_block
        assert b"X-Other: shown\r\n" in answer.header_block
    origin.answer = lambda _request: says(("Cache-Tag", "c"), ("Cache-Control", "no-store"))
    assert b"Cache-Tag" not in (await ask(front, get("/unkept"))).header_block


async def test_credentials_need_permission(front: Handler, origin: Origin) -> None:
    for name in ("Authorization", "X-Api-Key"):
        target = f"/{name}"
        await ask(front, get(target, **{name: "secret"}))
        before = origin.times
        await ask(front, get(target))
        assert origin.times == before + 1


@pytest.mark.parametrize("name", ["X-Forwarded-For", "traceparent"])
async def test_what_varies_by_a_field_that_forwarding_writes_is_not_kept(
    front: Handler, origin: Origin, name: str
) -> None:
    origin.answer = lambda _request: says(("Cache-Control", "max-age=60"), ("Vary", name))
    await ask(front)
    await ask(front)
    assert origin.times == 2


async def test_a_request_that_hides_fields_from_the_origin_leaves_nothing(front: Handler, origin: Origin) -> None:
    await ask(front, get(Connection="keep-alive, Accept-Language", Accept_Language="de"))
    await ask(front, get(Accept_Language="de", Connection="Keep-Alive"))
    await ask(front, get(Accept_Language="de"))
    assert origin.times == 2


async def test_nobody_can_end_the_caching_of_an_address_for_all(front: Handler, origin: Origin) -> None:
    await ask(front)
    origin.answer = lambda request: (
        says(status=400)
        if "X-Bad" in request.headers
        else says(("Cache-Control", "private" if "Cookie" in request.headers else "max-age=60"))
    )
    for headers in ({"Authorization": "x"}, {"Cookie": "a=b"}, {"X-Bad": "\x7f"}):
        request = get(Cache_Control="no-cache", **headers)
        assert "stored" not in cache_status(await ask(front, request), request)
    assert cache_status(await ask(front)).startswith("hit")


# Requests that ask for something


async def test_no_cache_fetches_and_refreshes_what_is_kept(front: Handler, origin: Origin) -> None:
    await ask(front)
    request = get(Cache_Control="no-cache")
    answer = await ask(front, request)
    assert cache_status(answer, request) == "fwd=request; fwd-status=200; stored"
    assert (await ask(front)).body == b"body 2"


async def test_no_store_takes_what_is_kept_but_leaves_nothing(front: Handler, origin: Origin) -> None:
    await ask(front, get(Cache_Control="no-store"))
    await ask(front)
    assert origin.times == 2
    assert cache_status(await ask(front, get(Cache_Control="no-store"))) == "hit; ttl=60"


async def test_only_if_cached_is_answered_504_where_nothing_is(front: Handler, origin: Origin) -> None:
    assert (await ask(front, get(Cache_Control="only-if-cached"))).status == 504
    assert origin.times == 0
    await ask(front)
    assert (await ask(front, get(Cache_Control="only-if-cached"))).status == 200


async def test_max_stale_is_served_stale(front: Handler, origin: Origin, clock: Clock) -> None:
    await ask(front)
    clock.time += 65
    answer = await ask(front, get(Cache_Control="max-stale=10"))
    assert cache_status(answer) == "hit; ttl=-5"
    assert origin.times == 1


# Variants


async def test_each_variant_is_kept_for_those_who_select_it(front: Handler, origin: Origin) -> None:
    origin.answer = lambda request: says(
        *(("Cache-Control", "max-age=60"), ("Vary", "Accept-Language")),
        body=request.headers.get("Accept-Language", "-").encode(),
    )
    for language in ("en", "de", "en", "de"):
        assert (await ask(front, get(Accept_Language=language))).body == language.encode()
    assert origin.times == 2
    request = get(Accept_Language="fr")
    assert cache_status(await ask(front, request), request) == "fwd=vary-miss; fwd-status=200; stored"
    assert (await ask(front, get())).body == b"-"


async def test_an_origin_that_varies_by_one_and_then_by_another_varies_by_both(front: Handler, origin: Origin) -> None:
    def answer(request: Request) -> Response:
        name = "Accept" if "Accept" in request.headers else "Accept-Language"
        return says(("Cache-Control", "max-age=60"), ("Vary", name), body=f"{sorted(request.headers.items())}".encode())

    origin.answer = answer
    for request in (get(Accept_Language="en"), get(Accept="text/html"), get(Accept="text/html", Accept_Language="de")):
        expected = f"{sorted(request.headers.items())}".encode()
        assert (await ask(front, request)).body == expected
        assert (await ask(front, request)).body == expected


# Conditions and validation


async def test_a_shopper_who_has_it_is_answered_304_from_the_cache(front: Handler, origin: Origin) -> None:
    origin.answer = lambda _request: says(
        ("Cache-Control", "max-age=60"), ("ETag", '"a"'), ("Last-Modified", formatdate(0, usegmt=True)), ("Vary", "X")
    )
    first = await ask(front, get(If_None_Match='"a"'))
    assert (first.status, first.body) == (304, b"")
    assert "If-None-Match" not in origin.seen[0].headers
    second = front(get(If_None_Match='W/"a"'))
    assert isinstance(second, Response)
    assert second.status == 304
    assert b'ETag: "a"' in second.header_block
    assert b"Cache-Control: max-age=60" in second.header_block
    assert b"Vary: X" in second.header_block
    assert b"Last-Modified" not in second.header_block
    assert front(get(If_None_Match='"a"')) is second
    assert (await ask(front, get(If_None_Match='"b"'))).status == 200
    assert (await ask(front, get(If_Modified_Since=formatdate(0, usegmt=True)))).status == 304
    assert origin.times == 1


async def test_what_is_stale_is_validated_and_brought_up_to_date(front: Handler, origin: Origin, clock: Clock) -> None:
    modified = formatdate(0, usegmt=True)
    origin.answer = lambda _request: says(
        ("Cache-Control", "max-age=60"),
        ("ETag", '"a"'),
        ("Last-Modified", modified),
        ("X-Old", "1"),
        ("Surrogate-Key", "t"),
    )
    await ask(front)
    clock.time += 61
    origin.answer = lambda _request: says(
        ("Cache-Control", "max-age=30"), ("X-New", "2"), ("Content-Type", "x/y"), status=304
    )
    request = get()
    answer = await ask(front, request)
    assert origin.seen[-1].headers["If-None-Match"] == '"a"'
    assert origin.seen[-1].headers["If-Modified-Since"] == modified
    assert "If-None-Match" not in request.headers
    assert (answer.status, answer.body) == (200, b"body")
    assert cache_status(answer) == "fwd=stale; fwd-status=304; ttl=30"
    for line in (b"X-Old: 1\r\n", b"X-New: 2\r\n", b"Cache-Control: max-age=30\r\n", b"Age: 0\r\n"):
        assert line in answer.header_block
    assert b"Content-Type" not in answer.header_block
    clock.time += 29
    assert cache_status(await ask(front)) == "hit; ttl=1"


async def test_where_validating_does_not_pay_the_whole_is_fetched(
    cache: ResponseCache, origin: Origin, clock: Clock
) -> None:
    front = response_cache(cache, validates=False)(origin)
    origin.answer = lambda _request: says(("Cache-Control", "max-age=60"), ("ETag", '"a"'))
    await ask(front)
    clock.time += 61
    assert (await ask(front, get(If_None_Match='"a"'))).status == 304
    assert "If-None-Match" not in origin.seen[-1].headers


async def test_purging_everything_lets_shoppers_in_between(
    front: Handler, origin: Origin, cache: ResponseCache
) -> None:
    origin.answer = tagged("all")
    for number in range(1_200):
        await ask(front, get(f"/{number}"))
    purging = asyncio.create_task(cache.purge(tag="all"))
    await asyncio.sleep(0)
    assert cache.snapshot()["entries"] == 700
    assert await purging == 1_200
    assert cache.snapshot()["entries"] == 0


async def test_no_cache_answers_are_validated_each_time(front: Handler, origin: Origin) -> None:
    origin.answer = lambda request: (
        says(status=304, body=b"")
        if "If-None-Match" in request.headers
        else says(("Cache-Control", "no-cache"), ("ETag", '"a"'))
    )
    for times in range(1, 4):
        assert (await ask(front)).body == b"body"
        assert origin.times == times


async def test_a_304_for_something_else_is_asked_for_as_a_whole(front: Handler, origin: Origin, clock: Clock) -> None:
    origin.answer = lambda _request: says(("Cache-Control", "max-age=60"), ("ETag", '"a"'))
    await ask(front)
    clock.time += 61
    origin.answer = lambda request: (
        says(("ETag", '"b"'), status=304)
        if "If-None-Match" in request.headers
        else says(("Cache-Control", "max-age=60"), body=b"new")
    )
    assert (await ask(front)).body == b"new"
    assert (await ask(front)).body == b"new"


async def test_a_304_that_forbids_keeping_ends_what_is_kept(front: Handler, origin: Origin, clock: Clock) -> None:
    origin.answer = lambda _request: says(("Cache-Control", "max-age=60"), ("ETag", '"a"'))
    await ask(front)
    clock.time += 61
    origin.answer = lambda _request: says(("Cache-Control", "no-store"), status=304)
    assert (await ask(front)).body == b"body"
    origin.answer = lambda _request: says(body=b"new")
    assert (await ask(front)).body == b"new"


# Single flight


async def test_fifty_shoppers_are_one_fetch(front: Handler, origin: Origin, cache: ResponseCache) -> None:
    origin.gate = asyncio.Event()
    requests = [get() for _ in range(50)]
    asking = [running(front(request)) for request in requests]
    await settle()
    origin.gate.set()
    answers = await asyncio.gather(*asking)
    assert origin.times == 1
    assert {answer.body for answer in answers} == {b"body 1"}
    assert cache_status(answers[0], requests[0]) == "fwd=uri-miss; fwd-status=200; stored"
    assert {cache_status(answer) for answer in answers[1:]} == {"fwd=uri-miss; collapsed; ttl=60"}
    assert cache.counts.collapsed == 49


async def test_shoppers_of_two_variants_are_two_fetches(front: Handler, origin: Origin) -> None:
    origin.gate = asyncio.Event()
    origin.answer = lambda request: says(
        ("Cache-Control", "max-age=60"), ("Vary", "Accept-Encoding"), body=request.headers["Accept-Encoding"].encode()
    )
    asking = [running(front(get(Accept_Encoding=("gzip", "br")[number % 2]))) for number in range(20)]
    await settle()
    origin.gate.set()
    answers = await asyncio.gather(*asking)
    assert [answer.body for answer in answers] == [b"gzip", b"br"] * 10
    assert origin.times == 2


async def test_a_fetch_that_cannot_be_kept_sends_each_on_their_own(
    front: Handler, origin: Origin, clock: Clock
) -> None:
    origin.gate = asyncio.Event()
    origin.answer = lambda _request: says(("Cache-Control", "private"))
    asking = [running(front(get())) for _ in range(5)]
    await settle()
    origin.gate.set()
    await asyncio.gather(*asking)
    assert origin.times == 5
    # And for a while nobody waits for anybody.
    origin.gate = asyncio.Event()
    asking = [running(front(get())) for _ in range(5)]
    await settle()
    assert origin.times == 10
    origin.gate.set()
    await asyncio.gather(*asking)
    clock.time += UNCACHEABLE_S
    origin.answer = lambda _request: says(("Cache-Control", "max-age=60"))
    await ask(front)
    await ask(front)
    assert origin.times == 11


async def test_a_fetch_that_fails_sends_each_on_their_own(front: Handler, origin: Origin) -> None:
    def fail(_request: Request) -> Response:
        raise StoreUnavailable("away")

    origin.gate = asyncio.Event()
    origin.answer = fail
    asking = [running(front(get())) for _ in range(5)]
    await settle()
    origin.gate.set()
    errors = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(error) for error in errors] == [StoreUnavailable] * 5
    assert origin.times == 5


async def test_who_leads_and_is_cancelled_hands_over(front: Handler, origin: Origin) -> None:
    origin.gate = asyncio.Event()
    asking = [running(front(get())) for _ in range(5)]
    await settle()
    asking[0].cancel()
    await settle()
    assert origin.times == 2
    origin.gate.set()
    answers = await asyncio.gather(*asking[1:])
    assert {answer.body for answer in answers} == {b"body 2"}
    assert origin.times == 2


async def test_who_waits_and_is_cancelled_leaves_the_others_waiting(front: Handler, origin: Origin) -> None:
    origin.gate = asyncio.Event()
    asking = [running(front(get())) for _ in range(5)]
    await settle()
    asking[2].cancel()
    await settle()
    origin.gate.set()
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(answers.pop(2), asyncio.CancelledError)
    assert origin.times == 1


# Stale on purpose


async def test_what_is_stale_is_served_while_it_is_refreshed_behind(
    front: Handler, origin: Origin, clock: Clock
) -> None:
    origin.answer = lambda _request: says(
        ("Cache-Control", "max-age=60, stale-while-revalidate=30"), ("ETag", '"a"'), body=b"body %d" % origin.times
    )
    await ask(front)
    clock.time += 61
    origin.gate = asyncio.Event()
    for _ in range(5):
        answer = front(get())
        assert isinstance(answer, Response)
        assert answer.body == b"body 1"
        assert cache_status(answer) == "hit; ttl=-1"
    await settle()
    assert origin.times == 2
    assert origin.seen[1].headers["If-None-Match"] == '"a"'
    origin.gate.set()
    await settle()
    assert (await ask(front)).body == b"body 2"
    assert origin.times == 2


async def test_a_refresh_that_fails_is_tried_again_after_a_moment(
    front: Handler, origin: Origin, clock: Clock, cache: ResponseCache
) -> None:
    origin.answer = lambda _request: says(("Cache-Control", "max-age=60, stale-while-revalidate=30"))
    await ask(front)
    clock.time += 61
    origin.answer = lambda _request: says(status=500)
    for _ in range(3):
        assert (await ask(front)).status == 200
        await settle()
    assert (origin.times, cache.counts.refresh_failed, cache.counts.stale_if_error) == (2, 1, 0)
    clock.time += REFRESH_AGAIN_S
    await ask(front)
    await settle()
    assert origin.times == 3


async def test_closing_ends_a_refresh(front: Handler, origin: Origin, clock: Clock, cache: ResponseCache) -> None:
    origin.answer = lambda _request: says(("Cache-Control", "max-age=60, stale-while-revalidate=30"))
    await ask(front)
    clock.time += 61
    origin.gate = asyncio.Event()
    await ask(front)
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
    lambda _request: says(status=500),
    lambda _request: says(status=503),
    lambda _request: (_ for _ in ()).throw(StoreUnavailable("away")),
    lambda _request: (_ for _ in ()).throw(ValueError("a fault")),
]


@pytest.mark.parametrize("fail", FAILURES)
async def test_something_stale_stands_in_for_an_error_and_says_so(
    cache: ResponseCache, origin: Origin, clock: Clock, marks: Marks, fail: Callable[[Request], Response]
) -> None:
    front = response_cache(cache, mark=marks, degraded="products")(origin)
    await ask(front)
    clock.time += 70
    origin.answer = fail
    answer = await ask(front)
    assert (answer.status, answer.body) == (200, b"body 1")
    assert cache_status(answer).startswith("fwd=stale")
    assert cache_status(answer).endswith("ttl=-10")
    assert marks.made == ["products"]


async def test_nothing_stands_in_after_its_time_or_for_a_refusal_that_is_right(
    cache: ResponseCache, origin: Origin, clock: Clock, marks: Marks
) -> None:
    front = response_cache(cache, mark=marks)(origin)

    def gone(_request: Request) -> Response:
        raise ProductNotFound(Sku("x"))

    await ask(front)
    clock.time += 70
    origin.answer = gone
    with pytest.raises(ProductNotFound):
        await ask(front)
    clock.time += 60
    origin.answer = lambda _request: says(status=503)
    assert (await ask(front)).status == 503
    assert marks.made == []


async def test_all_who_waited_for_an_error_are_served_stale(
    cache: ResponseCache, origin: Origin, clock: Clock, marks: Marks
) -> None:
    front = response_cache(cache, mark=marks)(origin)
    await ask(front)
    clock.time += 70
    origin.gate = asyncio.Event()
    origin.answer = lambda _request: says(status=502)
    asking = [running(front(get())) for _ in range(5)]
    await settle()
    origin.gate.set()
    assert {answer.body for answer in await asyncio.gather(*asking)} == {b"body 1"}
    assert (origin.times, len(marks.made)) == (2, 5)


async def test_behind_a_tripped_breaker_stale_is_served_at_once(
    cache: ResponseCache, origin: Origin, clock: Clock, marks: Marks
) -> None:
    tripped = False
    front = response_cache(cache, is_tripped=lambda: tripped, mark=marks)(origin)
    await ask(front)
    clock.time += 70
    tripped = True
    answer = front(get())
    assert isinstance(answer, Response)
    assert cache_status(answer) == "hit; ttl=-10; detail=tripped"
    assert marks.made == ["cache"]
    assert origin.times == 1
    clock.time += 60
    await ask(front)
    assert origin.times == 2


async def test_after_an_error_nobody_waits_for_the_next_one(
    cache: ResponseCache, origin: Origin, clock: Clock, marks: Marks
) -> None:
    front = response_cache(cache, mark=marks)(origin)
    await ask(front)
    clock.time += 70
    good, origin.answer = origin.answer, lambda _request: says(status=504)
    await ask(front)
    clock.time += REFRESH_AGAIN_S
    origin.gate = asyncio.Event()
    for _ in range(5):
        answer = front(get())
        assert isinstance(answer, Response)
        assert cache_status(answer) == "hit; ttl=-11; detail=failing"
    await settle()
    assert (origin.times, len(marks.made)) == (3, 6)
    origin.answer = good
    origin.gate.set()
    await settle()
    assert cache_status(await ask(front)) == "hit; ttl=60"
    assert origin.times == 3


async def test_what_must_be_validated_is_not_served_behind_a_tripped_breaker(
    cache: ResponseCache, origin: Origin, clock: Clock
) -> None:
    front = response_cache(cache, is_tripped=lambda: True)(origin)
    origin.answer = lambda _request: says(("Cache-Control", "max-age=60, must-revalidate"))
    await ask(front)
    clock.time += 61
    origin.answer = lambda _request: says(status=503)
    assert (await ask(front)).status == 503


# Changes and purges


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "BREW"])
async def test_an_unsafe_request_that_succeeds_voids_what_is_kept(front: Handler, origin: Origin, method: str) -> None:
    for target in ("/shoes", "/made", "/shown?x=1", "/other"):
        await ask(front, get(target))
    origin.answer = lambda _request: says(
        ("Location", "/made"), ("Content-Location", "http://shop.example/shown?x=1"), status=201
    )
    request = get(method=method)
    assert cache_status(await ask(front, request), request) == "fwd=method; fwd-status=201"
    origin.answer = lambda _request: says(("Cache-Control", "max-age=60"), body=b"new")
    for target in ("/shoes", "/made", "/shown?x=1"):
        assert (await ask(front, get(target))).body == b"new"
    assert (await ask(front, get("/other"))).body == b"body 4"


@pytest.mark.parametrize("location", ["http://other.example/shoes2", "http://[bad"])
async def test_an_unsafe_request_voids_nothing_of_another_host(front: Handler, origin: Origin, location: str) -> None:
    await ask(front, get("/shoes2"))
    await ask(front, get("/shoes2", Host="other.example"))
    origin.answer = lambda _request: says(("Location", location), status=201)
    await ask(front, get("/x", method="POST"))
    assert cache_status(await ask(front, get("/shoes2"))).startswith("hit")
    assert cache_status(await ask(front, get("/shoes2", Host="other.example"))).startswith("hit")


async def test_an_unsafe_request_that_fails_voids_nothing(front: Handler, origin: Origin) -> None:
    await ask(front)
    origin.answer = lambda _request: says(status=422)
    await ask(front, get(method="POST"))
    assert cache_status(await ask(front)).startswith("hit")


async def test_what_was_asked_for_before_a_change_is_not_kept_after_it(front: Handler, origin: Origin) -> None:
    origin.gate = asyncio.Event()
    fetching = running(front(get()))
    await settle()
    gate, origin.gate = origin.gate, None
    await ask(front, get(method="POST"))
    gate.set()
    await fetching
    before = origin.times
    await ask(front)
    assert origin.times == before + 1


def tagged(*tags: str) -> Callable[[Request], Response]:
    return lambda _request: says(("Cache-Control", "max-age=60"), ("Surrogate-Key", " ".join(tags)))


async def test_purges_by_address_prefix_and_tag(front: Handler, origin: Origin, cache: ResponseCache) -> None:
    async def fill() -> None:
        origin.answer = tagged("shoe", "new")
        await ask(front, get("/shoes/1"))
        await ask(front, get("/shoes/1", Host="other.example"))
        origin.answer = lambda _request: says(("Cache-Control", "max-age=60"), ("Cache-Tag", "shoe, old sale"))
        await ask(front, get("/shoes/2?x=1"))
        origin.answer = tagged()
        await ask(front, get("/hats/1"))

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
    assert cache._tagged == {}
    assert cache._suffixes == {}


@pytest.mark.parametrize("what", [{}, {"url": "/a", "tag": "b"}, {"url": "shoes"}, {"tag": " "}, {"prefix": ""}])
async def test_a_purge_names_one_thing(cache: ResponseCache, what: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"name one|begins with"):
        await cache.purge(**what)  # type: ignore[arg-type]


async def test_a_purge_of_a_tag_takes_the_variants_that_have_it(
    front: Handler, origin: Origin, cache: ResponseCache
) -> None:
    origin.answer = lambda request: says(
        ("Cache-Control", "max-age=60"), ("Vary", "Accept-Language"), ("Cache-Tag", request.headers["Accept-Language"])
    )
    for language in ("en", "de"):
        await ask(front, get(Accept_Language=language))
    assert await cache.purge(tag="en") == 1
    assert cache_status(await ask(front, get(Accept_Language="de"))).startswith("hit")
    request = get(Accept_Language="en")
    assert cache_status(await ask(front, request), request).startswith("fwd=vary-miss")


async def test_a_soft_purge_leaves_what_may_still_stand_in(
    cache: ResponseCache, origin: Origin, clock: Clock, marks: Marks
) -> None:
    front = response_cache(cache, mark=marks)(origin)
    await ask(front)
    clock.time += 10
    assert await cache.purge(url="/shoes", soft=True) == 1
    origin.answer = lambda _request: says(status=503)
    assert (await ask(front)).body == b"body 1"
    assert marks.made == ["cache"]
    clock.time += 59
    assert (await ask(front)).status == 200
    clock.time += 2
    assert (await ask(front)).status == 503


async def test_what_was_asked_for_before_a_purge_is_not_kept_after_it(
    front: Handler, origin: Origin, cache: ResponseCache
) -> None:
    for what in ({"url": "/shoes"}, {"prefix": "/sh"}, {"tag": "shoe"}):
        origin.answer = tagged("shoe")
        origin.gate = asyncio.Event()
        fetching = running(front(get()))
        await settle()
        await cache.purge(**what)  # type: ignore[arg-type]
        origin.gate.set()
        await fetching
        assert cache.snapshot()["entries"] == 0
        await ask(front)
        assert cache_status(await ask(front)).startswith("hit")


# A worker's life


async def test_a_reload_keeps_what_fits(front: Handler, origin: Origin, cache: ResponseCache) -> None:
    origin.answer = lambda _request: says(("Cache-Control", "max-age=60"))
    for number in range(10):
        await ask(front, get(f"/{number}"))
    cache.update(Cache(memory_bytes=cache.snapshot()["bytes"] // 2))
    assert cache.snapshot()["entries"] == 5
    assert cache_status(await ask(front, get("/9"))).startswith("hit")
    cache.update(Cache(on=False))
    assert cache.snapshot()["entries"] == 0


async def test_what_it_did_is_counted(front: Handler, cache: ResponseCache) -> None:
    for _ in range(3):
        await ask(front)
    assert (cache.snapshot()["hit"], cache.snapshot()["miss"]) == (2, 1)
    families = {metric.name: metric for metric in cache.metrics()}
    assert {sample.labels["result"]: sample.value for sample in families["peakgate_cache_results_total"].samples}[
        "hit"
    ] == 2
    assert families["peakgate_cache_entries"].samples[0].value == 1
    assert families["peakgate_cache_bytes"].samples[0].value > 0


async def test_layers_share_what_is_kept(cache: ResponseCache, origin: Origin) -> None:
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
