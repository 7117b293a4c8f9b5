"""The quick check for card numbers, which nearly every request passes: it is on the hot path, and compiled."""

from __future__ import annotations

from typing import Final

from checkout.card_issuers import MIN_DIGITS

# White space, control characters, dots, slashes, commas and the like.
_SEPARATORS: Final[bytes] = bytes(range(0x21)) + b"\x7f-_.,/\\+|*~'"
# A digit, or a byte of a character beyond ASCII, becomes 0, and any other byte x.
_FOLDED: Final[bytes] = bytes(ord("0") if 48 <= byte <= 57 or byte >= 128 else ord("x") for byte in range(256))
_ENOUGH_DIGITS: Final[bytes] = b"0" * MIN_DIGITS


def may_hold_card(raw: bytes) -> bool:
    """False for nearly all texts, after one pass over their bytes, and never for one with a card number.

    Separators are deleted, so that grouped digits are in a row. Escapes hide digits: with one, the search decides.
    """
    if len(raw) < MIN_DIGITS:
        return False
    return _ENOUGH_DIGITS in raw.translate(_FOLDED, _SEPARATORS) or b"\\" in raw or b"%" in raw
