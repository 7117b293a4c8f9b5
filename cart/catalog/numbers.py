"""Prices and counts as files have them, read exactly: digits stay digits and never become binary fractions."""

from __future__ import annotations

import re
from typing import Final, Literal

from cart.currencies import MINOR_DIGITS

DecimalMark = Literal[".", ","]

# With 1,000 lines of 10,000 each, a cart's total of such prices still is a signed 64-bit integer.
PRICE_MAX: Final = 10**11
STOCK_MAX: Final = 10**12

# The digits before and after the mark; one of them may be absent: `.5`.
_NUMBER: Final = {mark: re.compile(rf"([0-9]*)(?:\{mark}([0-9]+))?") for mark in (".", ",")}
# Spreadsheets write long numbers like this, and have rounded them before.
_EXPONENT: Final = re.compile(r"[0-9.,]+[eE][+-]?[0-9]+")
_GROUPED: Final = re.compile(r"[0-9]{1,3}(?:[.,' \u00a0\u202f][0-9]{3})+(?:[.,][0-9]*)?")
# More digits than any amount has; the conversion of very long ones would take long.
_MAX_DIGITS: Final = 18


def minor_units(text: str, currency: str, mark: DecimalMark = ".") -> int:
    """The minor units that a decimal price in major units is: `2.55` GBP is 255, `300` JPY is 300, `1.250` KWD is 1250.

    `mark` stands before the decimals; zeros at their end do not count. Raises `ValueError`, worded for the owner of the
    file: no plain decimal number, more digits than the currency has (ISO 4217), or above `PRICE_MAX`.
    """
    whole, fraction = _parts(text, mark, f"is no price such as 2{mark}55")
    digits = MINOR_DIGITS.get(currency, 2)
    if len(fraction) > digits:
        raise ValueError(
            f"has more than the {digits} decimals of {currency}" if digits else f"has decimals, {currency} has none"
        )
    amount = int((whole + fraction.ljust(digits, "0")) or "0")
    if amount > PRICE_MAX:
        raise ValueError(f"is above {PRICE_MAX} minor units")
    return amount


def whole_units(text: str, mark: DecimalMark = ".") -> int:
    """A whole number of 0 to `STOCK_MAX`; decimals of zeros do not count: `100.0000` is 100. Raises `ValueError`."""
    rule = f"is no whole number of 0 to {STOCK_MAX}"
    whole, fraction = _parts(text, mark, rule)
    units = int(whole or "0")
    if fraction or units > STOCK_MAX:
        raise ValueError(rule)
    return units


def _parts(text: str, mark: DecimalMark, rule: str) -> tuple[str, str]:
    """The digits before the mark and behind it, without zeros that mean nothing."""
    match = _NUMBER[mark].fullmatch(text)
    if match is None or not text:
        raise ValueError(rule + _hint(text, mark))
    whole, fraction = match[1].lstrip("0"), (match[2] or "").rstrip("0")
    if len(whole) > _MAX_DIGITS:
        raise ValueError(f"{rule}: it is too large")
    return whole, fraction


def _hint(text: str, mark: DecimalMark) -> str:
    if _EXPONENT.fullmatch(text):
        return ": write it without an exponent"
    if mark == "." and re.fullmatch(r"[0-9]*,[0-9]+", text):
        return ": --decimal-comma reads a file with commas before its decimals, and thousands have no separator"
    if _GROUPED.fullmatch(text):
        return ": write it without separators of thousands"
    return ""
