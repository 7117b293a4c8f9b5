"""Which digits can be the number of a payment card: the prefixes and lengths that networks issue (ISO/IEC 7812)."""

from __future__ import annotations

import re
from typing import Final

MIN_DIGITS: Final = 13
MAX_DIGITS: Final = 19

_ISSUED: Final = re.compile(
    r"""
      4(?:\d{12}|\d{15}|\d{18})                                             # Visa: 13, 16, 19
    | 3[47]\d{13}                                                           # American Express: 15
    | (?:5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}      # Mastercard: 16
    | (?:6011|64[4-9]\d|65\d\d)\d{12,15}                                    # Discover: 16 to 19
    | 3(?:0[0-59]|[689]\d)\d{11}                                            # Diners Club: 14
    | 3(?:0[0-5]|[689]\d)\d{13,16}                                          # Diners Club: 16 to 19
    | 35(?:2[89]|[3-8]\d)\d{12,15}                                          # JCB: 16 to 19
    | (?:62|81)\d{14,17}                                                    # UnionPay: 16 to 19
    | (?:5018|5020|5038|5893|6304|6759|676[1-3])\d{9,15}                    # Maestro: 13 to 19
    | (?:5[06-8]|6[07])\d{14}(?:\d{2,3})?                                   # Maestro, Verve, RuPay, Elo: 16, 18, 19
    | (?:220[0-5]|8600|9860|9792|636\d|1946)\d{12}(?:\d{1,3})?              # Mir, UzCard, Humo, Troy and others: 16 to 19
    """,
    re.VERBOSE | re.ASCII,
)
_DOUBLED: Final = bytes.maketrans(b"0123456789", bytes((0, 2, 4, 6, 8, 1, 3, 5, 7, 9)))
_ZERO: Final = ord("0")
# The weights of a GTIN-13 are 1 and 3 by turns (GS1 General Specifications, 7.9).
_TRIPLED_SUM: Final = 3


def is_luhn_valid(digits: str) -> bool:
    """Whether the last digit is the check digit of the others. The digits are ASCII."""
    from_the_right = digits[::-1].encode()
    plain = from_the_right[0::2]
    return (sum(plain) - _ZERO * len(plain) + sum(from_the_right[1::2].translate(_DOUBLED))) % 10 == 0


def is_issued(digits: str) -> bool:
    """Whether a card network issues numbers with this beginning and length."""
    return _ISSUED.fullmatch(digits) is not None


def is_trade_item(digits: str) -> bool:
    """Whether this is a GTIN-13 (EAN, ISBN): thirteen digits with the check digit of GS1, which is not Luhn's."""
    if len(digits) != MIN_DIGITS:
        return False
    values = [int(digit) for digit in digits]
    return (sum(values[0::2]) + _TRIPLED_SUM * sum(values[1::2])) % 10 == 0
