"""Scheduled prices as files, operators and requests write them: `1.99 2026-11-27T00:00Z/2026-12-01T00:00Z`, with `;` between several."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from typing import Final

from cart.catalog.numbers import DecimalMark, minor_units
from cart.scheduled_prices import Periods, ScheduledPrice
from cart.timestamps import rfc3339

# Of one product; each is some 40 bytes in the store.
MAX_PERIODS: Final = 50
_FORM: Final = "has no form such as 1.99 2026-11-27T00:00Z/2026-12-01T00:00Z, with ; between several"
_MIN_YEAR: Final = 1970


class PeriodsInvalid(ValueError):
    """The scheduled prices of a product cannot be; the message is the reason, behind the name of the product or column."""


def read_periods(text: str, currency: str, mark: DecimalMark = ".") -> Periods:
    """The scheduled prices of a text, in the order of their starts; a blank text has none. Raises `ValueError`."""
    return checked([_read_period(each, currency, mark) for each in text.split(";") if each.strip()])


def _read_period(text: str, currency: str, mark: DecimalMark) -> ScheduledPrice:
    price, _, interval = text.strip().partition(" ")
    start, slash, until = interval.strip().partition("/")
    if not slash:
        raise ValueError(_FORM)
    return ScheduledPrice(minor_units(price, currency, mark), read_instant(start), read_instant(until))


def read_instant(text: str) -> int:
    """An instant of RFC 3339 or ISO 8601 with its offset from UTC, in Unix milliseconds. Raises `ValueError`."""
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        at = None
    if at is None or at.tzinfo is None or at.year <= _MIN_YEAR:
        raise ValueError(
            f"has no time with its offset such as 2026-11-27T00:00Z or 2026-11-27T00:00+01:00: {text.strip()!a}"
        )
    return round(at.timestamp() * 1000)


def checked(periods: Sequence[ScheduledPrice]) -> Periods:
    """The periods in the order of their starts. Raises `PeriodsInvalid` for too many, empty or overlapping ones."""
    if len(periods) > MAX_PERIODS:
        raise PeriodsInvalid(f"has {len(periods)} scheduled prices, more than {MAX_PERIODS}")
    ordered = tuple(sorted(periods, key=lambda each: each.start))
    for each in ordered:
        if each.until <= each.start:
            raise PeriodsInvalid(f"has a scheduled price that ends before it begins: {described(each)}")
    for before, after in pairwise(ordered):
        if before.overlaps(after):
            raise PeriodsInvalid(f"has scheduled prices that overlap: {described(before)} and {described(after)}")
    return ordered


def described(period: ScheduledPrice) -> str:
    """The time of a period: `2026-11-27T00:00:00.000Z/2026-12-01T00:00:00.000Z`."""
    return f"{rfc3339(period.start)}/{rfc3339(period.until)}"
