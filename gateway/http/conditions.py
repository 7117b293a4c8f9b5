"""Conditional requests (RFC 9110, section 13): entity tags of carts and products, and If-Match."""

from __future__ import annotations

import re
from typing import Final, Protocol
from zlib import crc32

from gateway.http.message import Request

NEVER: Final = -1
_VERSION: Final = re.compile(r'"?(\d{1,15})(?:\.[0-9a-f]+)?"?', re.ASCII)


class Versioned(Protocol):
    """Something whose changes are counted."""

    @property
    def version(self) -> int:
        """Rises by one at each change."""
        ...


def versioned_tag(view: Versioned, body: bytes) -> str:
    """`"<version>.<stamp>"`: the stamp follows everything shown, so it changes with prices and names as well."""
    return f'"{view.version}.{crc32(body):08x}"'


def content_tag(_view: object, body: bytes) -> str:
    """The tag of something that has no version of its own."""
    return f'"{crc32(body):08x}"'


def matches_none(known: str, tag: str) -> bool:
    """Whether an If-None-Match names the tag; weakly compared, as that header asks, so `W/` makes no difference."""
    return known.strip() == "*" or tag in known


def if_match(request: Request) -> int | None:
    """The version that If-Match wants the cart to have; None where any will do, `NEVER` for a tag that is not ours."""
    wanted = request.headers.get("If-Match")
    if wanted is None or wanted == "*":
        return None
    found = _VERSION.fullmatch(wanted.strip())
    return int(found[1]) if found else NEVER
