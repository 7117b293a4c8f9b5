"""Dates of invoices in the forms in which people keep the data set: ISO 8601, and day and month in either order."""

import re
from datetime import UTC, datetime
from typing import Final, Literal

DateOrder = Literal["day first", "month first"]

_SLASHED: Final = re.compile(
    r"(\d{1,2})([/.-])(\d{1,2})\2(\d{4}|\d{2})(?:[ T]+(\d{1,2}):(\d{2})(?::(\d{2})(?:\.\d+)?)?(?: ?([AaPp])[Mm])?)?",
    re.ASCII,
)
# Of two digits; the data set begins in 2009.
_CENTURY: Final = 2000


def order_shown_by(text: str) -> DateOrder | None:
    """The order that a date proves, because no month is above 12; None if it proves none or is of another form."""
    match = _SLASHED.fullmatch(text.strip())
    if match is None or (int(match[1]) > 12) == (int(match[3]) > 12):
        return None
    return "day first" if int(match[1]) > 12 else "month first"


def likely_order(text: str) -> DateOrder:
    """The order of a date that proves none: the data set has `01/12/2010`, and spreadsheets make `12/1/2010` of it."""
    match = _SLASHED.fullmatch(text.strip())
    is_padded = match is not None and len(match[1]) == len(match[3]) == 2
    return "day first" if match is None or is_padded or match[2] == "." else "month first"


def is_ordered(text: str) -> bool:
    """Whether the date has a form whose reading depends on the order."""
    return _SLASHED.fullmatch(text.strip()) is not None


def invoice_time(text: str, order: DateOrder) -> datetime:
    """The time of an invoice. Raises `ValueError`."""
    # The shop's time of day has no zone in the file; only the distances between invoices matter.
    match = _SLASHED.fullmatch(text.strip())
    if match is None:
        return datetime.fromisoformat(text.strip()).replace(tzinfo=UTC)
    day, month = (match[1], match[3]) if order == "day first" else (match[3], match[1])
    if int(month) > 12 >= int(day):
        raise ValueError(f"the date {text} is not {order}, as others are")
    year = int(match[4]) if len(match[4]) == 4 else _CENTURY + int(match[4])
    hour, minute, second = (int(part or 0) for part in match.group(5, 6, 7))
    if match[8] is not None:
        hour = hour % 12 + (12 if match[8] in "Pp" else 0)
    return datetime(year, int(month), int(day), hour, minute, second, tzinfo=UTC)
