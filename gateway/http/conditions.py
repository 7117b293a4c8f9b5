"""Conditional requests (RFC 9110, section 13): entity tags of carts and products, and If-Match."""

from __future__ import annotations

import re
from typing import Final, Protocol
from zlib import crc32

from gateway.http.message import Request

NEVER: Final = -1
_VERSION: Final = re.compile(r'"?(\d{1,15})(?:\.[0-9a-f]+)?"?', re.ASCII)


class Versioned(Protocol):
    """A resource with a version."""

    @property
    def version(self) -> int:
        """Rises by one at each change."""
        ...


def versioned_tag(view: Versioned, body: bytes) -> str:
    """`"<version>.<stamp>"`: the stamp is a checksum of the body, so it changes with prices and names as well."""
    return f'"{view.version}.{_stamp(body)}"'


def content_tag(_view: object, body: bytes) -> str:
    """The entity tag of a resource without a version: a checksum of the body."""
    return f'"{_stamp(body)}"'


def _stamp(body: bytes) -> str:
    # A third of the cost of formatting the number.
    return crc32(body).to_bytes(4, "big").hex()


def matches_none(known: str, tag: str) -> bool:
    """Whether an If-None-Match contains the tag. The comparison is weak (RFC 9110, 13.1.2), so `W/` makes no difference."""
    return known.strip() == "*" or tag in known


def if_match(request: Request) -> int | None:
    """The version in If-Match; None if any version matches, `NEVER` for a tag that no cart can have."""
    wanted = request.headers.get("If-Match")
    if wanted is None or wanted == "*":
        return None
    found = _VERSION.fullmatch(wanted.strip())
    return int(found[1]) if found else NEVER
