"""The categories of products, as files and requests write them."""

from __future__ import annotations

import unicodedata

CATEGORY_MAX_BYTES = 200


def parse_category(text: str) -> str | None:
    """The category in its one spelling: composed (NFC) and without blanks around it; empty for none.

    None for a text that cannot be one: it is longer than 200 bytes, or has characters that cannot be printed.
    """
    category = unicodedata.normalize("NFC", text).strip()
    if not category.isprintable() or len(category.encode()) > CATEGORY_MAX_BYTES:
        return None
    return category
