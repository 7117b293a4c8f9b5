"""Conditional requests of clients, and validation of stored responses with the origin."""

from __future__ import annotations

from email.utils import formatdate

from gateway.cache.cache import ResponseCache
from gateway.cache.response_cache import response_cache
from gateway.http.message import Handler, Response
from tests.unit.gateway.cache.cached_origin import (
    Clock,
    Origin,
    cache_status,
    get,
    response_with,
    send,
)


async def test_a_client_that_has_the_response_gets_304_from_the_cache(cached: Handler, origin: Origin) -> None:
    origin.respond = lambda _request: response_with(
        ("Cache-Control", "max-age=60"), ("ETag", '"a"'), ("Last-Modified", formatdate(0, usegmt=True)), ("Vary", "X")
    )
    first = await send(cached, get(If_None_Match='"a"'))
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
    assert (await send(cached, get(If_None_Match='"b"'))).status == 200
    assert (await send(cached, get(If_Modified_Since=formatdate(0, usegmt=True)))).status == 304
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
    await send(cached)
    clock.time += 61
    origin.respond = lambda _request: response_with(
        ("Cache-Control", "max-age=30"), ("X-New", "2"), ("Content-Type", "x/y"), status=304
    )
    request = get()
    response = await send(cached, request)
    assert origin.seen[-1].headers["If-None-Match"] == '"a"'
    assert origin.seen[-1].headers["If-Modified-Since"] == modified
    assert "If-None-Match" not in request.headers
    assert (response.status, response.body) == (200, b"body")
    assert cache_status(response) == "fwd=stale; fwd-status=304; ttl=30"
    for line in (b"X-Old: 1\r\n", b"X-New: 2\r\n", b"Cache-Control: max-age=30\r\n", b"Age: 0\r\n"):
        assert line in response.header_block
    assert b"Content-Type" not in response.header_block
    clock.time += 29
    assert cache_status(await send(cached)) == "hit; ttl=1"


async def test_without_validates_the_whole_is_fetched(cache: ResponseCache, origin: Origin, clock: Clock) -> None:
    cached = response_cache(cache, validates=False)(origin)
    origin.respond = lambda _request: response_with(("Cache-Control", "max-age=60"), ("ETag", '"a"'))
    await send(cached)
    clock.time += 61
    assert (await send(cached, get(If_None_Match='"a"'))).status == 304
    assert "If-None-Match" not in origin.seen[-1].headers


async def test_no_cache_responses_are_validated_each_time(cached: Handler, origin: Origin) -> None:
    origin.respond = lambda request: (
        response_with(status=304, body=b"")
        if "If-None-Match" in request.headers
        else response_with(("Cache-Control", "no-cache"), ("ETag", '"a"'))
    )
    for times in range(1, 4):
        assert (await send(cached)).body == b"body"
        assert origin.times == times


async def test_after_a_304_with_other_validators_the_whole_is_fetched(
    cached: Handler, origin: Origin, clock: Clock
) -> None:
    origin.respond = lambda _request: response_with(("Cache-Control", "max-age=60"), ("ETag", '"a"'))
    await send(cached)
    clock.time += 61
    origin.respond = lambda request: (
        response_with(("ETag", '"b"'), status=304)
        if "If-None-Match" in request.headers
        else response_with(("Cache-Control", "max-age=60"), body=b"new")
    )
    assert (await send(cached)).body == b"new"
    assert (await send(cached)).body == b"new"


async def test_a_304_that_forbids_storing_removes_the_stored_response(
    cached: Handler, origin: Origin, clock: Clock
) -> None:
    origin.respond = lambda _request: response_with(("Cache-Control", "max-age=60"), ("ETag", '"a"'))
    await send(cached)
    clock.time += 61
    origin.respond = lambda _request: response_with(("Cache-Control", "no-store"), status=304)
    assert (await send(cached)).body == b"body"
    origin.respond = lambda _request: response_with(body=b"new")
    assert (await send(cached)).body == b"new"
