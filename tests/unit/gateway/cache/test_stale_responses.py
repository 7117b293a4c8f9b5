"""Stale responses: while they are refreshed, and in place of errors."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from cart.errors import ProductNotFound
from cart.model import Sku
from gateway.cache.cache import ResponseCache
from gateway.cache.fetch import REFRESH_RETRY_S
from gateway.cache.response_cache import response_cache
from gateway.http.message import Handler, Request, Response
from store import StoreUnavailable
from tests.unit.gateway.cache.cached_origin import (
    Clock,
    Marks,
    Origin,
    cache_status,
    get,
    response_with,
    send,
    settle,
    started,
)


async def test_a_stale_response_is_served_while_it_is_refreshed_in_the_background(
    cached: Handler, origin: Origin, clock: Clock
) -> None:
    origin.respond = lambda _request: response_with(
        ("Cache-Control", "max-age=60, stale-while-revalidate=30"), ("ETag", '"a"'), body=b"body %d" % origin.times
    )
    await send(cached)
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
    assert (await send(cached)).body == b"body 2"
    assert origin.times == 2


async def test_no_client_gets_the_interim_responses_to_a_refresh(cached: Handler, origin: Origin, clock: Clock) -> None:
    class Receiver:
        def send_interim(self, status: int, header_block: bytes) -> None:
            raise AssertionError((status, header_block))

    origin.respond = lambda _request: response_with(("Cache-Control", "max-age=60, stale-while-revalidate=30"))
    await send(cached)
    clock.time += 61
    request = get()
    request.interims = Receiver()
    await send(cached, request)
    await settle()
    assert origin.times == 2
    assert origin.seen[1].interims is None


async def test_a_failed_refresh_is_retried_after_a_delay(
    cached: Handler, origin: Origin, clock: Clock, cache: ResponseCache
) -> None:
    origin.respond = lambda _request: response_with(("Cache-Control", "max-age=60, stale-while-revalidate=30"))
    await send(cached)
    clock.time += 61
    origin.respond = lambda _request: response_with(status=500)
    for _ in range(3):
        assert (await send(cached)).status == 200
        await settle()
    assert (origin.times, cache.stats.refresh_failed, cache.stats.stale_if_error) == (2, 1, 0)
    clock.time += REFRESH_RETRY_S
    await send(cached)
    await settle()
    assert origin.times == 3


async def test_closing_cancels_a_refresh(cached: Handler, origin: Origin, clock: Clock, cache: ResponseCache) -> None:
    origin.respond = lambda _request: response_with(("Cache-Control", "max-age=60, stale-while-revalidate=30"))
    await send(cached)
    clock.time += 61
    origin.gate = asyncio.Event()
    await send(cached)
    await settle()
    assert len(asyncio.all_tasks()) == 2
    await cache.close()
    assert len(asyncio.all_tasks()) == 1


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
    await send(cached)
    clock.time += 70
    origin.respond = fail
    response = await send(cached)
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

    await send(cached)
    clock.time += 70
    origin.respond = gone
    with pytest.raises(ProductNotFound):
        await send(cached)
    clock.time += 60
    origin.respond = lambda _request: response_with(status=503)
    assert (await send(cached)).status == 503
    assert marks.made == []


async def test_all_followers_of_a_failed_fetch_are_served_stale(
    cache: ResponseCache, origin: Origin, clock: Clock, marks: Marks
) -> None:
    cached = response_cache(cache, mark=marks)(origin)
    await send(cached)
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
    await send(cached)
    clock.time += 70
    tripped = True
    response = cached(get())
    assert isinstance(response, Response)
    assert cache_status(response) == "hit; ttl=-10; detail=tripped"
    assert marks.made == ["cache"]
    assert origin.times == 1
    clock.time += 60
    await send(cached)
    assert origin.times == 2


async def test_after_an_error_no_request_waits_for_the_next_one(
    cache: ResponseCache, origin: Origin, clock: Clock, marks: Marks
) -> None:
    cached = response_cache(cache, mark=marks)(origin)
    await send(cached)
    clock.time += 70
    good, origin.respond = origin.respond, lambda _request: response_with(status=504)
    await send(cached)
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
    assert cache_status(await send(cached)) == "hit; ttl=60"
    assert origin.times == 3


async def test_a_response_that_must_be_validated_is_not_served_behind_an_open_breaker(
    cache: ResponseCache, origin: Origin, clock: Clock
) -> None:
    cached = response_cache(cache, is_tripped=lambda: True)(origin)
    origin.respond = lambda _request: response_with(("Cache-Control", "max-age=60, must-revalidate"))
    await send(cached)
    clock.time += 61
    origin.respond = lambda _request: response_with(status=503)
    assert (await send(cached)).status == 503


async def test_after_an_error_a_request_that_excludes_the_stored_response_is_fetched(
    cached: Handler, origin: Origin, clock: Clock
) -> None:
    await send(cached)
    clock.time += 70
    good, origin.respond = origin.respond, lambda _request: response_with(status=504)
    await send(cached)
    origin.respond = good
    assert (await send(cached, get(Cache_Control="no-cache"))).body == b"body 3"
