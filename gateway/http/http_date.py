"""Parse and format dates of header fields (RFC 9110, 5.6.7)."""

from __future__ import annotations

import calendar
import re
from datetime import datetime
from email.utils import formatdate
from typing import Final

_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_TIME: Final = r"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
# RFC 9111, 4.2: caches compare dates without regard to case, the name of the zone too.
_FLAGS: Final = re.ASCII | re.IGNORECASE
_DATES: Final = (
    re.compile(rf"[a-z]{{3}}, (?P<day>\d\d) (?P<month>[a-z]{{3}}) (?P<year>\d{{4}}) {_TIME} gmt", _FLAGS),
    re.compile(rf"[a-z]{{6,9}}, (?P<day>\d\d)-(?P<month>[a-z]{{3}})-(?P<year>\d\d) {_TIME} gmt", _FLAGS),
    re.compile(rf"[a-z]{{3}} (?P<month>[a-z]{{3}}) (?P<day>[ \d]\d) {_TIME} (?P<year>\d{{4}})", _FLAGS),
)


def http_date(value: str | None) -> float | None:
    """Seconds since the epoch of a date in one of the three forms of RFC 9110, 5.6.7; None if it is invalid."""
    if value is None:
        return None
    for form in _DATES:
        if found := form.fullmatch(value):
            return _timestamp(found)
    return None


def format_date(timestamp: float) -> str:
    """The date in the form in which it is sent."""
    return formatdate(timestamp, usegmt=True)


def _timestamp(found: re.Match[str]) -> float | None:
    month, year = found["month"].lower(), int(found["year"])
    if month not in _MONTHS:
        return None
    if len(found["year"]) == 2:
        # RFC 9110, 5.6.7: a two-digit year more than 50 years ahead is of the last century. Right until 2070.
        year += 2000 if year < 70 else 1900
    clock = (int(found["hour"]), int(found["minute"]), min(int(found["second"]), 59))
    try:
        moment = datetime(year, _MONTHS.index(month) + 1, int(found["day"]), *clock)  # noqa: DTZ001 - HTTP dates are GMT
    except ValueError:
        return None
    return float(calendar.timegm(moment.timetuple()))
