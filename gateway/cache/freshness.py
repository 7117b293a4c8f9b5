"""Freshness lifetime, age and reuse of a stored response (RFC 9111, 4.2), fresh or stale (RFC 5861). Pure.

Section numbers are of RFC 9111 unless another is named.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from gateway.cache.cache_control import seconds, seconds_of, single
from gateway.cache.model import Exchange, Fields, Freshness, RequestDirectives, Reuse
from gateway.http.http_date import http_date

# RFC 9110, 15.1, without 206, which is not stored.
HEURISTIC: Final = frozenset({200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501})
HEURISTIC_SHARE: Final = 0.1
MAX_HEURISTIC_S: Final = 3600.0


def lifetime_s(
    status: int,
    fields: Fields,
    directives: Mapping[str, str | None],
    exchange: Exchange,
    *,
    is_targeted: bool = False,
) -> float | None:
    """Freshness lifetime (4.2.1), 0 if it is malformed; None if nothing allows the response to be stored.

    Beside directives of a targeted field `Expires` does not count (RFC 9213, 2.1).
    """
    for name in ("s-maxage", "max-age"):
        if name in directives:
            return seconds_of(directives, name, absent=0.0)
    if "expires" in fields and not is_targeted:
        return _until_expiry_s(fields, exchange)
    modified = http_date(single(fields, "last-modified"))
    is_heuristic = (status in HEURISTIC or "public" in directives) and not exchange.has_cookies
    if modified is not None and is_heuristic:
        return min(max(0.0, (_date(fields, exchange) - modified) * HEURISTIC_SHARE), MAX_HEURISTIC_S)
    return 0.0 if "public" in directives or "no-cache" in directives else None


def initial_age_s(fields: Fields, exchange: Exchange) -> float:
    """`corrected_initial_age` (4.2.3)."""
    # Dates are of whole seconds.
    apparent_s = max(0.0, math.floor(exchange.received_at) - _date(fields, exchange))
    # 5.1: the first of several counts; an invalid one is ignored.
    age = fields.get("age")
    age_value = (seconds(",".join(age).partition(",")[0].strip()) or 0) if age is not None else 0
    return max(apparent_s, age_value + exchange.delay_s)


def reuse(freshness: Freshness, age_s: float, directives: RequestDirectives) -> Reuse:
    """How a stored response of this current age may be used (4, 4.2.4, 5.2.1; RFC 5861, 3)."""
    if freshness.always_validate:
        return Reuse.EXPIRED
    if directives.no_cache or age_s > directives.max_age_s:
        return Reuse.EXCLUDED
    remaining_s = freshness.lifetime_s - age_s
    if remaining_s > 0:
        return Reuse.FRESH if remaining_s >= directives.min_fresh_s else Reuse.EXCLUDED
    if freshness.never_stale:
        return Reuse.EXPIRED
    if -remaining_s < freshness.stale_while_revalidate_s and directives.min_fresh_s == 0:
        return Reuse.STALE_WHILE_REVALIDATE
    if -remaining_s <= directives.max_stale_s and directives.max_stale_s > 0:
        return Reuse.STALE
    return Reuse.EXPIRED


def stale_if_error(freshness: Freshness, age_s: float) -> bool:
    """Whether it may be served in place of an error (RFC 5861, 4), fresh or stale."""
    if freshness.always_validate or freshness.never_stale:
        return False
    return age_s < freshness.lifetime_s + freshness.stale_if_error_s


def _until_expiry_s(fields: Fields, exchange: Exchange) -> float:
    # 5.3: an invalid date, `0` above all, is in the past; so are dates that differ.
    expires = http_date(single(fields, "expires"))
    return 0.0 if expires is None else max(0.0, expires - _date(fields, exchange))


def _date(fields: Fields, exchange: Exchange) -> float:
    date = http_date(single(fields, "date"))
    return exchange.received_at if date is None else date
