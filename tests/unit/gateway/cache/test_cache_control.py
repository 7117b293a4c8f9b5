"""Cache-Control and dates: RFC 9111, 1.2.2, 4.2.1, 5.2, 5.3; RFC 9110, 5.6.7."""

from __future__ import annotations

import pytest

from gateway.cache.cache_control import MAX_SECONDS, directives, seconds
from gateway.http.http_date import http_date

MOMENT = 784111777.0


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (["max-age=60"], {"max-age": "60"}),
        (["Max-Age=60, PUBLIC"], {"max-age": "60", "public": None}),
        (['max-age="60"'], {"max-age": "60"}),
        (["private, max-age=60", "no-cache"], {"private": None, "max-age": "60", "no-cache": None}),
        (['private="Set-Cookie, X-A", max-age=5'], {"private": "Set-Cookie, X-A", "max-age": "5"}),
        (['ext="a\\"b, no-store", max-age=5'], {"ext": 'a"b, no-store', "max-age": "5"}),
        ([", ,max-age=1,,"], {"max-age": "1"}),
        ([""], {}),
        (["max-age=5, max-age=5"], {"max-age": "5"}),
    ],
)
def test_directives_are_parsed_in_both_forms_from_all_lines(lines: list[str], found: dict[str, str | None]) -> None:
    assert directives(lines) == found


@pytest.mark.parametrize(
    "line",
    [
        "max-age=1, max-age=2",
        "max-age =60",
        "max-age= 60",
        "max-age",
        "max-age=6 0",
        'max-age="60',
        "max-age=-1",
        "max-age=1.5",
    ],
)
def test_a_malformed_or_contradictory_lifetime_is_not_a_number(line: str) -> None:
    assert seconds(directives([line])["max-age"]) is None


@pytest.mark.parametrize(
    "line",
    [
        'foo="bar, no-store',
        'x=", no-store, y="a"',
        '"a, no-store", b',
        "no-store =1",
        "no-store=",
        'no-store="',
        "x=[1], no-store",
        "=1, no-store",
    ],
)
def test_no_prohibition_is_overlooked_in_a_malformed_field(line: str) -> None:
    assert "no-store" in directives([line])


@pytest.mark.parametrize(
    ("argument", "number"),
    [
        ("0", 0),
        ("0060", 60),
        ("2147483648", MAX_SECONDS),
        ("9999999999", MAX_SECONDS),
        ("99999999999999999999", MAX_SECONDS),
        ("9" * 5000, MAX_SECONDS),
        ("", None),
        (None, None),
        ("-1", None),
        ("1e3", None),
        ("٣", None),
        ("+5", None),
    ],
)
def test_too_many_seconds_count_as_the_maximum(argument: str | None, number: int | None) -> None:
    assert seconds(argument) == number


@pytest.mark.parametrize(
    "date",
    [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        "SUN, 06 NOV 1994 08:49:37 gMt",
        "sunday, 06-nov-94 08:49:37 gmt",
    ],
)
def test_dates_are_parsed_in_three_forms_and_any_case(date: str) -> None:
    assert http_date(date) == MOMENT


def test_a_two_digit_year_is_in_the_next_fifty_years_or_in_the_past() -> None:
    assert http_date("Sunday, 06-Nov-69 08:49:37 GMT") == http_date("Wed, 06 Nov 2069 08:49:37 GMT")
    assert http_date("Friday, 06-Nov-70 08:49:37 GMT") == http_date("Fri, 06 Nov 1970 08:49:37 GMT")


@pytest.mark.parametrize(
    "date",
    [
        "0",
        "-1",
        "",
        "now",
        "Sun, 06 Nov 1994 08:49:37 PST",
        "Sun, 31 Feb 1994 08:49:37 GMT",
        "Sun, 06 Foo 1994 08:49:37 GMT",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 25:49:37 GMT",
        "1994-11-06T08:49:37Z",
        None,
    ],
)
def test_an_invalid_date_is_none(date: str | None) -> None:
    assert http_date(date) is None
