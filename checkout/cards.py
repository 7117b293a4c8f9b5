"""Finding card numbers, so that a body that holds one is refused before anything keeps, logs or forwards it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

# What people and programs put between groups of digits: blanks, hyphens, dashes, and characters without a width.
_GAP: Final = "[\\s\\-\u00ad\u200b-\u200d\u2010-\u2015\u2060\u2212\ufeff]{0,3}"
# At least 13 digits, in groups or not; every quantifier is bounded or unambiguous, so a hostile body costs linear time.
_RUN: Final = re.compile(rf"\d(?:{_GAP}\d){{12,}}")
_GROUP: Final = re.compile(r"\d+")
_ESCAPE: Final = re.compile(r"\\(?:u([0-9a-fA-F]{4})|[tnrbf])")

_SHORTEST, _LONGEST = 13, 19
# Within a longer text of digits, as "4111 1111 1111 1111 12 25", a card number is told by its groups; all but its last
# have this many digits at least (4-4-4-4, 4-6-5, 4-4-4-4-3), which telephone numbers have not.
_GROUP_DIGITS: Final = 4
_DOUBLED: Final = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


def contains_card_number(body: bytes) -> bool:
    r"""Whether a JSON body, well formed or not, holds a Luhn-valid number of 13 to 19 digits (ISO/IEC 7812-1).

    It is found in strings and in numbers, in one piece or in groups, escaped (`\u0034`) or in other scripts' digits.
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
    whole = "".join(groups) if len(groups) <= _LONGEST else ""
    if _SHORTEST <= len(whole) <= _LONGEST and is_luhn_valid(whole):
        return True
    return any(is_luhn_valid(number) for first in range(len(groups)) for number in _numbers_from(groups, first))


def _numbers_from(groups: Sequence[str], first: int) -> Iterator[str]:
    """The numbers as long as a card's that begin with group `first` and end with a group."""
    number = ""
    for group in groups[first : first + _LONGEST]:
        number += group
        if len(number) > _LONGEST:
            return
        if len(number) >= _SHORTEST:
            yield number
        if len(group) < _GROUP_DIGITS:
            return


def _unescaped(escape: re.Match[str]) -> str:
    return chr(int(escape[1], 16)) if escape[1] else " "
