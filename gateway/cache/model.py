"""Values of the response cache's decisions: freshness, validators, request directives."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Final

from msgspec import Struct

# All values of a message's fields in their order, by the name in lower case.
Fields = Mapping[str, Sequence[str]]
# The values of the request fields that `Vary` names, in the order of their sorted names; None for an absent field.
Selection = tuple[str | None, ...]


class RequestDirectives(Struct, frozen=True):
    """`Cache-Control` of a request (RFC 9111, 5.2.1)."""

    no_store: bool = False
    no_cache: bool = False
    only_if_cached: bool = False
    max_age_s: float = math.inf
    max_stale_s: float = 0.0
    min_fresh_s: float = 0.0


NO_DIRECTIVES: Final = RequestDirectives()


class Freshness(Struct, frozen=True):
    """How long a stored response may be served. `age_s` is its age on arrival; the other times count from age 0."""

    age_s: float
    lifetime_s: float
    stale_while_revalidate_s: float = 0.0
    stale_if_error_s: float = 0.0
    # Validated with the origin before every use (`no-cache`).
    always_validate: bool = False
    # Never served stale: `must-revalidate`, `proxy-revalidate`, `s-maxage` (RFC 9111, 4.2.4).
    never_stale: bool = False


class Exchange(Struct, frozen=True, kw_only=True):
    """The exchange with the origin: how long it took, when the response was received (wall clock), and the request."""

    delay_s: float
    received_at: float
    # The request had `Authorization` or `X-Api-Key`; the request had cookies.
    has_credentials: bool = False
    has_cookies: bool = False


class StaleDefaults(Struct, frozen=True):
    """How long a response may be served stale if its own directives do not say, in seconds."""

    stale_while_revalidate_s: float = 0.0
    stale_if_error_s: float = 0.0


class Validators(Struct, frozen=True):
    """The entity tag, quotes included, and the date of change of a response, both as sent."""

    etag: str | None = None
    last_modified: str | None = None


class Reuse(Enum):
    """How a stored response may be used for one request."""

    FRESH = "fresh"
    # Stale, but the request allows it (`max-stale`).
    STALE = "stale"
    # Stale, but the response allows it while it is refreshed.
    STALE_WHILE_REVALIDATE = "stale while revalidate"
    # To be fetched: it is stale; or the request excludes it.
    EXPIRED = "expired"
    EXCLUDED = "excluded"
