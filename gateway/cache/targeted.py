"""The directives of a response for this cache: of the most specific field that addresses it (RFC 9213).

`Peakgate-Cache-Control` is for Peakgate alone, `CDN-Cache-Control` for all shared caches near the origin,
`Surrogate-Control` its predecessor (W3C Edge Architecture, 2001), and `Cache-Control` for all caches. Where one of the
first three counts, the others and `Expires` do not.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from gateway.cache.cache_control import directives
from gateway.cache.model import Fields
from gateway.cache.structured_field import TRUE, dictionary

OWN_FIELD: Final = "peakgate-cache-control"
# Most specific first.
_TARGETED: Final = (OWN_FIELD, "cdn-cache-control")
_SURROGATE: Final = "surrogate-control"
# The name in `Surrogate-Capability`, by which an origin addresses this cache.
SURROGATE_NAME: Final = "peakgate"
_OF_CACHES: Final = frozenset({"max-age", "no-store", "no-cache", "private"})

Directives = Mapping[str, str | None]


def response_directives(fields: Fields) -> tuple[Directives, bool]:
    """The directives that count, and whether they are of a targeted field."""
    for name in _TARGETED:
        if name in fields and (found := _targeted(", ".join(fields[name]))):
            return found, True
    if _SURROGATE in fields and (found := _surrogate(",".join(fields[_SURROGATE]))):
        return found, True
    return directives(fields.get("cache-control", ())), False


@lru_cache(maxsize=256)
def _targeted(field: str) -> Directives | None:
    """The directives of a targeted field; None if it is empty or malformed, and so ignored (RFC 9213, 2.1)."""
    members = dictionary(field)
    if not members:
        return None
    # Only integers count as seconds: the quotes of a string are kept, so it is not a number.
    return MappingProxyType(
        {name: None if value == TRUE else value for name, value in members.items() if value != "?0"}
    )


@lru_cache(maxsize=256)
def _surrogate(field: str) -> Directives | None:
    """The directives of `Surrogate-Control`, without those for other surrogates; None if none is for caches."""
    found: dict[str, str | None] = {}
    for element in field.split(","):
        directive, *targets = [part.strip(" \t") for part in element.split(";")]
        if targets and SURROGATE_NAME not in targets:
            continue
        name, sign, value = directive.partition("=")
        # `max-age=<lifetime>+<time to serve it stale>`
        value, plus, stale = value.partition("+")
        found[name.lower()] = value if sign else None
        if plus:
            found["stale-while-revalidate"] = stale
    return MappingProxyType(found) if not _OF_CACHES.isdisjoint(found) else None
