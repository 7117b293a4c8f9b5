"""What a shared cache may keep, for how long, and when it may be stale. Each table names its section of RFC 9111."""

from __future__ import annotations

import math
from email.utils import formatdate
from typing import Any

import pytest

from gateway.cache.freshness import reuse, stale_if_error
from gateway.cache.model import Exchange, Freshness, RequestDirectives, Reuse, StaleDefaults, Validators
from gateway.cache.request_directives import request_directives
from gateway.cache.storability import storable
from gateway.cache.validation import is_not_modified, names_tag, validators, validators_match
from gateway.cache.variants import vary_names

NOW = 1_700_000_000.0
EXCHANGE = Exchange(delay_s=0.0, received_at=NOW)
SIGNED_IN = Exchange(delay_s=0.0, received_at=NOW, has_credentials=True)
WITH_COOKIES = Exchange(delay_s=0.0, received_at=NOW, has_cookies=True)


def date(offset_s: float = 0.0) -> str:
    return formatdate(NOW + offset_s, usegmt=True)


def stored(
    *, exchange: Exchange = EXCHANGE, status: int = 200, defaults: StaleDefaults | None = None, **fields: Any
) -> Freshness | None:
    """Field names with underscores for hyphens."""
    named = {name.replace("_", "-"): [value] if isinstance(value, str) else value for name, value in fields.items()}
    return storable(status, named, exchange, defaults or StaleDefaults())


def lifetime(**fields: Any) -> float:
    found = stored(etag='"x"', **fields)
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
def test_a_prohibition_counts_beside_any_other_directive(cache_control: str) -> None:
    assert stored(cache_control=cache_control) is None


def test_a_response_without_permission_is_not_stored() -> None:
    assert stored() is None
    assert stored(etag='"x"') is None
    assert stored(cache_control="immutable", etag='"x"') is None


@pytest.mark.parametrize("status", [100, 206, 304, 400, 401, 403, 429, 431, 500, 501, 503, 504])
def test_partial_interim_and_error_responses_are_not_stored(status: int) -> None:
    assert stored(status=status, cache_control="public, max-age=60") is None


@pytest.mark.parametrize("status", [200, 203, 204, 299, 300, 301, 302, 307, 308, 404, 405, 410])
def test_other_final_responses_are_stored_with_an_explicit_lifetime(status: int) -> None:
    assert stored(status=status, cache_control="max-age=60") is not None


def test_must_understand_overrides_no_store_for_understood_statuses_only() -> None:
    # 5.2.2.3
    assert stored(cache_control="must-understand, no-store, max-age=60") is not None
    assert stored(status=299, cache_control="must-understand, no-store, max-age=60") is None
    assert stored(status=299, cache_control="must-understand, max-age=60") is None


@pytest.mark.parametrize(
    ("cache_control", "may"),
    [("max-age=60", False), ("public, max-age=60", True), ("s-maxage=60", True), ("must-revalidate, max-age=60", True)],
)
def test_a_response_to_credentials_is_stored_with_permission_only(cache_control: str, may: bool) -> None:
    # 3.5
    assert (stored(exchange=SIGNED_IN, cache_control=cache_control) is not None) is may


def test_a_response_that_sets_a_cookie_is_never_stored() -> None:
    assert stored(cache_control="public, max-age=60", set_cookie="session=1") is None


def test_a_response_that_varies_by_everything_is_never_stored() -> None:
    # 4.1
    assert stored(cache_control="public, max-age=60", vary="Accept, *") is None


def test_a_response_without_lifetime_is_stored_only_with_a_validator() -> None:
    assert stored(cache_control="no-cache") is None
    assert stored(cache_control="max-age=0") is None
    validated = stored(cache_control="no-cache, max-age=60", etag='"x"')
    assert validated is not None
    assert validated.always_validate
    assert stored(cache_control="max-age=0", last_modified=date(-60)) is not None
    assert stored(cache_control="max-age=0, stale-while-revalidate=5") is not None


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


# 5.2.1: what requests ask


@pytest.mark.parametrize(
    ("lines", "pragma", "wanted"),
    [
        ([], None, RequestDirectives()),
        ([], "no-cache", RequestDirectives(no_cache=True)),
        (["max-age=5"], "no-cache", RequestDirectives(max_age_s=5)),
        (["no-cache, no-store"], None, RequestDirectives(no_cache=True, no_store=True)),
        (["only-if-cached", "max-stale"], None, RequestDirectives(only_if_cached=True, max_stale_s=math.inf)),
        (["max-stale=5, min-fresh=3"], None, RequestDirectives(max_stale_s=5, min_fresh_s=3)),
        (
            ["max-age=x, max-stale=x, min-fresh=x"],
            None,
            RequestDirectives(max_age_s=0, max_stale_s=0, min_fresh_s=math.inf),
        ),
    ],
)
def test_malformed_request_directives_take_their_strictest_meaning(
    lines: list[str], pragma: str | None, wanted: RequestDirectives
) -> None:
    assert request_directives(lines, pragma) == wanted


FRESH_60 = Freshness(0, 60)


@pytest.mark.parametrize(
    ("response", "age_s", "wanted", "verdict"),
    [
        (FRESH_60, 59, RequestDirectives(), Reuse.FRESH),
        (FRESH_60, 60, RequestDirectives(), Reuse.EXPIRED),
        (FRESH_60, 0, RequestDirectives(no_cache=True), Reuse.EXCLUDED),
        (FRESH_60, 5, RequestDirectives(max_age_s=5), Reuse.FRESH),
        (FRESH_60, 6, RequestDirectives(max_age_s=5), Reuse.EXCLUDED),
        (FRESH_60, 50, RequestDirectives(min_fresh_s=10), Reuse.FRESH),
        (FRESH_60, 51, RequestDirectives(min_fresh_s=10), Reuse.EXCLUDED),
        (FRESH_60, 65, RequestDirectives(max_stale_s=5), Reuse.STALE),
        (FRESH_60, 66, RequestDirectives(max_stale_s=5), Reuse.EXPIRED),
        (FRESH_60, 9999, RequestDirectives(max_stale_s=math.inf), Reuse.STALE),
        (Freshness(0, 60, 10), 60, RequestDirectives(), Reuse.STALE_WHILE_REVALIDATE),
        (Freshness(0, 60, 10), 69, RequestDirectives(), Reuse.STALE_WHILE_REVALIDATE),
        (Freshness(0, 60, 10), 70, RequestDirectives(), Reuse.EXPIRED),
        (Freshness(0, 60, 10), 61, RequestDirectives(min_fresh_s=1), Reuse.EXPIRED),
        (Freshness(0, 60, always_validate=True), 0, RequestDirectives(), Reuse.EXPIRED),
        (Freshness(0, 60, 10, never_stale=True), 61, RequestDirectives(), Reuse.EXPIRED),
    ],
)
def test_reuse_of_a_stored_response(
    response: Freshness, age_s: float, wanted: RequestDirectives, verdict: Reuse
) -> None:
    assert reuse(response, age_s, wanted) is verdict


# 4.1: variants


def test_vary_names_are_unique_sorted_and_in_lower_case() -> None:
    assert vary_names({"vary": ["Accept-Encoding, accept", "ACCEPT, "]}) == ("accept", "accept-encoding")
    assert vary_names({}) == ()


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
def test_a_client_that_has_the_response_gets_304(
    if_none_match: str | None, if_modified_since: str | None, is_so: bool
) -> None:
    assert is_not_modified(Validators('"a"', date(-10)), if_none_match, if_modified_since) is is_so


def test_entity_tags_are_compared_weakly_and_whole() -> None:
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
def test_a_304_counts_only_if_its_validators_match(told: Validators, held: Validators, is_so: bool) -> None:
    assert validators_match(told, held) is is_so


def test_a_validator_with_two_different_values_is_none() -> None:
    assert validators({"etag": ['"a"', '"b"'], "last-modified": [date()]}) == Validators(None, date())
