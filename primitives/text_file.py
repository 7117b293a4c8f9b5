"""Text of files that people have: UTF-8 with or without a byte-order mark, or UTF-16 with one, as Windows programs write it."""

from __future__ import annotations

import codecs
from typing import Final

_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    # Before UTF-16, whose mark is the beginning of this one.
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
MARK_MAX_BYTES: Final = max(len(mark) for mark, _ in _MARKS)


def encoding_of(head: bytes, default: str = "utf-8") -> tuple[str, int]:
    """The encoding that a byte-order mark at the beginning of a file names, and its length; else `default` and 0."""
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding, len(mark)
    return default, 0


def decode(raw: bytes) -> str:
    """The text of a whole file, without its mark. Raises `UnicodeDecodeError`."""
    encoding, mark_length = encoding_of(raw[:MARK_MAX_BYTES])
    return raw[mark_length:].decode(encoding)
