"""What a shared cache may keep and for how long (RFC 9111), and when it may serve what is stale (RFC 5861). Pure.

Section numbers are of RFC 9111 unless another is named. Where the RFC leaves a choice, the stricter one is taken:
- An answer with `Set-Cookie` is never kept (7.3 would allow it): it would hand one shopper's session to all.
- No 5xx is kept: it would stand where a stale good answer could still serve.
- Of 4xx only what tells of the resource is kept: other ones tell of a request, and who sends a bad one could have its
  refusal kept for all.
- A guessed lifetime (4.2.2) is for answers to requests without cookies only, and an hour at most.
- `private` and `no-cache` with field names count as without (5.2.2.4 and 5.2.2.7 allow it).
- `X-Api-Key` counts as `Authorization` does.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Final

from msgspec import Struct

from gateway.cache.cache_control import directives, http_date, seconds

# All values of a message's fields by their names in lower case, in their order.
Fields = Mapping[str, Sequence[str]]

# RFC 9110, 15.1, less 206 and 501, which are not kept at all.
HEURISTIC: Final = frozenset({200, 203, 204, 300, 301, 308, 404, 405, 410, 414})
# Those whose rules for caches are followed here, as `must-understand` asks.
UNDERSTOOD: Final = HEURISTIC | {302, 303, 307, 451}
_CLIENT_ERRORS: Final = frozenset({404, 405, 410, 414, 451})
HEURISTIC_SHARE: Final = 0.1
HEURISTIC_MOST_S: Final = 3600.0
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
# RFC 5861, 4: what counts as an error that something stale may stand in for.
ERRORS: Final = frozenset({500, 502, 503, 504})
# What a 304 does not change of what is stored: it belongs to the body (3.2).
NOT_UPDATED: Final = frozenset({"content-encoding", "content-length", "content-range", "content-type"})


class Asked(Struct, frozen=True):
    """What a request asks of caches (5.2.1)."""

    no_store: bool = False
    no_cache: bool = False
    only_if_cached: bool = False
    max_age_s: float = math.inf
    max_stale_s: float = 0.0
    min_fresh_s: float = 0.0


NOTHING_ASKED: Final = Asked()


def asked(cache_control: Sequence[str], pragma: str | None = None) -> Asked:
    """Read a request's directives. Malformed numbers are taken as strictly as they can be meant."""
    if not cache_control:
        # 5.4: Pragma counts where there is no Cache-Control.
        return Asked(no_cache=True) if pragma is not None and "no-cache" in pragma.lower() else NOTHING_ASKED
    told = directives(cache_control)
    # Without an argument any staleness will do (5.2.1.2).
    takes_any_stale = told.get("max-stale", "") is None
    return Asked(
        no_store="no-store" in told,
        no_cache="no-cache" in told,
        only_if_cached="only-if-cached" in told,
        max_age_s=_number(told, "max-age", absent=math.inf, malformed=0.0),
        max_stale_s=math.inf if takes_any_stale else _number(told, "max-stale", absent=0.0, malformed=0.0),
        min_fresh_s=_number(told, "min-fresh", absent=0.0, malformed=math.inf),
    )


class Terms(Struct, frozen=True):
    """On which terms an answer was kept. Seconds; `age_s` is what it had when it came, the others count from age 0."""

    age_s: float
    lifetime_s: float
    stale_while_revalidate_s: float = 0.0
    stale_if_error_s: float = 0.0
    # Asked of the origin before every use (`no-cache`).
    validated_always: bool = False
    # Not used stale by any means: `must-revalidate`, `proxy-revalidate`, `s-maxage` (4.2.4).
    never_stale: bool = False


class Arrival(Struct, frozen=True, kw_only=True):
    """How an answer came: how long it took, when it was there (wall clock), and to what request."""

    delay_s: float
    at: float
    # The request had Authorization or the like; the request had cookies.
    has_credentials: bool = False
    has_cookies: bool = False


class Defaults(Struct, frozen=True):
    """What applies where an answer does not say itself, in seconds."""

    stale_while_revalidate_s: float = 0.0
    stale_if_error_s: float = 0.0


def terms(status: int, fields: Fields, arrival: Arrival, defaults: Defaults) -> Terms | None:
    """On which terms a shared cache may keep the answer to a GET; None where it may not, or has no use for it (3)."""
    told = directives(fields.get("cache-control", ()))
    if not _may_be_kept(status, fields, told, arrival):
        return None
    lifetime_s = _lifetime(status, fields, told, arrival)
    validated_always = "no-cache" in told
    if lifetime_s is None or not _is_of_use(fields, told, lifetime_s):
        return None
    # Said beside `s-maxage`, these are the more specific word of the same origin, and large CDNs take them so.
    allows_stale = not told.keys().isdisjoint(_ALLOWS_STALE)
    never_stale = not told.keys().isdisjoint(_NEVER_STALE) or ("s-maxage" in told and not allows_stale)
    own = defaults if "s-maxage" not in told else Defaults()
    return Terms(
        age_s=_initial_age(fields, arrival),
        lifetime_s=lifetime_s,
        stale_while_revalidate_s=_number(told, "stale-while-revalidate", absent=own.stale_while_revalidate_s),
        stale_if_error_s=_number(told, "stale-if-error", absent=own.stale_if_error_s),
        validated_always=validated_always,
        never_stale=never_stale or validated_always,
    )


def _is_of_use(fields: Fields, told: Mapping[str, str | None], lifetime_s: float) -> bool:
    """Whether it can ever be served: as it is, after a 304, or stale because it says so."""
    if "etag" in fields or "last-modified" in fields:
        return True
    return "no-cache" not in told and (lifetime_s > 0 or not told.keys().isdisjoint(_ALLOWS_STALE))


def tells_of_resource(status: int) -> bool:
    """Whether an answer says how the resource is, not what was wrong with one request or with the server."""
    return 200 <= status < 400 or status in _CLIENT_ERRORS


_NEVER_STALE: Final = frozenset({"must-revalidate", "proxy-revalidate"})
_ALLOWS_STALE: Final = frozenset({"stale-while-revalidate", "stale-if-error"})


def _may_be_kept(status: int, fields: Fields, told: Mapping[str, str | None], arrival: Arrival) -> bool:
    if not tells_of_resource(status) or status in {206, 304}:
        return False
    if "must-understand" in told:
        # 5.2.2.3: then `no-store` is for caches that do not understand the status.
        if status not in UNDERSTOOD:
            return False
    elif "no-store" in told:
        return False
    if "private" in told or "set-cookie" in fields or "*" in varies_by(fields):
        return False
    # 3.5
    return not arrival.has_credentials or not told.keys().isdisjoint({"public", "must-revalidate", "s-maxage"})


def _lifetime(status: int, fields: Fields, told: Mapping[str, str | None], arrival: Arrival) -> float | None:
    """Freshness lifetime (4.2.1), 0 for what is malformed; None where nothing says that the answer may be kept."""
    for name in ("s-maxage", "max-age"):
        if name in told:
            return _number(told, name, absent=0.0)
    if "expires" in fields:
        return _until_expiry(fields, arrival)
    modified = http_date(_single(fields, "last-modified"))
    may_be_guessed = (status in HEURISTIC or "public" in told) and not arrival.has_cookies
    if modified is not None and may_be_guessed:
        return min(max(0.0, (_date(fields, arrival) - modified) * HEURISTIC_SHARE), HEURISTIC_MOST_S)
    return 0.0 if "public" in told or "no-cache" in told else None


def _until_expiry(fields: Fields, arrival: Arrival) -> float:
    # 5.3: what is no date, `0` above all, has expired; so has what is said in two ways.
    expires = http_date(_single(fields, "expires"))
    return 0.0 if expires is None else max(0.0, expires - _date(fields, arrival))


def _initial_age(fields: Fields, arrival: Arrival) -> float:
    """`corrected_initial_age` (4.2.3)."""
    apparent_s = max(0.0, arrival.at - _date(fields, arrival))
    # 5.1: of several the first counts, and what is no number is not looked at.
    age = fields.get("age")
    told = (seconds(",".join(age).partition(",")[0].strip()) or 0) if age is not None else 0
    return max(apparent_s, told + arrival.delay_s)


def _date(fields: Fields, arrival: Arrival) -> float:
    date = http_date(_single(fields, "date"))
    return arrival.at if date is None else date


def _single(fields: Fields, name: str) -> str | None:
    """The one value of a field; None when it is not there or has several that differ."""
    values = fields.get(name)
    return values[0] if values is not None and len(set(values)) == 1 else None


def _number(told: Mapping[str, str | None], name: str, *, absent: float, malformed: float = 0.0) -> float:
    """The seconds of a directive."""
    if name not in told:
        return absent
    number = seconds(told[name])
    return malformed if number is None else float(number)


class Use(Enum):
    """What may be done with something kept, for one request."""

    FRESH = "fresh"
    # Stale, but the request (`max-stale`) or the answer (`stale-while-revalidate`) allows it.
    STALE = "stale"
    REFRESHED_BEHIND = "refreshed behind"
    # To be asked for again: it is stale; or the request would not have it as it is.
    EXPIRED = "expired"
    UNWANTED = "unwanted"


def use(kept: Terms, age_s: float, wanted: Asked) -> Use:
    """What may be done with an answer of that current age (4, 4.2.4, 5.2.1; RFC 5861, 3)."""
    if kept.validated_always:
        return Use.EXPIRED
    if wanted.no_cache or age_s > wanted.max_age_s:
        return Use.UNWANTED
    remaining_s = kept.lifetime_s - age_s
    if remaining_s > 0:
        return Use.FRESH if remaining_s >= wanted.min_fresh_s else Use.UNWANTED
    if kept.never_stale:
        return Use.EXPIRED
    if -remaining_s < kept.stale_while_revalidate_s and wanted.min_fresh_s == 0:
        return Use.REFRESHED_BEHIND
    if -remaining_s <= wanted.max_stale_s and wanted.max_stale_s > 0:
        return Use.STALE
    return Use.EXPIRED


def may_stand_in(kept: Terms, age_s: float) -> bool:
    """Whether it may be served in place of an error (RFC 5861, 4), fresh or stale."""
    return not (kept.validated_always or kept.never_stale) and age_s < kept.lifetime_s + kept.stale_if_error_s


# Variants


def varies_by(fields: Fields) -> tuple[str, ...]:
    """The request fields that `Vary` names (4.1): lower case, sorted, each once. `*` among them never matches."""
    vary = fields.get("vary")
    if vary is None:
        return ()
    named = {name.strip().lower() for name in ",".join(vary).split(",")}
    return tuple(sorted(named - {""}))


# Validation


class Validators(Struct, frozen=True):
    """What tells one state of a thing from another: its entity tag, quotes included, and its date of change as sent."""

    etag: str | None = None
    last_modified: str | None = None


def validators(fields: Fields) -> Validators:
    """The validators of an answer (RFC 9110, 8.8)."""
    return Validators(_single(fields, "etag"), _single(fields, "last-modified"))


def is_not_modified(kept: Validators, if_none_match: str | None, if_modified_since: str | None) -> bool:
    """Whether a request with these conditions is answered 304 from a 200 that is kept (4.3.2; RFC 9110, 13.1 and 13.2.2)."""
    if if_none_match is not None:
        return if_none_match.strip() == "*" or (kept.etag is not None and names_tag(if_none_match, kept.etag))
    since, modified = http_date(if_modified_since), http_date(kept.last_modified)
    return since is not None and modified is not None and modified <= since


_ENTITY_TAG: Final = re.compile(r'(?:W/)?("[^"]*")')


def names_tag(known: str, tag: str) -> bool:
    """Whether an If-None-Match names the tag. It compares weakly: `W/` makes no difference (RFC 9110, 8.8.3.2)."""
    return known == tag or tag.removeprefix("W/") in _ENTITY_TAG.findall(known)


def speaks_of(told: Validators, kept: Validators) -> bool:
    """Whether a 304 with the validators `told` is about what is kept, and not about something else (4.3.4)."""
    if told.etag is None:
        return told.last_modified is None or told.last_modified == kept.last_modified
    if kept.etag is None:
        return False
    return told.etag == kept.etag if not told.etag.startswith("W/") else names_tag(kept.etag, told.etag)
