"""Whole numbers as decimal digits in bytes; small ones are rendered beforehand, as a look-up costs a third of formatting."""

from __future__ import annotations

from typing import Final

_RENDERED: Final = [b"%d" % number for number in range(4096)]


def digits(number: int) -> bytes:
    """The number as `b"%d"` formats it."""
    return _RENDERED[number] if 0 <= number < 4096 else b"%d" % number
