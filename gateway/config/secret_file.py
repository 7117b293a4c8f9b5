"""The file of a shared secret: its bytes, without what editors add to them."""

from __future__ import annotations

import codecs
from pathlib import Path


def read_secret_file(path: str) -> bytes:
    """The secret: the bytes of the file without a byte-order mark of UTF-8 and without the ends of lines behind them.

    Raises `OSError`, and `UnicodeError` for text in UTF-16, whose bytes nobody means as a secret.
    """
    raw = Path(path).read_bytes()
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and _is_utf16_text(raw):
        raise UnicodeError("the file must be UTF-8 text or bytes, not UTF-16")
    return raw.removeprefix(codecs.BOM_UTF8).rstrip(b"\r\n")


def _is_utf16_text(raw: bytes) -> bool:
    # Bytes by chance begin with a mark of UTF-16 as well, but are not all ASCII behind it.
    try:
        return raw.decode("utf-16").isascii()
    except UnicodeDecodeError:
        return False
