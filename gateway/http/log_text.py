"""Text of clients as it may stand in a log: on one line, in valid UTF-8, without card numbers."""

from __future__ import annotations

import re
from typing import Final

from checkout.cards.masking import mask

# Longer text is cut off, so that a line stays readable and is written in one piece.
MAX_TEXT: Final = 1000
_MIN_CARD_DIGITS: Final = 13
# Control characters, line and paragraph separators, characters that change the direction of text, lone surrogates.
_UNSAFE: Final = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
# A byte that is not UTF-8 is decoded to one of these (PEP 383).
_FIRST_BYTE, _LAST_BYTE = 0xDC80, 0xDCFF


def log_text(text: str) -> str:
    r"""The text with unsafe characters escaped (`\x1b`, `\u2028`) and card numbers masked, cut off after 1000 characters."""
    if len(text) < _MIN_CARD_DIGITS and text.isascii() and text.isprintable():
        return text
    # Masked before it is cut off: a part of a card number would not be recognised.
    masked = mask(text)
    return escaped(masked) if len(masked) <= MAX_TEXT else escaped(masked[:MAX_TEXT]) + "…"


def escaped(text: str) -> str:
    r"""The text with control characters, line separators and bytes that are no UTF-8 escaped."""
    if text.isascii() and text.isprintable():
        return text
    return _UNSAFE.sub(_escape, text)


def _escape(unsafe: re.Match[str]) -> str:
    code = ord(unsafe.group())
    if _FIRST_BYTE <= code <= _LAST_BYTE:
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x20 and (short := _SHORT.get(code)):
        return short
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


_SHORT: Final = {0x09: "\\t", 0x0A: "\\n", 0x0D: "\\r"}
