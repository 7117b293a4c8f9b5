"""Reading what a cache is told: `Cache-Control` (RFC 9111, 5.2) and dates (RFC 9110, 5.6.7). What is malformed counts against reuse."""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Final

# RFC 9111, 1.2.2: what is larger than can be held counts as this.
MOST_SECONDS: Final = 2**31
# An argument that cannot be what it should be: the directive stands, its number does not.
_INVALID: Final = ""

# Pieces between commas; a comma inside a quoted string is none, unless the string does not begin and end as one should.
_ELEMENTS: Final = re.compile(r'(?:[^,"]|(?<==)"(?:[^"\\]|\\.)*"(?=[ \t]*(?:,|$))|")+')
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_TIME: Final = r"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
_DATES: Final = (
    re.compile(rf"[A-Za-z]{{3}}, (?P<day>\d\d) (?P<month>[A-Za-z]{{3}}) (?P<year>\d{{4}}) {_TIME} GMT", re.ASCII),
    re.compile(rf"[A-Za-z]{{6,9}}, (?P<day>\d\d)-(?P<month>[A-Za-z]{{3}})-(?P<year>\d\d) {_TIME} GMT", re.ASCII),
    re.compile(rf"[A-Za-z]{{3}} (?P<month>[A-Za-z]{{3}}) (?P<day>[ \d]\d) {_TIME} (?P<year>\d{{4}})", re.ASCII),
)


def directives(values: Iterable[str]) -> Mapping[str, str | None]:
    """The directives of all `Cache-Control` lines of a message: names in lower case, arguments without quotes, None for none.

    Both forms of argument are taken (5.2). One that comes twice with different arguments, or has something in it that does
    not belong there, gets the argument `""`, which is no number (4.2.1: such a response is best taken as stale). A name
    is kept whatever is wrong behind it, so that no `private` is overlooked.
    """
    return _directives(",".join(values))


@lru_cache(maxsize=1_024)  # an origin says few things, and the same ones all day
def _directives(field: str) -> Mapping[str, str | None]:
    found: dict[str, str | None] = {}
    for element in _ELEMENTS.findall(field):
        name, sign, argument = element.strip(" \t").partition("=")
        token = _TOKEN.match(name)
        if token is None:
            continue
        value = _unquoted(argument) if sign else None
        if token.end() != len(name):
            value = _INVALID
        name = token[0].lower()
        found[name] = value if found.get(name, value) == value else _INVALID
    return MappingProxyType(found)


def _unquoted(argument: str) -> str:
    if argument[:1] != '"':
        return argument if _TOKEN.fullmatch(argument) else _INVALID
    if len(argument) < 2 or argument[-1] != '"':
        return _INVALID
    return re.sub(r"\\(.)", r"\1", argument[1:-1])


def seconds(argument: str | None) -> int | None:
    """Delta-seconds (1.2.2), at most 2^31; None for what is no such number."""
    if not argument or not (argument.isascii() and argument.isdigit()):
        return None
    digits = argument.lstrip("0")
    return MOST_SECONDS if len(digits) > 10 else min(int(digits or "0"), MOST_SECONDS)


def http_date(value: str | None) -> float | None:
    """Seconds since the epoch of a date in one of the three forms of RFC 9110, 5.6.7; None for what is no date."""
    if value is None:
        return None
    for form in _DATES:
        if found := form.fullmatch(value):
            return _timestamp(found)
    return None


def _timestamp(found: re.Match[str]) -> float | None:
    month, year = found["month"].lower(), int(found["year"])
    if month not in _MONTHS:
        return None
    if len(found["year"]) == 2:
        # A two-digit year more than 50 years ahead is of the last century; 2070 will want another line here.
        year += 2000 if year < 70 else 1900
    clock = (int(found["hour"]), int(found["minute"]), min(int(found["second"]), 59))
    try:
        moment = datetime(year, _MONTHS.index(month) + 1, int(found["day"]), *clock)  # noqa: DTZ001 - all of them are GMT
    except ValueError:
        return None
    return float(calendar.timegm(moment.timetuple()))
