"""What a shared cache may keep, for how long, and when it may be stale. Each table names its section of RFC 9111."""

from __future__ import annotations

import math
from email.utils import formatdate
from typing import Any

import pytest

from gateway.cache.freshness import (
    Arrival,
    Asked,
    Defaults,
    Terms,
    Use,
    Validators,
    asked,
    is_not_modified,
    may_stand_in,
    names_tag,
    speaks_of,
    terms,
    use,
    validators,
    varies_by,
)

NOW = 1_700_000_000.0
ARRIVAL = Arrival(delay_s=0.0, at=NOW)
SIGNED_IN = Arrival(delay_s=0.0, at=NOW, has_credentials=True)
WITH_COOKIES = Arrival(delay_s=0.0, at=NOW, has_cookies=True)


def date(offset_s: float = 0.0) -> str:
    return formatdate(NOW + offset_s, usegmt=True)


def kept(
    *, arrival: Arrival = ARRIVAL, status: int = 200, defaults: Defaults | None = None, **fields: Any
) -> Terms | None:
    """Field names with underscores for hyphens."""
    named = {name.replace("_", "-"): [value] if isinstance(value, str) else value for name, value in fields.items()}
    return terms(status, named, arrival, defaults or Defaults())


def lifetime(**fields: Any) -> float:
    found = kept(etag='"x"', **fields)
    assert found is not None
    return found.lifetime_s


# 3: storing


@pytest.mark.parametrize(
    "cache_control",
    [
        "no-store, max-age=60",
        "private, max-age=60",
        'private="X-Secret", max-age=60',
        "max-age=60, no-store=1",
        "no-store =x, max-age=60",
    ],
)
def test_what_forbids_keeping_is_obeyed_whatever_else_is_said(cache_control: str) -> None:
    assert kept(cache_control=cache_control) is None


def test_nothing_is_kept_that_does_not_say_so() -> None:
    assert kept() is None
    assert kept(etag='"x"') is None
    assert kept(cache_control="immutable", etag='"x"') is None


@pytest.mark.parametrize("status", [100, 206, 304, 400, 401, 403, 429, 431, 500, 501, 503, 504])
def test_partial_unfinished_refused_and_failed_answers_are_not_kept(status: int) -> None:
    assert kept(status=status, cache_control="public, max-age=60") is None


@pytest.mark.parametrize("status", [200, 203, 204, 299, 300, 301, 302, 307, 308, 404, 405, 410])
def test_any_other_final_answer_is_kept_with_an_explicit_lifetime(status: int) -> None:
    assert kept(status=status, cache_control="max-age=60") is not None


def test_must_understand_overrides_no_store_for_what_is_understood_only() -> None:
    # 5.2.2.3
    assert kept(cache_control="must-understand, no-store, max-age=60") is not None
    assert kept(status=299, cache_control="must-understand, no-store, max-age=60") is None
    assert kept(status=299, cache_control="must-understand, max-age=60") is None


@pytest.mark.parametrize(
    ("cache_control", "may"),
    [("max-age=60", False), ("public, max-age=60", True), ("s-maxage=60", True), ("must-revalidate, max-age=60", True)],
)
def test_answers_to_those_who_signed_in_are_kept_with_permission_only(cache_control: str, may: bool) -> None:
    # 3.5
    assert (kept(arrival=SIGNED_IN, cache_control=cache_control) is not None) is may


def test_an_answer_that_sets_a_cookie_is_never_kept() -> None:
    assert kept(cache_control="public, max-age=60", set_cookie="session=1") is None


def test_an_answer_that_varies_by_everything_is_never_kept() -> None:
    # 4.1
    assert kept(cache_control="public, max-age=60", vary="Accept, *") is None


def test_what_needs_asking_each_time_is_kept_only_when_it_can_be_asked_about() -> None:
    assert kept(cache_control="no-cache") is None
    assert kept(cache_control="max-age=0") is None
    validated = kept(cache_control="no-cache, max-age=60", etag='"x"')
    assert validated is not None
    assert validated.validated_always
    assert kept(cache_control="max-age=0", last_modified=date(-60)) is not None
    assert kept(cache_control="max-age=0, stale-while-revalidate=5") is not None


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
def test_the_lifetime_is_said_by_s_maxage_then_max_age_then_expires(fields: dict[str, Any], seconds: float) -> None:
    assert lifetime(**fields) == seconds


# 4.2.2: heuristics


def test_a_lifetime_is_guessed_as_a_tenth_of_the_time_since_the_last_change() -> None:
    found = kept(last_modified=date(-1000), date=date())
    assert found is not None
    assert found.lifetime_s == 100


def test_a_guess_is_bounded_and_never_negative() -> None:
    assert lifetime(last_modified=date(-10_000_000)) == 3600
    assert lifetime(last_modified=date(1000)) == 0


def test_nothing_is_guessed_for_shoppers_with_cookies_or_statuses_not_cacheable_by_default() -> None:
    assert kept(arrival=WITH_COOKIES, last_modified=date(-1000)) is None
    assert kept(status=302, last_modified=date(-1000)) is None
    assert kept(status=302, last_modified=date(-1000), cache_control="public") is not None


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
def test_the_age_on_arrival_is_the_larger_of_what_date_and_age_say(
    fields: dict[str, Any], delay_s: float, age_s: float
) -> None:
    found = kept(arrival=Arrival(delay_s=delay_s, at=NOW), cache_control="max-age=60", **fields)
    assert found is not None
    assert found.age_s == age_s


# 4.2.4 and RFC 5861: stale


SOME = Defaults(stale_while_revalidate_s=3.0, stale_if_error_s=7.0)


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
def test_how_long_it_may_be_stale_is_said_by_the_answer_else_by_the_table(
    cache_control: str, behind_s: float, error_s: float
) -> None:
    found = kept(cache_control=cache_control, defaults=SOME)
    assert found is not None
    assert (found.stale_while_revalidate_s, found.stale_if_error_s, found.never_stale) == (behind_s, error_s, False)


@pytest.mark.parametrize(
    "also", ["must-revalidate", "proxy-revalidate", "no-cache", 'no-cache="Set-Cookie"', "s-maxage=60"]
)
def test_what_must_be_validated_is_never_stale(also: str) -> None:
    found = kept(cache_control=f"max-age=60, {also}", etag='"x"', defaults=SOME)
    assert found is not None
    assert found.never_stale
    assert not may_stand_in(found, 61)
    assert use(found, 61, Asked(max_stale_s=math.inf)) is Use.EXPIRED


def test_an_error_may_be_stood_in_for_until_the_time_is_over() -> None:
    answer = Terms(0, 60, stale_if_error_s=10)
    assert may_stand_in(answer, 69)
    assert not may_stand_in(answer, 70)


# 5.2.1: what requests ask


@pytest.mark.parametrize(
    ("lines", "pragma", "wanted"),
    [
        ([], None, Asked()),
        ([], "no-cache", Asked(no_cache=True)),
        (["max-age=5"], "no-cache", Asked(max_age_s=5)),
        (["no-cache, no-store"], None, Asked(no_cache=True, no_store=True)),
        (["only-if-cached", "max-stale"], None, Asked(only_if_cached=True, max_stale_s=math.inf)),
        (["max-stale=5, min-fresh=3"], None, Asked(max_stale_s=5, min_fresh_s=3)),
        (["max-age=x, max-stale=x, min-fresh=x"], None, Asked(max_age_s=0, max_stale_s=0, min_fresh_s=math.inf)),
    ],
)
def test_a_request_is_read_as_strictly_as_it_can_be_meant(lines: list[str], pragma: str | None, wanted: Asked) -> None:
    assert asked(lines, pragma) == wanted


FRESH_60 = Terms(0, 60)


@pytest.mark.parametrize(
    ("answer", "age_s", "wanted", "verdict"),
    [
        (FRESH_60, 59, Asked(), Use.FRESH),
        (FRESH_60, 60, Asked(), Use.EXPIRED),
        (FRESH_60, 0, Asked(no_cache=True), Use.UNWANTED),
        (FRESH_60, 5, Asked(max_age_s=5), Use.FRESH),
        (FRESH_60, 6, Asked(max_age_s=5), Use.UNWANTED),
        (FRESH_60, 50, Asked(min_fresh_s=10), Use.FRESH),
        (FRESH_60, 51, Asked(min_fresh_s=10), Use.UNWANTED),
        (FRESH_60, 65, Asked(max_stale_s=5), Use.STALE),
        (FRESH_60, 66, Asked(max_stale_s=5), Use.EXPIRED),
        (FRESH_60, 9999, Asked(max_stale_s=math.inf), Use.STALE),
        (Terms(0, 60, 10), 60, Asked(), Use.REFRESHED_BEHIND),
        (Terms(0, 60, 10), 69, Asked(), Use.REFRESHED_BEHIND),
        (Terms(0, 60, 10), 70, Asked(), Use.EXPIRED),
        (Terms(0, 60, 10), 61, Asked(min_fresh_s=1), Use.EXPIRED),
        (Terms(0, 60, validated_always=True), 0, Asked(), Use.EXPIRED),
        (Terms(0, 60, 10, never_stale=True), 61, Asked(), Use.EXPIRED),
    ],
)
def test_what_may_be_done_with_something_kept(answer: Terms, age_s: float, wanted: Asked, verdict: Use) -> None:
    assert use(answer, age_s, wanted) is verdict


# 4.1: variants


def test_vary_names_fields_once_in_any_case_and_order() -> None:
    assert varies_by({"vary": ["Accept-Encoding, accept", "ACCEPT, "]}) == ("accept", "accept-encoding")
    assert varies_by({}) == ()


# 4.3: validation


@pytest.mark.parametrize(
    ("if_none_match", "if_modified_since", "is_so"),
    [
        ('"a"', None, True),
        ('W/"a"', None, True),
        ('"b", W/"a"', None, True),
        ("*", None, True),
        ('"b"', None, False),
        ('"aa"', None, False),
        ("a", None, False),
        (None, date(-10), True),
        (None, date(-11), False),
        (None, "garbage", False),
        # RFC 9110, 13.2.2: the tag decides alone.
        ('"b"', date(), False),
    ],
)
def test_a_shopper_who_has_it_already_is_told_so(
    if_none_match: str | None, if_modified_since: str | None, is_so: bool
) -> None:
    assert is_not_modified(Validators('"a"', date(-10)), if_none_match, if_modified_since) is is_so


def test_tags_are_compared_weakly_and_whole() -> None:
    assert names_tag('"a"', 'W/"a"')
    assert not names_tag('"1","2"', '","')


@pytest.mark.parametrize(
    ("told", "held", "is_so"),
    [
        (Validators(), Validators('"a"'), True),
        (Validators('"a"'), Validators('"a"'), True),
        (Validators('"b"'), Validators('"a"'), False),
        (Validators('"a"'), Validators('W/"a"'), False),
        (Validators('W/"a"'), Validators('"a"'), True),
        (Validators('"a"'), Validators(None, date()), False),
        (Validators(None, date()), Validators(None, date()), True),
        (Validators(None, date()), Validators(None, date(-1)), False),
    ],
)
def test_a_304_counts_only_for_what_it_speaks_of(told: Validators, held: Validators, is_so: bool) -> None:
    assert speaks_of(told, held) is is_so


def test_a_validator_that_is_said_twice_differently_is_none() -> None:
    assert validators({"etag": ['"a"', '"b"'], "last-modified": [date()]}) == Validators(None, date())
