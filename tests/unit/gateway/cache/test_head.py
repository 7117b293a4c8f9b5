"""Responses to HEAD, from the cache and for it (RFC 9111, 4.3.5)."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from gateway.http.message import Handler, Request, Response, StreamedResponse, header
from tests.unit.gateway.cache.cached_origin import Clock, Origin, cache_status, get, response_with, send

FRESH = (("Cache-Control", "max-age=60"), ("ETag", '"1"'))


def of_length(length: int, *lines: tuple[str, str]) -> Response:
    async def nothing() -> AsyncGenerator[bytes, None]:
        for chunk in list[bytes]():
            yield chunk

    block = b"".join(header(name, value) for name, value in lines)
    return StreamedResponse(200, nothing(), header_block=block, content_type=b"text/css", length=length)


async def filled(cached: Handler, origin: Origin, clock: Clock) -> None:
    origin.respond = lambda _request: response_with(*FRESH, ("X-Old", "1"), body=b"12345")
    await send(cached)
    clock.time += 61


async def test_head_renews_the_stored_response_that_it_describes(cached: Handler, origin: Origin, clock: Clock) -> None:
    await filled(cached, origin, clock)
    origin.respond = lambda _request: of_length(5, *FRESH, ("X-New", "2"))
    request = get(method="HEAD")
    response = await send(cached, request)
    assert cache_status(response, request) == "fwd=stale; fwd-status=200"
    hit = await send(cached)
    assert (hit.body, hit.content_type) == (b"12345", b"text/css")
    assert b"X-Old: 1\r\n" in hit.header_block
    assert b"X-New: 2\r\n" in hit.header_block
    assert origin.times == 2


async def test_head_makes_another_response_stale(cached: Handler, origin: Origin, clock: Clock) -> None:
    for other in (of_length(6, *FRESH), of_length(5, ("Cache-Control", "max-age=60"), ("ETag", '"2"'))):
        await filled(cached, origin, clock)
        await send(cached)
        asked = origin.times

        def respond(_request: Request, other: Response = other) -> Response:
            return other

        origin.respond = respond
        await send(cached, get(method="HEAD", Cache_Control="no-cache"))
        origin.respond = lambda _request: response_with(*FRESH, body=b"new")
        assert (await send(cached)).body == b"new"
        assert origin.times == asked + 2


async def test_head_that_may_not_be_stored_changes_nothing(cached: Handler, origin: Origin, clock: Clock) -> None:
    await filled(cached, origin, clock)
    await send(cached)
    asked = origin.times
    for response in (of_length(9, ("Cache-Control", "no-store")), response_with(status=404)):

        def respond(_request: Request, response: Response = response) -> Response:
            return response

        origin.respond = respond
        await send(cached, get(method="HEAD", Cache_Control="no-cache"))
    assert (await send(cached)).body == b"12345"
    assert origin.times == asked + 2
