"""Header fields of a request that matter to a cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from multidict import CIMultiDict, CIMultiDictProxy, istr

from gateway.cache.model import Validators
from gateway.cache.ranges import Range, if_range_matches, parse_ranges
from gateway.cache.validation import is_not_modified

# `istr`: their hashes are computed once.
CACHE_CONTROL: Final = istr("Cache-Control")
PRAGMA: Final = istr("Pragma")
RANGE: Final = istr("Range")
IF_NONE_MATCH: Final = istr("If-None-Match")
IF_MODIFIED_SINCE: Final = istr("If-Modified-Since")
IF_RANGE: Final = istr("If-Range")
IF_MATCH: Final = istr("If-Match")
IF_UNMODIFIED_SINCE: Final = istr("If-Unmodified-Since")
COOKIE: Final = istr("Cookie")
AUTHORIZATION: Final = istr("Authorization")
API_KEY: Final = istr("X-Api-Key")
_CONNECTION: Final = istr("Connection")
_HARMLESS_OPTIONS: Final = frozenset({"", "close", "keep-alive"})


def field_values(headers: Mapping[str, str], name: str) -> Sequence[str]:
    """All lines of a field. The server's headers hold several lines of a field; other mappings hold one."""
    if isinstance(headers, (CIMultiDict, CIMultiDictProxy)):
        return headers.getall(name, ())
    value = headers.get(name)
    return () if value is None else (value,)


def hides_fields(headers: Mapping[str, str]) -> bool:
    """Whether `Connection` names fields that are not forwarded (RFC 9110, 7.6.1).

    The origin would respond without seeing them, and clients that send them would get that response: cache poisoning.
    """
    if _CONNECTION not in headers:
        return False
    options = ",".join(field_values(headers, _CONNECTION)).split(",")
    return any(option.strip().lower() not in _HARMLESS_OPTIONS for option in options)


def has_credentials(headers: Mapping[str, str]) -> bool:
    """Whether a request carries credentials of its client."""
    return AUTHORIZATION in headers or API_KEY in headers


def is_personal(headers: Mapping[str, str]) -> bool:
    """Whether the response may be meant for the client alone."""
    return COOKIE in headers or has_credentials(headers)


def has_conditions(headers: Mapping[str, str]) -> bool:
    """Whether a request asks for a 304 where the client has the current response."""
    return IF_NONE_MATCH in headers or IF_MODIFIED_SINCE in headers


def accepts_not_modified(headers: Mapping[str, str], stored: Validators, date: str | None) -> bool:
    """Whether the client has the stored response of that date already, so that a 304 is enough."""
    if not has_conditions(headers):
        return False
    return is_not_modified(stored, headers.get(IF_NONE_MATCH), headers.get(IF_MODIFIED_SINCE), date)


def ranges_of(headers: Mapping[str, str], stored: Validators, date: str | None, length: int) -> Sequence[Range] | None:
    """The ranges of the stored response that a request to GET asks for; None for the whole."""
    field, condition = headers.get(RANGE), headers.get(IF_RANGE)
    if field is None or (condition is not None and not if_range_matches(condition, stored, date)):
        return None
    return parse_ranges(field, length)
