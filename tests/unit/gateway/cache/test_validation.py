"""Variants and validation. Each table names its section of RFC 9111."""

from __future__ import annotations

import pytest

from gateway.cache.model import Validators
from gateway.cache.validation import is_not_modified, names_tag, validators, validators_match
from gateway.cache.variants import vary_names
from tests.unit.gateway.cache.exchanges import date

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
    ("received", "stored", "matches"),
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
def test_a_304_counts_only_if_its_validators_match(received: Validators, stored: Validators, matches: bool) -> None:
    assert validators_match(received, stored) is matches


def test_a_validator_with_two_different_values_is_none() -> None:
    assert validators({"etag": ['"a"', '"b"'], "last-modified": [date()]}) == Validators(None, date())


def test_without_a_date_of_change_the_date_of_the_response_counts() -> None:
    # RFC 9111, 4.3.2
    assert is_not_modified(Validators(), None, date(), date())
    assert is_not_modified(Validators(), None, date(1), date())
    assert not is_not_modified(Validators(), None, date(-1), date())
    assert not is_not_modified(Validators(), None, date(), None)
    assert not is_not_modified(Validators(None, date(1)), None, date(), date())
