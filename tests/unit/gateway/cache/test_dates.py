"""The date of a stored response: that of its origin, or of its receipt (RFC 9110, 6.6.1; RFC 9111, 4.2.3)."""

from __future__ import annotations

from email.utils import formatdate

from gateway.http.message import Handler, Response, header
from tests.unit.gateway.cache.cached_origin import Clock, Origin, get, response_with, send


def date(clock: Clock, offset_s: float = 0.0) -> str:
    return formatdate(clock.wall() + offset_s, usegmt=True)


def fields_of(response: Response) -> list[str]:
    return response.header_block.decode().split("\r\n")


async def test_a_hit_has_the_date_of_the_origin_in_front(cached: Handler, origin: Origin, clock: Clock) -> None:
    origin.respond = lambda _request: response_with(("Cache-Control", "max-age=60"), ("Date", date(clock, -5)))
    await send(cached)
    clock.time += 10
    hit = await send(cached)
    assert origin.times == 1
    assert fields_of(hit)[0] == f"Date: {date(clock, -15)}"
    assert "Age: 15" in fields_of(hit)


async def test_a_response_without_a_date_is_dated_when_it_is_received(
    cached: Handler, origin: Origin, clock: Clock
) -> None:
    await send(cached)
    received = date(clock)
    clock.time += 10
    assert fields_of(await send(cached))[0] == f"Date: {received}"
    assert origin.times == 1


async def test_a_slow_date_makes_a_response_old(cached: Handler, origin: Origin, clock: Clock) -> None:
    origin.respond = lambda _request: response_with(("Cache-Control", "max-age=60"), ("Date", date(clock, -61)))
    await send(cached)
    await send(cached)
    assert origin.times == 2


async def test_expires_counts_from_the_date_of_the_origin(cached: Handler, origin: Origin, clock: Clock) -> None:
    origin.respond = lambda _request: response_with(("Expires", date(clock, 300)), ("Date", date(clock, 400)))
    await send(cached)
    await send(cached)
    assert origin.times == 2
    origin.respond = lambda _request: response_with(
        ("Expires", date(clock, 20)), ("Date", date(clock, 10)), ("Age", "15")
    )
    await send(cached)
    await send(cached)
    assert origin.times == 4


async def test_a_304_brings_its_own_date(cached: Handler, origin: Origin, clock: Clock) -> None:
    lines = (("Cache-Control", "max-age=60"), ("ETag", '"1"'))
    origin.respond = lambda _request: response_with(*lines, ("Date", date(clock)))
    await send(cached)
    clock.time += 100
    origin.respond = lambda _request: Response(304, header_block=header("ETag", '"1"') + header("Date", date(clock)))
    for response in (await send(cached), await send(cached)):
        assert fields_of(response)[0] == f"Date: {date(clock)}"
        assert response.header_block.count(b"Date: ") == 1
        assert "Age: 0" in fields_of(response)
    assert origin.times == 2


async def test_a_304_without_a_date_is_dated_when_it_is_received(cached: Handler, origin: Origin, clock: Clock) -> None:
    lines = (("Cache-Control", "max-age=60"), ("ETag", '"1"'))
    origin.respond = lambda _request: response_with(*lines, ("Date", date(clock)))
    await send(cached)
    clock.time += 100
    origin.respond = lambda _request: Response(304, header_block=header("ETag", '"1"'))
    await send(cached)
    assert f"Date: {date(clock)}" in fields_of(await send(cached, get()))
    assert origin.times == 2
