"""The layer in front of an origin: hits, bypasses, directives, variants, stats."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from gateway.cache.cache import ResponseCache
from gateway.cache.response_cache import response_cache
from gateway.config.policies import Cache
from gateway.http.message import Handler, Layer, Request, Response, StreamedResponse, header
from tests.unit.gateway.cache.cached_origin import (
    CACHEABLE,
    Clock,
    Origin,
    cache_status,
    get,
    response_with,
    send,
)
from tests.waiting import until


async def test_a_second_request_is_a_hit_with_its_age(cached: Handler, origin: Origin, clock: Clock) -> None:
    request = get()
    first = await send(cached, request)
    assert cache_status(first, request) == "fwd=uri-miss; fwd-status=200; stored"
    clock.time += 7.5
    second = cached(get())
    assert isinstance(second, Response)
    assert (second.status, second.body) == (200, first.body)
    assert b"Age: 7\r\n" in second.header_block
    assert cache_status(second) == "hit; ttl=53"
    assert origin.times == 1


async def test_within_a_second_hits_are_the_same_response(cached: Handler, clock: Clock) -> None:
    await send(cached)
    clock.time += 3.2
    first = cached(get())
    clock.time += 0.7
    assert cached(get()) is first
    clock.time += 0.2
    assert cached(get()) is not first


async def test_a_stale_response_is_fetched_again(cached: Handler, origin: Origin, clock: Clock) -> None:
    await send(cached)
    clock.time += 60
    request = get()
    response = await send(cached, request)
    assert response.body == b"body 2"
    assert cache_status(response, request) == "fwd=stale; fwd-status=200; stored"


async def test_host_and_query_are_part_of_the_key(cached: Handler, origin: Origin) -> None:
    for request in (get("/a"), get("/a?x=1"), get("/a?x=2"), get("/a", Host="other.example"), get("/b")):
        await send(cached, request)
    assert origin.times == 5
    await send(cached, get("/a", Host="SHOP.example"))
    assert origin.times == 5


async def test_key_fields_are_part_of_the_key(cache: ResponseCache, origin: Origin) -> None:
    cached = response_cache(cache, key_fields=("Host", "X-Forwarded-Proto"))(origin)
    await send(cached, get(X_Forwarded_Proto="http"))
    await send(cached, get(X_Forwarded_Proto="https"))
    assert origin.times == 2


async def test_a_head_is_served_from_a_get_but_not_a_get_from_a_head(cached: Handler, origin: Origin) -> None:
    await send(cached, get(method="HEAD"))
    await send(cached, get())
    assert origin.times == 2
    response = cached(get(method="HEAD"))
    assert isinstance(response, Response)
    assert response.status == 200


async def test_a_cache_that_is_off_is_not_a_layer(origin: Origin) -> None:
    layer = response_cache(ResponseCache(Cache(enabled=False)))
    assert layer(origin) is origin


@pytest.mark.parametrize("headers", [{"If_Match": '"a"'}, {"If_Unmodified_Since": "x"}])
async def test_precondition_requests_bypass_the_cache(cached: Handler, origin: Origin, headers: dict[str, str]) -> None:
    await send(cached)
    request = get(**headers)
    response = await send(cached, request)
    assert cache_status(response, request) == "fwd=bypass; fwd-status=200"
    assert origin.seen[-1] is request


async def test_a_get_with_a_body_bypasses_the_cache(cached: Handler, origin: Origin) -> None:
    for _ in range(2):
        request = get()
        request.body = b"{}"
        await send(cached, request)
    assert origin.times == 2


async def test_a_stream_of_events_or_a_too_large_response_is_not_stored(cache: ResponseCache, origin: Origin) -> None:
    async def chunks() -> AsyncGenerator[bytes, None]:
        yield b"a"

    cached = response_cache(cache)(origin)
    origin.respond = lambda _request: StreamedResponse(
        200, chunks(), header_block=CACHEABLE, content_type=b"text/event-stream"
    )
    for _ in range(2):
        request = get("/stream")
        response = await send(cached, request)
        assert isinstance(response, StreamedResponse)
        assert "stored" not in cache_status(response, request)
        await response.chunks.aclose()
    origin.respond = lambda _request: Response(200, b"x" * (Cache().max_entry_bytes + 1), header_block=CACHEABLE)
    await send(cached, get("/large"))
    await send(cached, get("/large"))
    assert origin.times == 4


async def test_a_degraded_response_is_not_stored(cached: Handler, origin: Origin) -> None:
    def degraded(request: Request) -> Response:
        request.extra_headers += header("Degraded", "prices")
        return response_with(("Cache-Control", "max-age=60"))

    origin.respond = degraded
    await send(cached)
    request = get()
    await send(cached, request)
    assert origin.times == 2
    assert request.extra_headers.count(b"Degraded: prices") == 1


async def test_fields_for_caches_alone_are_not_sent(cached: Handler, origin: Origin) -> None:
    lines = (
        ("Cache-Control", "max-age=60"),
        ("Surrogate-Key", "a b"),
        ("Cache-Tag", "c,d"),
    )
    origin.respond = lambda _request: response_with(*lines, ("X-Other", "shown"))
    for response in (await send(cached), await send(cached)):
        for name in (b"Surrogate-Key", b"Cache-Tag"):
            assert name not in response.header_block
        assert b"X-Other: shown\r\n" in response.header_block
    origin.respond = lambda _request: response_with(("Cache-Tag", "c"), ("Cache-Control", "no-store"))
    assert b"Cache-Tag" not in (await send(cached, get("/unkept"))).header_block


async def test_responses_to_credentials_need_permission(cached: Handler, origin: Origin) -> None:
    for name in ("Authorization", "X-Api-Key"):
        target = f"/{name}"
        await send(cached, get(target, **{name: "secret"}))
        before = origin.times
        await send(cached, get(target))
        assert origin.times == before + 1


@pytest.mark.parametrize("name", ["X-Forwarded-For", "traceparent"])
async def test_a_response_that_varies_by_a_field_that_forwarding_writes_is_not_stored(
    cached: Handler, origin: Origin, name: str
) -> None:
    origin.respond = lambda _request: response_with(("Cache-Control", "max-age=60"), ("Vary", name))
    await send(cached)
    await send(cached)
    assert origin.times == 2


async def test_the_response_to_a_request_that_hides_fields_is_not_stored(cached: Handler, origin: Origin) -> None:
    await send(cached, get(Connection="keep-alive, Accept-Language", Accept_Language="de"))
    await send(cached, get(Accept_Language="de", Connection="Keep-Alive"))
    await send(cached, get(Accept_Language="de"))
    assert origin.times == 2


async def test_no_client_can_end_the_caching_of_an_address_for_all(cached: Handler, origin: Origin) -> None:
    await send(cached)
    origin.respond = lambda request: (
        response_with(status=400)
        if "X-Bad" in request.headers
        else response_with(("Cache-Control", "private" if "Cookie" in request.headers else "max-age=60"))
    )
    for headers in ({"Authorization": "x"}, {"Cookie": "a=b"}, {"X-Bad": "\x7f"}):
        request = get(Cache_Control="no-cache", **headers)
        assert "stored" not in cache_status(await send(cached, request), request)
    assert cache_status(await send(cached)).startswith("hit")


async def test_no_cache_fetches_and_refreshes_the_stored_response(cached: Handler, origin: Origin) -> None:
    await send(cached)
    request = get(Cache_Control="no-cache")
    response = await send(cached, request)
    assert cache_status(response, request) == "fwd=request; fwd-status=200; stored"
    assert (await send(cached)).body == b"body 2"


async def test_no_store_is_served_a_stored_response_but_stores_none(cached: Handler, origin: Origin) -> None:
    await send(cached, get(Cache_Control="no-store"))
    await send(cached)
    assert origin.times == 2
    assert cache_status(await send(cached, get(Cache_Control="no-store"))) == "hit; ttl=60"


async def test_only_if_cached_gets_504_if_nothing_is_stored(cached: Handler, origin: Origin) -> None:
    assert (await send(cached, get(Cache_Control="only-if-cached"))).status == 504
    assert origin.times == 0
    await send(cached)
    assert (await send(cached, get(Cache_Control="only-if-cached"))).status == 200


async def test_max_stale_is_served_a_stale_response(cached: Handler, origin: Origin, clock: Clock) -> None:
    await send(cached)
    clock.time += 65
    response = await send(cached, get(Cache_Control="max-stale=10"))
    assert cache_status(response) == "hit; ttl=-5"
    assert origin.times == 1


async def test_each_variant_is_served_to_the_requests_that_select_it(cached: Handler, origin: Origin) -> None:
    origin.respond = lambda request: response_with(
        ("Cache-Control", "max-age=60"),
        ("Vary", "Accept-Language"),
        body=request.headers.get("Accept-Language", "-").encode(),
    )
    for language in ("en", "de", "en", "de"):
        assert (await send(cached, get(Accept_Language=language))).body == language.encode()
    assert origin.times == 2
    request = get(Accept_Language="fr")
    assert cache_status(await send(cached, request), request) == "fwd=vary-miss; fwd-status=200; stored"
    assert (await send(cached, get())).body == b"-"


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
        assert (await send(cached, request)).body == expected
        assert (await send(cached, request)).body == expected


async def test_a_reload_keeps_the_responses_that_fit(cached: Handler, origin: Origin, cache: ResponseCache) -> None:
    origin.respond = lambda _request: response_with(("Cache-Control", "max-age=60"))
    for number in range(10):
        await send(cached, get(f"/{number}"))
    cache.update(Cache(memory_bytes=cache.snapshot()["bytes"] // 2))
    assert cache.snapshot()["entries"] == 5
    assert cache_status(await send(cached, get("/9"))).startswith("hit")
    cache.update(Cache(enabled=False))
    assert cache.snapshot()["entries"] == 0


async def test_results_are_counted(cached: Handler, cache: ResponseCache) -> None:
    for _ in range(3):
        await send(cached)
    assert (cache.snapshot()["hit"], cache.snapshot()["miss"]) == (2, 1)
    families = {metric.name: metric for metric in cache.metrics()}
    assert {sample.labels["result"]: sample.value for sample in families["peakgate_cache_results_total"].samples}[
        "hit"
    ] == 2
    assert families["peakgate_cache_entries"].samples[0].value == 1
    assert families["peakgate_cache_bytes"].samples[0].value > 0


async def test_layers_share_stored_responses(cache: ResponseCache, origin: Origin) -> None:
    layer: Layer = response_cache(cache)
    await send(layer(origin))
    await send(layer(origin))
    assert origin.times == 1


async def test_running_ends_when_cancelled(cache: ResponseCache) -> None:
    task = asyncio.create_task(cache.run())
    await until(lambda: not task.done())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
