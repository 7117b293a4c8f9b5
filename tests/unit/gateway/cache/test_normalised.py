"""Spellings of request fields that select the same variant (RFC 9111, 4.1)."""

from __future__ import annotations

import pytest

from gateway.cache.normalised import normalised
from gateway.http.message import Handler
from tests.unit.gateway.cache.cached_origin import Origin, get, response_with, send


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        ("accept-language", "en, de", "de, en"),
        ("accept-language", "en, de", "eN, De"),
        ("accept-language", "en, de", " en ,   de"),
        ("accept-language", "en;q=0.5, de", "de;q=1.0,en ; Q=0.50"),
        ("accept-encoding", "gzip, br;q=0.9", "br;q=.9, GZIP".replace("=.9", "=0.9")),
        ("accept", "text/html, */*;q=0.1", "*/*;q=0.10,TEXT/html;q=1"),
        ("x-list", "1,2", " 1, 2 "),
        ("x-list", "1,2", "1,,2"),
    ],
)
def test_differences_that_mean_nothing_are_removed(name: str, one: str, other: str) -> None:
    assert normalised(name, one) == normalised(name, other)


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        ("accept-language", "en, de;q=0.5", "en;q=0.5, de"),
        ("accept-language", "en", "en, de"),
        ("accept-encoding", "gzip", "gzip;q=0"),
        ("accept", "text/html;level=1", "text/html"),
        ("accept", "text/html;v=A", "text/html;v=a"),
        ("x-list", "1,2", "2,1"),
        ("x-list", "a", "A"),
        ("x-list", '"1, 2"', '"1,2"'),
        ("user-agent", "A (b, c)", "A (b,c)"),
        ("x-list", "1 2", "12"),
    ],
)
def test_differences_that_may_mean_something_stay(name: str, one: str, other: str) -> None:
    assert normalised(name, one) != normalised(name, other)


def test_a_long_value_is_normalised_too() -> None:
    assert normalised("x-list", "1, " * 500) == ",".join("1" * 500)


async def test_requests_that_differ_in_spelling_share_a_variant(cached: Handler, origin: Origin) -> None:
    origin.respond = lambda _request: response_with(
        ("Cache-Control", "max-age=60"), ("Vary", "Accept-Language, X-List")
    )
    await send(cached, get(Accept_Language="en, de;q=0.5", X_List="1, 2"))
    await send(cached, get(Accept_Language="DE;q=0.50,EN", X_List="1,2"))
    assert origin.times == 1
    await send(cached, get(Accept_Language="de", X_List="1,2"))
    assert origin.times == 2
