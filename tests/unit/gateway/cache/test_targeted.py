"""Directives for some caches only (RFC 9213), and the dictionaries in which they are written (RFC 9651)."""

from __future__ import annotations

import pytest

from gateway.cache.structured_field import dictionary
from gateway.cache.targeted import response_directives
from gateway.http.message import Handler
from tests.unit.gateway.cache.cached_origin import Clock, Origin, response_with, send
from tests.unit.gateway.cache.exchanges import date, lifetime, stored


@pytest.mark.parametrize(
    ("field", "members"),
    [
        ("", {}),
        ("max-age=60", {"max-age": "60"}),
        ("max-age=60, no-store", {"max-age": "60", "no-store": "?1"}),
        (" a=1 ,\tb=?0 ", {"a": "1", "b": "?0"}),
        ("a=1,a=2", {"a": "2"}),
        ('a="x, y";p=1;q, b', {"a": '"x, y"', "b": "?1"}),
        (
            "a=(1 2);p, b=1.5, c=tok/en, d=:aGk=:, e=@1",
            {"a": "(1 2)", "b": "1.5", "c": "tok/en", "d": ":aGk=:", "e": "@1"},
        ),
        ("a;p=1, b", {"a": "?1", "b": "?1"}),
    ],
)
def test_a_dictionary_is_parsed(field: str, members: dict[str, str]) -> None:
    assert dictionary(field) == members


@pytest.mark.parametrize(
    "field",
    ["max-age=60, &&&&&", "max-age =60", "max-age= 60", "Max-Age=60", "a,", ",a", "a b", 'a="x', "a=1.", "a=(1", "a=é"],
)
def test_a_malformed_dictionary_is_none(field: str) -> None:
    assert dictionary(field) is None


def test_the_most_specific_field_counts_alone() -> None:
    fields = {
        "cache-control": ["max-age=1"],
        "surrogate-control": ["max-age=2"],
        "cdn-cache-control": ["max-age=3"],
        "peakgate-cache-control": ["max-age=4"],
    }
    assert response_directives(fields) == ({"max-age": "4"}, True)
    del fields["peakgate-cache-control"]
    assert response_directives(fields) == ({"max-age": "3"}, True)
    del fields["cdn-cache-control"]
    assert response_directives(fields) == ({"max-age": "2"}, True)
    del fields["surrogate-control"]
    assert response_directives(fields) == ({"max-age": "1"}, False)


def test_a_targeted_field_overrides_cache_control_and_expires() -> None:
    assert lifetime(cdn_cache_control="max-age=60", cache_control="max-age=1", expires="0") == 60.0
    assert lifetime(cdn_cache_control="max-age=60", cache_control="no-store") == 60.0
    assert lifetime(cdn_cache_control="max-age=0", cache_control="max-age=60", expires=date(60)) == 0.0
    assert stored(cdn_cache_control="no-store", cache_control="max-age=60") is None
    assert stored(cdn_cache_control="private", cache_control="max-age=60") is None
    validated = stored(cdn_cache_control="no-cache", cache_control="max-age=60", etag='"x"')
    assert validated is not None
    assert validated.always_validate
    assert stored(peakgate_cache_control="no-store=?0, max-age=5", cache_control="no-store") is not None


@pytest.mark.parametrize("field", ["", "max-age=10, &&&", "max-age =10", "MAX-AGE=10"])
def test_a_malformed_or_empty_targeted_field_is_ignored(field: str) -> None:
    assert stored(cdn_cache_control=field, cache_control="no-store") is None
    assert lifetime(cdn_cache_control=field, cache_control="max-age=60") == 60.0


def test_only_integers_are_seconds() -> None:
    assert stored(cdn_cache_control='max-age="60"', cache_control="no-store") is None
    assert lifetime(cdn_cache_control="max-age=60.5", cache_control="max-age=60") == 0.0


def test_surrogate_control_addresses_surrogates_by_name() -> None:
    assert lifetime(surrogate_control="MaX-aGe=60, content=ESI/1.0", cache_control="max-age=1") == 60.0
    assert lifetime(surrogate_control="max-age=60;peakgate, max-age=1;other") == 60.0
    assert lifetime(surrogate_control="max-age=60;other", cache_control="max-age=1") == 1.0
    assert lifetime(surrogate_control='content="ESI/1.0"', cache_control="max-age=1") == 1.0
    extended = stored(surrogate_control="max-age=60+30")
    assert extended is not None
    assert (extended.lifetime_s, extended.stale_while_revalidate_s) == (60.0, 30.0)


async def test_the_gateways_own_field_is_not_sent_and_others_are(cached: Handler, origin: Origin, clock: Clock) -> None:
    lines = (("Peakgate-Cache-Control", "max-age=60"), ("CDN-Cache-Control", "max-age=9"), ("ETag", '"1"'))
    origin.respond = lambda _request: response_with(*lines)
    for response in (await send(cached), await send(cached)):
        assert b"Peakgate-Cache-Control" not in response.header_block
        assert b"CDN-Cache-Control: max-age=9\r\n" in response.header_block
    # A 304 need not repeat it.
    clock.time += 61
    origin.respond = lambda _request: response_with(("ETag", '"1"'), status=304)
    await send(cached)
    clock.time += 59
    assert b"Peakgate-Cache-Control" not in (await send(cached)).header_block
    assert origin.times == 2
