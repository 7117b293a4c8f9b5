"""Mask card numbers in text that is logged: in one piece or in groups, percent-encoded, escaped, or of other scripts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from checkout.cards.issuers import is_luhn_valid
from checkout.cards.search import is_card_number_in

MASK: Final = "[card number]"
_MIN_DIGITS, _MAX_DIGITS = 13, 19
# Digits with up to eight separators between them; `is_card_number_in` decides which of these hold a card number.
_STRETCH: Final = re.compile(r"\d(?:[\W_]{0,8}\d){12,}")
_RUN: Final = re.compile(r"\d{13,}")
# An encoded byte (also one that was encoded twice), and the escapes of JSON and of Python's `repr`.
_CODED: Final = re.compile(
    r"%(?:25)*([0-9A-Fa-f]{2})|\\+u([0-9A-Fa-f]{4})|\\+x([0-9A-Fa-f]{2})|\\+U([0-9A-Fa-f]{8})|\\+[tnrbfv]"
)
_OCTET: Final = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
# Addresses and times have many groups of digits and are no card numbers.
_HARMLESS: Final = re.compile(
    rf"(?<![\d.])(?:{_OCTET}\.){{3}}{_OCTET}(?::\d{{1,5}})?(?![\d.])"
    r"|(?<!\d)\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?!\d)"
)
_NOT_DIGITS: Final = re.compile(r"\D+")


def mask(text: str) -> str:
    """The text with `[card number]` in place of every Luhn-valid number of 13 to 19 digits (ISO/IEC 7812-1).

    Separators, percent-encoding and escapes between or in place of its digits are replaced with it. A longer run of
    digits is masked if any part of it is such a number. Text with fewer than 13 digits is returned as it is.
    """
    if len(text) < _MIN_DIGITS or len(_NOT_DIGITS.sub("", text)) < _MIN_DIGITS:
        return text
    is_coded = "%" in text or "\\" in text
    plain, starts = _decoded(text) if is_coded else (text, range(len(text) + 1))
    # Most texts with many digits, such as the names of browsers, have no stretch of 13 of them.
    if _STRETCH.search(plain) is None:
        return text
    spans = [(starts[start], starts[end]) for start, end in _card_spans(plain)]
    for start, end in reversed(spans):
        text = text[:start] + MASK + text[end:]
    return text


def _card_spans(plain: str) -> Iterator[tuple[int, int]]:
    """Where the stretches of digits are that hold a card number."""
    # Letters in the places of addresses and times end a stretch of digits.
    searched = _HARMLESS.sub(lambda harmless: "x" * len(harmless.group()), plain)
    for stretch in _STRETCH.finditer(searched):
        if is_card_number_in(stretch.group(), of_any_issuer=True) or _runs_hold_card(stretch.group()):
            yield stretch.span()


def _runs_hold_card(stretch: str) -> bool:
    return any(
        is_luhn_valid(run[first : first + length])
        for run in _RUN.findall(stretch)
        if len(run) > _MAX_DIGITS
        for length in range(_MIN_DIGITS, _MAX_DIGITS + 1)
        for first in range(min(len(run) - length, 256) + 1)
    )


def _decoded(text: str) -> tuple[str, Sequence[int]]:
    """The text without encodings, and where each of its characters starts in `text`, with the end of it."""
    characters: list[str] = []
    starts: list[int] = []
    at = 0
    while at < len(text):
        decoded, end = _character(text, at)
        characters.append(decoded)
        starts.append(at)
        at = end
    starts.append(len(text))
    return "".join(characters), starts


def _character(text: str, at: int) -> tuple[str, int]:
    """The character that begins here, and where the next one begins."""
    if text[at] not in "%\\+":
        return text[at], at + 1
    if text[at] == "+":  # a blank in a query
        return " ", at + 1
    coded = _CODED.match(text, at)
    if coded is None:
        return text[at], at + 1
    if coded[1] or coded[3]:
        return _utf8(text, coded)
    code = int(coded[2] or coded[4] or "20", 16)  # the short escapes are white space
    return chr(code) if code < 0x110000 else "?", coded.end()


def _utf8(text: str, first: re.Match[str]) -> tuple[str, int]:
    """The character that up to four encoded bytes are."""
    data, end = bytearray(), first.start()
    first_end = first.end()
    for _ in range(4):
        coded = _CODED.match(text, end)
        if coded is None or not (coded[1] or coded[3]):
            break
        data.append(int(coded[1] or coded[3], 16))
        end = coded.end()
        try:
            return data.decode(), end
        except UnicodeDecodeError:
            continue
    return chr(data[0]), first_end
