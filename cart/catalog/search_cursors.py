"""The cursors of a search: a position, and a checksum that ties it to its query."""

from __future__ import annotations

import base64
import hashlib
from typing import Final

import msgspec

from cart.catalog.model import ProductFilter
from cart.catalog.ports import ForeignCursor

ANY_POSITION: Final = (1 << 64) - 1
_POSITION_BYTES: Final = 8
_CHECK_BYTES: Final = 7


def query_bytes(q: str | None, only: ProductFilter | None) -> bytes:
    """The query as its cursors are tied to it."""
    words = b"" if q is None else q.encode()
    return words if only is None else b"%b\0%b" % (words, msgspec.json.encode((q is None, only)))


def cursor_of(position: int, query: bytes) -> str:
    """The cursor for the products behind that position."""
    packed = position.to_bytes(_POSITION_BYTES, "big")
    return base64.urlsafe_b64encode(packed + _check(packed, query)).decode()


def position_of(cursor: str, query: bytes, last: int = ANY_POSITION) -> int:
    """The position that the cursor stands for, up to `last`. Raises `ForeignCursor`."""
    try:
        raw = base64.b64decode(cursor, altchars=b"-_", validate=True)
    except ValueError:
        raise ForeignCursor(cursor) from None
    packed, check = raw[:_POSITION_BYTES], raw[_POSITION_BYTES:]
    position = int.from_bytes(packed, "big")
    # Clients can make cursors; a row id that is none would not even be a number to SQLite.
    if check != _check(packed, query) or position > last:
        raise ForeignCursor(cursor)
    return position


def _check(packed: bytes, query: bytes) -> bytes:
    """It is not secret: a forged cursor only reads the catalogue from another position."""
    return hashlib.blake2b(packed + query, digest_size=_CHECK_BYTES, person=b"products").digest()
