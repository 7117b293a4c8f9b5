"""Responses that a shared cache may store. Each table names its section of RFC 9111."""

from __future__ import annotations

import pytest

from gateway.cache.model import StaleDefaults
from tests.unit.gateway.cache.exchanges import SIGNED_IN, date, stored

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


@pytest.mark.parametrize("status", [100, 206, 304])
def test_interim_and_partial_responses_are_not_stored(status: int) -> None:
    assert stored(status=status, cache_control="public, max-age=60") is None


@pytest.mark.parametrize("status", [200, 204, 299, 301, 302, 303, 308, 400, 403, 404, 451, 499, 500, 503, 504, 599])
def test_any_other_final_response_is_stored_with_an_explicit_lifetime(status: int) -> None:
    assert stored(status=status, cache_control="max-age=60") is not None
    assert stored(status=status, expires=date(60), date=date()) is not None


@pytest.mark.parametrize("status", [400, 403, 429, 500, 503, 599])
def test_an_error_is_stored_while_its_own_directives_make_it_fresh(status: int) -> None:
    assert stored(status=status, last_modified=date(-86_400)) is None
    assert stored(status=status, cache_control="public", etag='"x"') is None
    assert stored(status=status, cache_control="max-age=0", etag='"x"') is None
    assert stored(status=status, cache_control="public", last_modified=date(-86_400)) is not None
    kept = stored(status=status, cache_control="max-age=60", defaults=StaleDefaults(5.0, 60.0))
    assert kept is not None
    assert (kept.stale_while_revalidate_s, kept.stale_if_error_s) == (0.0, 0.0)


@pytest.mark.parametrize("status", [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501])
def test_some_statuses_are_cacheable_by_their_age(status: int) -> None:
    # RFC 9110, 15.1
    assert stored(status=status, last_modified=date(-86_400)) is not None


@pytest.mark.parametrize("status", [200, 203, 204, 300, 301, 302, 303, 307, 308, 404, 405, 410, 414, 451])
def test_must_understand_overrides_no_store_for_understood_statuses(status: int) -> None:
    # 5.2.2.3
    assert stored(status=status, cache_control="must-understand, no-store, max-age=60") is not None


def test_must_understand_prohibits_storage_of_other_statuses() -> None:
    # 5.2.2.3
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
