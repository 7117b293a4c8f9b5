"""Lifetime, age and reuse of stored responses. Each table names its section of RFC 9111."""

from __future__ import annotations

import math
from typing import Any

import pytest

from gateway.cache.freshness import reuse, stale_if_error
from gateway.cache.model import Exchange, Freshness, RequestDirectives, Reuse, StaleDefaults
from tests.unit.gateway.cache.exchanges import NOW, WITH_COOKIES, date, lifetime, stored

# 4.2.1: lifetimes


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ({"cache_control": "max-age=60"}, 60),
        ({"cache_control": "max-age=60, s-maxage=5"}, 5),
        ({"cache_control": "s-maxage=0, max-age=60"}, 0),
        ({"cache_control": "max-age=60", "expires": date(600)}, 60),
        ({"expires": date(600), "date": date()}, 600),
        ({"expires": date(600), "date": date(-100)}, 700),
        ({"expires": date(600)}, 600),
        ({"expires": date(-1), "date": date()}, 0),
        ({"expires": "0"}, 0),
        ({"expires": [date(600), date(900)]}, 0),
        ({"expires": [date(600), date(600)], "date": date()}, 600),
        ({"cache_control": "max-age=1, max-age=100"}, 0),
        ({"cache_control": "max-age=abc", "expires": date(600)}, 0),
        ({"cache_control": "s-maxage=-5, max-age=60"}, 0),
        ({"cache_control": "max-age=99999999999999"}, 2**31),
        ({"cache_control": ["max-age=60", "public"]}, 60),
        ({"cache_control": "public"}, 0),
    ],
)
def test_the_lifetime_comes_from_s_maxage_then_max_age_then_expires(fields: dict[str, Any], seconds: float) -> None:
    assert lifetime(**fields) == seconds


# 4.2.2: heuristics


def test_a_heuristic_lifetime_is_a_tenth_of_the_time_since_the_last_change() -> None:
    found = stored(last_modified=date(-1000), date=date())
    assert found is not None
    assert found.lifetime_s == 100


def test_a_heuristic_lifetime_is_bounded_and_never_negative() -> None:
    assert lifetime(last_modified=date(-10_000_000)) == 3600
    assert lifetime(last_modified=date(1000)) == 0


@pytest.mark.parametrize("status", [200, 203, 204, 300, 301, 308, 404, 405, 410, 414])
def test_a_lifetime_is_guessed_for_statuses_cacheable_by_default(status: int) -> None:
    found = stored(status=status, last_modified=date(-1000), date=date())
    assert found is not None
    assert found.lifetime_s == 100


def test_no_lifetime_is_guessed_for_cookies_or_statuses_not_cacheable_by_default() -> None:
    assert stored(exchange=WITH_COOKIES, last_modified=date(-1000)) is None
    assert stored(status=302, last_modified=date(-1000)) is None
    assert stored(status=302, last_modified=date(-1000), cache_control="public") is not None


# 4.2.3: age


@pytest.mark.parametrize(
    ("fields", "delay_s", "age_s"),
    [
        ({}, 0, 0),
        ({"date": date(-7)}, 0, 7),
        ({"date": date(50)}, 0, 0),
        ({"age": "30"}, 2, 32),
        ({"age": "30", "date": date(-100)}, 0, 100),
        ({"age": ["30", "90"]}, 0, 30),
        ({"age": "x"}, 0, 0),
        ({"age": "-5"}, 0, 0),
        ({"age": "99999999999999999"}, 0, 2**31),
        ({"date": "yesterday"}, 3, 3),
    ],
)
def test_the_initial_age_is_the_larger_of_those_by_date_and_age(
    fields: dict[str, Any], delay_s: float, age_s: float
) -> None:
    found = stored(exchange=Exchange(delay_s=delay_s, received_at=NOW), cache_control="max-age=60", **fields)
    assert found is not None
    assert found.age_s == age_s


# 4.2.4 and RFC 5861: stale


SOME = StaleDefaults(stale_while_revalidate_s=3.0, stale_if_error_s=7.0)


@pytest.mark.parametrize(
    ("cache_control", "behind_s", "error_s"),
    [
        ("max-age=60", 3, 7),
        ("max-age=60, stale-while-revalidate=9", 9, 7),
        ("max-age=60, stale-if-error=0", 3, 0),
        ("max-age=60, stale-if-error=x", 3, 0),
        ("s-maxage=60, stale-while-revalidate=9", 9, 0),
    ],
)
def test_stale_times_come_from_the_response_else_from_the_table(
    cache_control: str, behind_s: float, error_s: float
) -> None:
    found = stored(cache_control=cache_control, defaults=SOME)
    assert found is not None
    assert (found.stale_while_revalidate_s, found.stale_if_error_s, found.never_stale) == (behind_s, error_s, False)


@pytest.mark.parametrize(
    "also", ["must-revalidate", "proxy-revalidate", "no-cache", 'no-cache="Set-Cookie"', "s-maxage=60"]
)
def test_a_response_that_must_be_validated_is_never_stale(also: str) -> None:
    found = stored(cache_control=f"max-age=60, {also}", etag='"x"', defaults=SOME)
    assert found is not None
    assert found.never_stale
    assert not stale_if_error(found, 61)
    assert reuse(found, 61, RequestDirectives(max_stale_s=math.inf)) is Reuse.EXPIRED


def test_a_response_is_served_on_error_until_its_time_is_over() -> None:
    response = Freshness(0, 60, stale_if_error_s=10)
    assert stale_if_error(response, 69)
    assert not stale_if_error(response, 70)
