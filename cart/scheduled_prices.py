"""Prices with a start and an end: which one holds at an instant, and when the next change is.

Every process computes the price from the same stored periods and its own clock, so a change needs no message. Instants are Unix
milliseconds. A period begins with `start` and ends before `until`, so that one may begin at the instant at which another ends.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

# Periods that ended longer ago than this, which is more than clocks differ by, are forgotten.
FORGOTTEN_MS: Final = 60_000


class ScheduledPrice(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A unit price, in minor units of the product's currency, from `start` to before `until`."""

    price: int
    start: int
    until: int

    def overlaps(self, other: ScheduledPrice) -> bool:
        """Whether both hold at some instant."""
        return self.start < other.until and other.start < self.until


Periods = tuple[ScheduledPrice, ...]


class PricePeriod(msgspec.Struct, frozen=True, gc=False):
    """The time around an instant in which a product with scheduled prices has one price.

    `ordinary` is the price outside of scheduled ones; `until` the end of the scheduled price that holds, None for none;
    `ends_at` the instant of the next change, None after the last one.
    """

    ordinary: int
    until: int | None
    ends_at: int | None


def holding(periods: Iterable[ScheduledPrice], now: int) -> ScheduledPrice | None:
    """The scheduled price of that instant; of several the one that started last. None for none."""
    current = [each for each in periods if each.start <= now < each.until]
    return max(current, key=lambda each: each.start, default=None)


def next_change(periods: Iterable[ScheduledPrice], now: int) -> int | None:
    """The first start or end after that instant; None after the last one."""
    return min((at for each in periods for at in (each.start, each.until) if at > now), default=None)


def earlier(first: int | None, second: int | None) -> int | None:
    """The earlier of two instants; None is none."""
    return min((at for at in (first, second) if at is not None), default=None)


def lowest(periods: Iterable[ScheduledPrice], ordinary: int, start: int, until: int) -> int:
    """The lowest price that holds at some instant from `start` to `until`, both included."""
    periods = tuple(periods)
    changes = (at for each in periods for at in (each.start, each.until) if start < at <= until)
    prices = (holding(periods, at) for at in (start, *changes))
    return min(ordinary if each is None else each.price for each in prices)


def without_past(periods: Iterable[ScheduledPrice], now: int) -> Periods:
    """Those that have not ended, or not long ago."""
    return tuple(each for each in periods if each.until > now - FORGOTTEN_MS)
