r"""Detects card numbers, so that a request with one is refused before it is stored, logged or forwarded.

A number is found in one piece or in groups, with any usual separator between digits; in digits of any script; and
percent-encoded or escaped (`%34`, `\u0034`), also twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from checkout.cards.issuers import MAX_DIGITS, MIN_DIGITS, is_issued, is_luhn_valid, is_trade_item
from checkout.cards.quick_check import may_hold_card

# Separators between digits: those of `card_quick_check`, dashes, zero-width and formatting characters, bullets, and wide or
# small variants.
_GAP: Final = (
    r"\s\x00-\x20\x7f-\xa0\-_.,/\\+|*~'"
    "\u00ad\u00b7\u034f\u02d7\u058a\u05be\u061c\u115f\u1160\u1400\u1806\u180b-\u180e"
    "\u2000-\u2015\u2018-\u201b\u2022\u2024-\u202f\u203f-\u2041\u2043\u2044\u204e\u2053\u2054\u205f-\u206f"
    "\u2212\u2215\u2217\u2219\u22c5\u22c6\u2e17\u2e1a\u2e31\u2e3a\u2e3b\u2e40\u2e5d\u2e31\u2e33"
    "\u3000-\u3002\u301c\u3030\u30a0\u30fb\u3164\ufe00-\ufe0f\ufe31-\ufe34\ufe4d-\ufe52\ufe58\ufe61-\ufe63\ufe68"
    "\ufeff\uff07\uff0a-\uff0f\uff3c\uff3f\uff5c\uff5e\uff61\uff64\uff65\uffa0\U000e0000-\U000e007f"
)
# A stretch of digits and separators; the digits of one number are at most `_GAP_MAX` characters apart.
_STRETCH: Final = re.compile(rf"\d[\d{_GAP}]{{12,}}")
_GAP_MAX: Final = 8
_GROUP: Final = re.compile(r"\d+")
_NON_ASCII: Final = re.compile(r"[^\x00-\x7f]")
# Parts of a text with digits that are no card number: UUIDs (RFC 9562), and hashes and trace ids in hexadecimal.
_IDENTIFIER: Final = re.compile(
    r"""(?<![0-9A-Za-z]) (?=[0-9-]*[a-fA-F])
        (?: [0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}
          | (?:[0-9a-fA-F]{8}){4,8} | [0-9a-fA-F]{96} | [0-9a-fA-F]{128} )
        (?![0-9A-Za-z])""",
    re.VERBOSE,
)
_IDENTIFIER_MIN: Final = 32

_ESCAPES: Final = re.compile(r"(?:%[0-9a-fA-F]{2})+|(?:\\u[0-9a-fA-F]{4})+|\\x[0-9a-fA-F]{2}|\\[tnrbf/\"\\]")
_ESCAPED_TWICE: Final = 3
# The strings of a JSON text, and the parts between them.
_JSON_PARTS: Final = re.compile(r'"((?:[^"\\]|\\.)*)|[^"]+', re.DOTALL)
# Between numbers of an array, a comma separates values, not groups of digits.
_BETWEEN_STRINGS: Final = str.maketrans(",", ";")

# In a longer run of digits, such as "4111 1111 1111 1111 12 25", a card number is found by its groups. All but the last
# have at least this many digits (4-4-4-4, 4-6-5, 4-4-4-4-3); those of telephone numbers are shorter.
_GROUP_DIGITS: Final = 4
# A number in shorter groups, such as "4 1 1 1 …", is found among others in texts no longer than the fields of a body.
_SHORT_GROUPS_TEXT: Final = 512
# The longest international telephone number that is told from a card number by its plus sign (E.164 allows one more).
_PHONE_DIGITS: Final = 14
_EAN_GROUPS: Final = ((13,), (1, 6, 6))


class _Run(NamedTuple):
    """Groups of digits that are near to one another, and their positions in the text."""

    groups: Sequence[str]
    starts: Sequence[int]


class _Number(NamedTuple):
    """A number of 13 to 19 digits, made of these groups of a run."""

    digits: str
    run: _Run
    first: int
    last: int

    @property
    def is_whole_run(self) -> bool:
        return self.last - self.first + 1 == len(self.run.groups)


def contains_card_number(body: bytes) -> bool:
    """Whether a JSON body, well formed or not, holds a Luhn-valid number of 13 to 19 digits (ISO/IEC 7812-1).

    For bodies in which no long number is expected: the number may be of any issuer. Strings, names of members and
    numbers are searched, each by itself.
    """
    return may_hold_card(body) and _json_holds_card(body, of_any_issuer=True)


def contains_issued_card_number(body: bytes) -> bool:
    """Whether a JSON body holds a number that a card network issues. SKUs such as EAN-13 and IMEI are none."""
    return may_hold_card(body) and _json_holds_card(body, of_any_issuer=False)


def is_card_number_in(text: str, *, of_any_issuer: bool = False) -> bool:
    """Whether a text that is not JSON, such as a value of a path, query or header field, holds a card number."""
    if len(text) < MIN_DIGITS or not may_hold_card(text.encode("utf-8", "surrogatepass")):
        return False
    return _holds_card(text, of_any_issuer=of_any_issuer)


def _json_holds_card(body: bytes, *, of_any_issuer: bool) -> bool:
    for part in _JSON_PARTS.finditer(body.decode("utf-8", "replace")):
        text = part[1] if part[1] is not None else part[0].translate(_BETWEEN_STRINGS)
        if len(text) >= MIN_DIGITS and _holds_card(text, of_any_issuer=of_any_issuer):
            return True
    return False


def _holds_card(text: str, *, of_any_issuer: bool) -> bool:
    return any(True for _ in _card_numbers(_unescaped(text), of_any_issuer=of_any_issuer))


def _unescaped(text: str) -> str:
    for _ in range(_ESCAPED_TWICE):
        if "\\" not in text and "%" not in text:
            break
        text = _ESCAPES.sub(_characters, text)
    return text


def _characters(escapes: re.Match[str]) -> str:
    """The text that a run of escapes of one kind spells."""
    escaped = escapes[0]
    if escaped.startswith("%"):
        return bytes.fromhex(escaped.replace("%", "")).decode("utf-8", "replace")
    if escaped.startswith("\\u"):
        return bytes.fromhex(escaped.replace("\\u", "")).decode("utf-16-be", "replace")
    if escaped.startswith("\\x"):
        return chr(int(f"0{escaped[1:]}", 0))
    # A quotation mark ends a number, a backslash may begin another escape, the others are white space or a slash.
    return escaped[1] if escaped[1] in '"\\/' else " "


def _card_numbers(text: str, *, of_any_issuer: bool) -> Iterator[_Number]:
    """The card numbers of a text without escapes."""
    if len(text) >= _IDENTIFIER_MIN:
        text = _IDENTIFIER.sub(lambda identifier: "x" * len(identifier[0]), text)
    for stretch in _STRETCH.finditer(text):
        digits = stretch[0] if stretch[0].isascii() else _NON_ASCII.sub(_as_ascii, stretch[0])
        for run in _runs(digits, stretch.start()):
            for number in _numbers(run, in_short_groups=len(text) <= _SHORT_GROUPS_TEXT):
                if _is_card(text, number, of_any_issuer=of_any_issuer):
                    yield number


def _as_ascii(character: re.Match[str]) -> str:
    return str(int(character[0])) if character[0].isdecimal() else " "


def _runs(stretch: str, start: int) -> Iterator[_Run]:
    groups: list[str] = []
    starts: list[int] = []
    end = 0
    for group in _GROUP.finditer(stretch):
        if group.start() - end > _GAP_MAX and groups:
            yield _Run(groups, starts)
            groups, starts = [], []
        groups.append(group[0])
        starts.append(start + group.start())
        end = group.end()
    yield _Run(groups, starts)


def _numbers(run: _Run, *, in_short_groups: bool) -> Iterator[_Number]:
    """The whole run, if it is as long as a card number, and the numbers that are made of some of its groups."""
    digits, count = "".join(run.groups), len(run.groups)
    if MIN_DIGITS <= len(digits) <= MAX_DIGITS:
        yield _Number(digits, run, 0, count - 1)
    start = 0
    for first, group in enumerate(run.groups):
        size = len(group)
        if size >= _GROUP_DIGITS or in_short_groups:
            for last, length in _ends(run.groups, first):
                if last - first + 1 < count:
                    yield _Number(digits[start : start + length], run, first, last)
        start += size


def _ends(groups: Sequence[str], first: int) -> Iterator[tuple[int, int]]:
    """The last groups, and the lengths, of the numbers that begin with group `first`."""
    size, length = len(groups[first]), 0
    for last in range(first, min(len(groups), first + MAX_DIGITS)):
        length += len(groups[last])
        if length > MAX_DIGITS:
            return
        if length >= MIN_DIGITS:
            yield last, length
        # The last group of a number may be shorter; otherwise short groups are of one size.
        if len(groups[last]) < _GROUP_DIGITS and len(groups[last]) != size:
            return


def _is_card(text: str, number: _Number, *, of_any_issuer: bool) -> bool:
    is_usual = number.is_whole_run or len(number.run.groups[number.first]) >= _GROUP_DIGITS
    if not (of_any_issuer and is_usual) and (not is_issued(number.digits) or _begins_with_trade_item(number)):
        return False
    return is_luhn_valid(number.digits) and not _is_phone_number(text, number)


def _is_phone_number(text: str, number: _Number) -> bool:
    """Whether a number is written as an international telephone number: after a plus sign, with no other inside."""
    start, end = number.run.starts[number.first], number.run.starts[number.last]
    is_short = len(number.digits) <= _PHONE_DIGITS
    return is_short and text[start - 1 : start] == "+" and "+" not in text[start:end]


def _begins_with_trade_item(number: _Number) -> bool:
    """Whether the number is an EAN, or one with a suffix, such as that of a variant."""
    if not is_trade_item(number.digits[:MIN_DIGITS]):
        return False
    sizes = tuple(map(len, number.run.groups[number.first : number.last + 1]))
    return any(sizes[: len(groups)] == groups for groups in _EAN_GROUPS)
