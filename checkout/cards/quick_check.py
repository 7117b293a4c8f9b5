"""The quick check for card numbers, which nearly every request passes: it is on the hot path, and compiled."""

from __future__ import annotations

from typing import Final

from checkout.cards.issuers import MIN_DIGITS

# White space, control characters, dots, slashes, commas and the like; not the backslash, which may begin an escape.
_SEPARATORS: Final[bytes] = bytes(range(0x21)) + b"\x7f-_.,/+|*~'"
_ESCAPE: Final[int] = ord("e")
# A digit, or a byte of a character beyond ASCII, becomes 0, the beginning of an escape e, and any other byte x.
_FOLDED: Final[bytes] = bytes(
    ord("0") if 48 <= byte <= 57 or byte >= 128 else _ESCAPE if byte in b"\\%" else ord("x") for byte in range(256)
)
_ENOUGH_DIGITS: Final[bytes] = b"0" * MIN_DIGITS


def may_hold_card(raw: bytes) -> bool:
    """False for nearly all texts, after one pass over their bytes, and never for one with a card number.

    Separators are deleted, so that grouped digits are in a row. Escapes hide digits: with one, the search decides.
    """
    if len(raw) < MIN_DIGITS:
        return False
    folded = raw.translate(_FOLDED, _SEPARATORS)
    # `find`, because `in` first tries to read the bytes as a number, which costs twice as much.
    return folded.find(_ENOUGH_DIGITS) >= 0 or _ESCAPE in folded
