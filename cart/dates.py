"""Calendar dates, as texts of ISO 8601: 2026-12-20."""

from __future__ import annotations

from datetime import date
from typing import Final

_LENGTH: Final = len("2026-12-20")


def read_date(text: str) -> str:
    """The date. Raises `ValueError` for a text in another form, or of a day that no month has."""
    if len(text) != _LENGTH:
        raise ValueError(text)
    return date.fromisoformat(text).isoformat()
