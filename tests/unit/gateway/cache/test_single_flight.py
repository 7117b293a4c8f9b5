"""Concurrent requests for one response share one fetch."""

from __future__ import annotations

import asyncio

from gateway.cache.cache import ResponseCache
from gateway.cache.uncacheable import UNCACHEABLE_S
from gateway.http.message import Handler, Request, Response
from store import StoreUnavailable
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
    # And for a while no request waits for another.
    origin.gate = asyncio.Event()
    asking = [started(cached(get())) for _ in range(5)]
    await settle()
    assert origin.times == 10
    origin.gate.set()
    await asyncio.gather(*asking)
    clock.time += UNCACHEABLE_S
    origin.respond = lambda _request: response_with(("Cache-Control", "max-age=60"))
    await send(cached)
    await send(cached)
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


async def test_a_follower_that_excludes_the_stored_response_is_not_served_it_after_a_fetch_that_stored_nothing(
    cached: Handler, origin: Origin
) -> None:
    await send(cached)
    origin.gate = asyncio.Event()

    def degraded(request: Request) -> Response:
        request.extra_headers += b"Degraded: stock\r\n"
        return response_with(("Cache-Control", "max-age=60"), body=b"degraded")

    origin.respond = degraded
    sending = [started(cached(get(Cache_Control="no-cache"))) for _ in range(2)]
    await settle()
    assert origin.times == 2
    origin.gate.set()
    assert {response.body for response in await asyncio.gather(*sending)} == {b"degraded"}
    assert origin.times == 3
