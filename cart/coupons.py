"""Coupons: the conditions of a code, and its reduction of the goods of a cart.

A coupon is kept as a product is: its SKU is the code behind a mark that no SKU of a shop can have, its stock is the number of
its uses, and a cart that has it has a line of it. So its uses are held, sold and returned as units are (ADR 57).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Final, NamedTuple

import msgspec

from primitives.rounding import half_even

# SKUs are printable, and the fields of a stored cart that are not lines begin with U+0001.
MARK: Final = "\2"
# ISO 4217's code where no currency is involved: no cart is in it.
NO_CURRENCY: Final = "XXX"
WHOLE: Final = 10_000  # 100 %, in hundredths of a percent
_CODE: Final = re.compile(r"[A-Z0-9][A-Z0-9_-]{0,31}")

_PERCENT: Final = re.compile(r"([0-9]{1,3})(?:\.([0-9]{1,2}))?")


class CouponFault(StrEnum):
    """Why a coupon does not count."""

    UNKNOWN = "unknown"
    NOT_STARTED = "not-started"
    ENDED = "ended"
    OTHER_CURRENCY = "other-currency"
    BELOW_MINIMUM = "below-minimum"
    NO_SUCH_GOODS = "no-such-goods"
    USED_UP = "used-up"
    USED_BY_SHOPPER = "used-by-shopper"


class Coupon(msgspec.Struct, frozen=True, omit_defaults=True):
    """The rule of a coupon. It takes off `percent` (hundredths of a percent) of each line, or an `amount`, or the shipping.

    `minimum` is the least price of the cart's goods. `amount` and `minimum` are in minor units of `currency`, without which the
    coupon is for carts of every currency. It counts from `starts_at` until before `ends_at` (Unix milliseconds), and takes off
    of its `skus` only if it names some. `is_limited`: it has a number of uses in all, which is the stock of its SKU.
    """

    percent: int = 0
    amount: int = 0
    free_shipping: bool = False
    currency: str = ""
    minimum: int = 0
    starts_at: int = 0
    ends_at: int | None = None
    skus: tuple[str, ...] = ()
    is_limited: bool = False

    def fault(self, goods: Sequence[Goods], *, currency: str, now: int) -> CouponFault | None:
        """Why it does not count for these goods at this time; None if it does."""
        if (fault := self.time_fault(now)) is not None:
            return fault
        if self.currency not in {"", currency}:
            return CouponFault.OTHER_CURRENCY
        if sum(line.price for line in goods) < self.minimum:
            return CouponFault.BELOW_MINIMUM
        if self.skus and frozenset(self.skus).isdisjoint([line.sku for line in goods]):
            return CouponFault.NO_SUCH_GOODS
        return None

    def time_fault(self, now: int) -> CouponFault | None:
        """Why it does not count at this time; None if it does."""
        if now < self.starts_at:
            return CouponFault.NOT_STARTED
        return CouponFault.ENDED if self.ends_at is not None and now >= self.ends_at else None

    def reductions(self, goods: Sequence[Goods]) -> list[int]:
        """Its reduction of each line, in minor units: never more than the price of the line.

        A percentage is rounded half to even on each line. An amount is shared in proportion to prices, and the rest of
        rounding goes to the lines with the largest remainders, the first of equals.
        """
        only = frozenset(self.skus)
        prices = [line.price if not only or line.sku in only else 0 for line in goods]
        if self.percent:
            return [half_even(price * self.percent, WHOLE) for price in prices]
        return _shared(self.amount, prices)


class Goods(NamedTuple):
    """A line of a cart or order: the price of all its units, in minor units."""

    sku: str
    price: int


def parse_code(text: str) -> str | None:
    """The code that a shopper typed, in its one spelling: capitals, without blanks around it; None if it cannot be one."""
    code = text.strip().upper()
    return code if _CODE.fullmatch(code) else None


def read_percent(text: str) -> int:
    """A percentage in hundredths: `12.5` is 1250. Raises `ValueError`, worded for whoever wrote it."""
    found = _PERCENT.fullmatch(text.strip())
    if found is None:
        raise ValueError("is no percentage such as 12.5")
    return int(found[1]) * 100 + int((found[2] or "").ljust(2, "0"))


def is_coupon(sku: str) -> bool:
    """Whether this is the SKU of a coupon."""
    return sku.startswith(MARK)


def code_of(sku: str) -> str:
    """The code of a coupon's SKU."""
    return sku[len(MARK) :]


def named(sku: str) -> str:
    """A SKU for people: that of a coupon by its code."""
    return f"coupon {code_of(sku)}" if is_coupon(sku) else sku


def _shared(amount: int, prices: Sequence[int]) -> list[int]:
    whole = sum(prices)
    amount = min(amount, whole)
    if not amount:
        return [0] * len(prices)
    shares = [amount * price // whole for price in prices]
    by_remainder = sorted(range(len(prices)), key=lambda at: -(amount * prices[at] % whole))
    for at in by_remainder[: amount - sum(shares)]:
        shares[at] += 1
    return shares
