"""Whether a shared cache may store a response (RFC 9111, 3). Pure.

Section numbers are of RFC 9111. Where the RFC leaves a choice, the stricter one is taken:
- A response with `Set-Cookie` is never stored (7.3 would allow it): all clients would get the session of one.
- An error that does not describe the resource (400, 403, 429, 500, …) is stored only while its own directives make it
  fresh, and never served stale by default: it may be the answer to one bad request.
- A heuristic lifetime (4.2.2) applies to responses to requests without cookies only, and is an hour at most.
- `private` and `no-cache` with field names count as without (5.2.2.4 and 5.2.2.7 allow it).
- `X-Api-Key` counts as `Authorization` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway.cache.cache_control import seconds_of
from gateway.cache.freshness import initial_age_s, lifetime_s
from gateway.cache.model import Exchange, Fields, Freshness, StaleDefaults
from gateway.cache.targeted import response_directives
from gateway.cache.variants import vary_names

# The statuses whose rules for caches are implemented here, as `must-understand` requires.
UNDERSTOOD: Final = frozenset({200, 203, 204, 300, 301, 302, 303, 307, 308, 404, 405, 410, 414, 451, 501})
_CLIENT_ERRORS: Final = frozenset({404, 405, 410, 414, 451})
_NEVER_STALE: Final = frozenset({"must-revalidate", "proxy-revalidate"})
_ALLOWS_STALE: Final = frozenset({"stale-while-revalidate", "stale-if-error"})
# 3.5: these allow a response to a request with credentials to be stored.
_ALLOWS_CREDENTIALS: Final = frozenset({"public", "must-revalidate", "s-maxage"})


def storable(status: int, fields: Fields, exchange: Exchange, defaults: StaleDefaults) -> Freshness | None:
    """The freshness with which the response to a GET is stored; None if it may not be, or could never be served."""
    found, is_targeted = response_directives(fields)
    if not _may_be_stored(status, fields, found, exchange):
        return None
    lifetime = lifetime_s(status, fields, found, exchange, is_targeted=is_targeted)
    if lifetime is None or not _is_of_use(fields, found, lifetime):
        return None
    is_of_resource = describes_resource(status)
    if not is_of_resource and lifetime <= 0:
        return None
    always_validate = "no-cache" in found
    # Beside `s-maxage` these are more specific, and large CDNs honour them.
    allows_stale = not found.keys().isdisjoint(_ALLOWS_STALE)
    never_stale = not found.keys().isdisjoint(_NEVER_STALE) or ("s-maxage" in found and not allows_stale)
    own = defaults if is_of_resource and "s-maxage" not in found else StaleDefaults()
    return Freshness(
        age_s=initial_age_s(fields, exchange),
        lifetime_s=lifetime,
        stale_while_revalidate_s=seconds_of(found, "stale-while-revalidate", absent=own.stale_while_revalidate_s),
        stale_if_error_s=seconds_of(found, "stale-if-error", absent=own.stale_if_error_s),
        always_validate=always_validate,
        never_stale=never_stale or always_validate,
    )


def describes_resource(status: int) -> bool:
    """Whether a response describes the resource, and not an error of one request or of the server."""
    return 200 <= status < 400 or status in _CLIENT_ERRORS


def _may_be_stored(status: int, fields: Fields, found: Mapping[str, str | None], exchange: Exchange) -> bool:
    if status < 200 or status in {206, 304}:
        return False
    if "must-understand" in found:
        # 5.2.2.3: `no-store` is then for caches that do not understand the status.
        if status not in UNDERSTOOD:
            return False
    elif "no-store" in found:
        return False
    if "private" in found or "set-cookie" in fields or "*" in vary_names(fields):
        return False
    return not exchange.has_credentials or not found.keys().isdisjoint(_ALLOWS_CREDENTIALS)


def _is_of_use(fields: Fields, found: Mapping[str, str | None], lifetime: float) -> bool:
    """Whether it can ever be served: fresh, after validation, or stale because its directives allow it."""
    if "etag" in fields or "last-modified" in fields:
        return True
    return "no-cache" not in found and (lifetime > 0 or not found.keys().isdisjoint(_ALLOWS_STALE))
