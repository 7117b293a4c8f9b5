"""Invalidation by unsafe requests, and purges."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from gateway.cache.cache import ResponseCache
from gateway.cache.response_cache import response_cache
from gateway.http.message import Handler, Request, Response
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


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "BREW"])
async def test_an_unsafe_request_that_succeeds_invalidates_its_address(
    cached: Handler, origin: Origin, method: str
) -> None:
    for target in ("/shoes", "/made", "/shown?x=1", "/other"):
        await send(cached, get(target))
    origin.respond = lambda _request: response_with(
        ("Location", "/made"), ("Content-Location", "http://shop.example/shown?x=1"), status=201
    )
    request = get(method=method)
    assert cache_status(await send(cached, request), request) == "fwd=method; fwd-status=201"
    origin.respond = lambda _request: response_with(("Cache-Control", "max-age=60"), body=b"new")
    for target in ("/shoes", "/made", "/shown?x=1"):
        assert (await send(cached, get(target))).body == b"new"
    assert (await send(cached, get("/other"))).body == b"body 4"


@pytest.mark.parametrize("location", ["http://other.example/shoes2", "http://[bad"])
async def test_an_unsafe_request_invalidates_nothing_of_another_host(
    cached: Handler, origin: Origin, location: str
) -> None:
    await send(cached, get("/shoes2"))
    await send(cached, get("/shoes2", Host="other.example"))
    origin.respond = lambda _request: response_with(("Location", location), status=201)
    await send(cached, get("/x", method="POST"))
    assert cache_status(await send(cached, get("/shoes2"))).startswith("hit")
    assert cache_status(await send(cached, get("/shoes2", Host="other.example"))).startswith("hit")


async def test_an_unsafe_request_that_fails_invalidates_nothing(cached: Handler, origin: Origin) -> None:
    await send(cached)
    origin.respond = lambda _request: response_with(status=422)
    await send(cached, get(method="POST"))
    assert cache_status(await send(cached)).startswith("hit")


async def test_a_response_requested_before_an_invalidation_is_not_stored_after_it(
    cached: Handler, origin: Origin
) -> None:
    origin.gate = asyncio.Event()
    fetching = started(cached(get()))
    await settle()
    gate, origin.gate = origin.gate, None
    await send(cached, get(method="POST"))
    gate.set()
    await fetching
    before = origin.times
    await send(cached)
    assert origin.times == before + 1


def tagged(*tags: str) -> Callable[[Request], Response]:
    return lambda _request: response_with(("Cache-Control", "max-age=60"), ("Surrogate-Key", " ".join(tags)))


async def test_purges_by_address_prefix_and_tag(cached: Handler, origin: Origin, cache: ResponseCache) -> None:
    async def fill() -> None:
        origin.respond = tagged("shoe", "new")
        await send(cached, get("/shoes/1"))
        await send(cached, get("/shoes/1", Host="other.example"))
        origin.respond = lambda _request: response_with(
            ("Cache-Control", "max-age=60"), ("Cache-Tag", "shoe, old sale")
        )
        await send(cached, get("/shoes/2?x=1"))
        origin.respond = tagged()
        await send(cached, get("/hats/1"))

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
    with pytest.raises(ValueError, match=r"exactly one|is empty|begins with"):
        await cache.purge(**what)  # type: ignore[arg-type]


async def test_a_purge_by_tag_removes_only_the_variants_that_have_it(
    cached: Handler, origin: Origin, cache: ResponseCache
) -> None:
    origin.respond = lambda request: response_with(
        ("Cache-Control", "max-age=60"), ("Vary", "Accept-Language"), ("Cache-Tag", request.headers["Accept-Language"])
    )
    for language in ("en", "de"):
        await send(cached, get(Accept_Language=language))
    assert await cache.purge(tag="en") == 1
    assert cache_status(await send(cached, get(Accept_Language="de"))).startswith("hit")
    request = get(Accept_Language="en")
    assert cache_status(await send(cached, request), request).startswith("fwd=vary-miss")


async def test_a_soft_purge_leaves_a_response_to_serve_on_error(
    cache: ResponseCache, origin: Origin, clock: Clock, marks: Marks
) -> None:
    cached = response_cache(cache, mark=marks)(origin)
    await send(cached)
    clock.time += 10
    assert await cache.purge(url="/shoes", soft=True) == 1
    origin.respond = lambda _request: response_with(status=503)
    assert (await send(cached)).body == b"body 1"
    assert marks.made == ["cache"]
    clock.time += 59
    assert (await send(cached)).status == 200
    clock.time += 2
    assert (await send(cached)).status == 503


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
        await send(cached)
        assert cache_status(await send(cached)).startswith("hit")


async def test_purging_everything_does_not_block_the_loop(
    cached: Handler, origin: Origin, cache: ResponseCache
) -> None:
    origin.respond = tagged("all")
    for number in range(1_200):
        await send(cached, get(f"/{number}"))
    purging = asyncio.create_task(cache.purge(tag="all"))
    await asyncio.sleep(0)
    assert cache.snapshot()["entries"] == 700
    assert await purging == 1_200
    assert cache.snapshot()["entries"] == 0


async def test_a_304_without_tags_leaves_those_of_the_stored_response(
    cached: Handler, origin: Origin, cache: ResponseCache, clock: Clock
) -> None:
    origin.respond = lambda _request: response_with(
        ("Cache-Control", "max-age=60"), ("ETag", '"a"'), ("Surrogate-Key", "shoe")
    )
    await send(cached)
    clock.time += 61
    origin.respond = lambda _request: response_with(("Cache-Control", "max-age=60"), ("ETag", '"a"'), status=304)
    await send(cached)
    assert await cache.purge(tag="shoe") == 1
