"""Detects card numbers, so that a body with one is refused before it is stored, logged or forwarded."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

# Separators between groups of digits: white space, hyphens, dashes, zero-width characters.
_GAP: Final = "[\\s\\-\u00ad\u200b-\u200d\u2010-\u2015\u2060\u2212\ufeff]{0,3}"
# At least 13 digits, grouped or not. Every quantifier is bounded or unambiguous, so that matching takes linear time.
_RUN: Final = re.compile(rf"\d(?:{_GAP}\d){{12,}}")
_GROUP: Final = re.compile(r"\d+")
_ESCAPE: Final = re.compile(r"\\(?:u([0-9a-fA-F]{4})|[tnrbf])")

_MIN_DIGITS, _MAX_DIGITS = 13, 19
# In a longer run of digits, such as "4111 1111 1111 1111 12 25", a card number is found by its groups. All but the last
# have at least this many digits (4-4-4-4, 4-6-5, 4-4-4-4-3); those of telephone numbers are shorter.
_GROUP_DIGITS: Final = 4
_DOUBLED: Final = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


def contains_card_number(body: bytes) -> bool:
    r"""Whether a JSON body, well formed or not, holds a Luhn-valid number of 13 to 19 digits (ISO/IEC 7812-1).

    Strings and numbers are searched, for digits in one piece or in groups, escaped (`\u0034`) or of other scripts.
    """
    text = body.decode("utf-8", "replace")
    if "\\" in text:
        text = _ESCAPE.sub(_unescaped, text)
    return any(_holds_card(_GROUP.findall(run.group())) for run in _RUN.finditer(text))


def is_luhn_valid(digits: str) -> bool:
    """Whether the last digit is the check digit of the others."""
    from_the_right = [int(digit) for digit in reversed(digits)]
    return (sum(from_the_right[0::2]) + sum(_DOUBLED[digit] for digit in from_the_right[1::2])) % 10 == 0


def _holds_card(groups: Sequence[str]) -> bool:
    whole = "".join(groups) if len(groups) <= _MAX_DIGITS else ""
    if _MIN_DIGITS <= len(whole) <= _MAX_DIGITS and is_luhn_valid(whole):
        return True
    return any(is_luhn_valid(number) for first in range(len(groups)) for number in _numbers_from(groups, first))


def _numbers_from(groups: Sequence[str], first: int) -> Iterator[str]:
    """The numbers of 13 to 19 digits that begin with group `first` and end with a group."""
    number = ""
    for group in groups[first : first + _MAX_DIGITS]:
        number += group
        if len(number) > _MAX_DIGITS:
            return
        if len(number) >= _MIN_DIGITS:
            yield number
        if len(group) < _GROUP_DIGITS:
            return


def _unescaped(escape: re.Match[str]) -> str:
    return chr(int(escape[1], 16)) if escape[1] else " "
