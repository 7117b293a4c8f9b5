"""One client's request changes nothing for the others: neither stored responses nor the storing of new ones."""

from __future__ import annotations

import asyncio

import pytest

from gateway.cache.cache import ResponseCache
from gateway.http.message import Handler, Request, Response
from tests.unit.gateway.cache.cached_origin import (
    Clock,
    Origin,
    cache_status,
    get,
    response_with,
    send,
    settle,
    started,
)

FRESH = (("Cache-Control", "max-age=60"), ("Vary", "X-Kind"))


def answer(request: Request) -> Response:
    """An origin that refuses to have responses to odd requests stored."""
    if "X-Odd" in request.headers:
        return response_with(("Cache-Control", "no-store"), body=b"odd")
    return response_with(*FRESH, body=request.headers.get("X-Kind", "none").encode())


@pytest.fixture
def odd(cached: Handler, origin: Origin) -> Handler:
    origin.respond = answer
    return cached


async def test_a_response_that_is_not_stored_removes_no_variant(odd: Handler, origin: Origin) -> None:
    for kind in ("a", "b"):
        await send(odd, get(X_Kind=kind))
    for fields in ({"X_Odd": "1"}, {"X_Odd": "1", "X_Kind": "a"}):
        assert (await send(odd, get(Cache_Control="no-cache", **fields))).body == b"odd"
    asked = origin.times
    for kind in ("a", "b"):
        assert (await send(odd, get(X_Kind=kind))).body == kind.encode()
    assert origin.times == asked


async def test_a_stale_response_that_may_no_longer_be_stored_is_removed_alone(
    odd: Handler, origin: Origin, cache: ResponseCache, clock: Clock
) -> None:
    for kind in ("a", "b"):
        await send(odd, get(X_Kind=kind))
    clock.time += 61
    await send(odd, get(X_Kind="a", X_Odd="1"))
    origin.respond = lambda _request: response_with(status=503)
    assert (await send(odd, get(X_Kind="a"))).status == 503
    stale = await send(odd, get(X_Kind="b"))
    assert (stale.status, stale.body) == (200, b"b")
    assert len(cache.memory) == 1


async def test_odd_requests_do_not_keep_others_out_of_the_cache(odd: Handler, origin: Origin) -> None:
    await send(odd, get(X_Odd="1"))
    for _ in range(3):
        assert (await send(odd)).body == b"none"
    assert origin.times == 2


async def test_a_field_that_makes_the_origin_vary_removes_no_response(cached: Handler, origin: Origin) -> None:
    def respond(request: Request) -> Response:
        vary = (("Vary", "X-Odd"),) if "X-Odd" in request.headers else ()
        return response_with(
            ("Cache-Control", "max-age=60"), *vary, body=request.headers.get("X-Odd", "plain").encode()
        )

    origin.respond = respond
    await send(cached)
    assert (await send(cached, get(X_Odd="1", Cache_Control="no-cache"))).body == b"1"
    assert (await send(cached)).body == b"plain"
    assert (await send(cached, get(X_Odd="1"))).body == b"1"
    assert origin.times == 2


async def test_a_response_too_large_to_be_stored_leaves_the_fresh_one(
    cached: Handler, origin: Origin, cache: ResponseCache
) -> None:
    await send(cached)
    large = bytes(2 * 1024 * 1024)
    origin.respond = lambda _request: response_with(*FRESH, body=large)
    assert (await send(cached, get(Cache_Control="no-cache"))).body == large
    assert len((await send(cached)).body) < 100
    assert len(cache.memory) == 1


async def test_a_response_that_a_purge_voids_is_not_one_that_may_not_be_stored(
    cached: Handler, origin: Origin, cache: ResponseCache
) -> None:
    origin.gate = asyncio.Event()
    response = started(cached(get()))
    await settle()
    await cache.purge(prefix="/")
    origin.gate.set()
    await response
    assert len(cache.memory) == 0
    assert cache.stats.uncacheable == 0


async def test_an_error_with_a_lifetime_does_not_replace_a_usable_response(
    cached: Handler, origin: Origin, clock: Clock
) -> None:
    await send(cached)
    clock.time += 61
    origin.respond = lambda _request: response_with(("Cache-Control", "max-age=600"), status=500)
    request = get()
    stale = await send(cached, request)
    assert stale.status == 200
    assert cache_status(stale, request) == "fwd=stale; fwd-status=500; ttl=-1"


@pytest.mark.parametrize("status", [400, 403, 500, 503])
async def test_an_error_that_one_request_provokes_does_not_replace_a_fresh_response(
    cached: Handler, origin: Origin, status: int
) -> None:
    origin.respond = lambda _request: response_with(("Cache-Control", "max-age=60, must-revalidate"), body=b"good")
    await send(cached)
    origin.respond = lambda _request: response_with(("Cache-Control", "max-age=600"), status=status)
    assert (await send(cached, get(Cache_Control="no-cache", X_Odd="1"))).status == status
    assert (await send(cached)).body == b"good"
    assert origin.times == 2


async def test_an_error_with_a_lifetime_is_stored_where_nothing_better_is(cached: Handler, origin: Origin) -> None:
    origin.respond = lambda _request: response_with(("Cache-Control", "max-age=60"), status=503)
    request = get()
    first = await send(cached, request)
    assert cache_status(first, request) == "fwd=uri-miss; fwd-status=503; stored"
    assert cache_status(await send(cached)) == "hit; ttl=60"
    assert origin.times == 1


async def test_a_response_says_once_what_happened(cached: Handler, origin: Origin, clock: Clock) -> None:
    await send(cached)
    clock.time += 61
    origin.respond = lambda _request: response_with(status=500)
    request = get()
    response = await send(cached, request)
    assert (response.header_block + request.extra_headers).count(b"Cache-Status: peakgate") == 1
    clock.time += 600
    failed = get()
    response = await send(cached, failed)
    assert response.status == 500
    assert cache_status(response, failed) == "fwd=stale; fwd-status=500"
