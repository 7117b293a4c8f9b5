"""Validators and conditional requests (RFC 9110, 8.8 and 13; RFC 9111, 4.3). Pure."""

from __future__ import annotations

import re
from typing import Final

from gateway.cache.cache_control import single
from gateway.cache.model import Fields, Validators
from gateway.http.http_date import http_date

_ENTITY_TAG: Final = re.compile(r'(?:W/)?("[^"]*")')


def validators(fields: Fields) -> Validators:
    """The validators of a response (RFC 9110, 8.8)."""
    return Validators(single(fields, "etag"), single(fields, "last-modified"))


def is_not_modified(
    stored: Validators, if_none_match: str | None, if_modified_since: str | None, date: str | None = None
) -> bool:
    """Whether a stored 200 satisfies these conditions with a 304 (RFC 9111, 4.3.2; RFC 9110, 13.1 and 13.2.2).

    Without a date of change its own `date` counts, because it was not changed after that.
    """
    if if_none_match is not None:
        return if_none_match.strip() == "*" or (stored.etag is not None and names_tag(if_none_match, stored.etag))
    since, modified = http_date(if_modified_since), http_date(stored.last_modified or date)
    return since is not None and modified is not None and modified <= since


def names_tag(if_none_match: str, etag: str) -> bool:
    """Whether an If-None-Match names the tag. The comparison is weak: `W/` is ignored (RFC 9110, 8.8.3.2)."""
    return if_none_match == etag or etag.removeprefix("W/") in _ENTITY_TAG.findall(if_none_match)


def validators_match(received: Validators, stored: Validators) -> bool:
    """Whether a 304 with the validators `received` selects the stored response (RFC 9111, 4.3.4)."""
    if received.etag is None:
        return received.last_modified is None or received.last_modified == stored.last_modified
    if stored.etag is None:
        return False
    if received.etag.startswith("W/"):
        return names_tag(stored.etag, received.etag)
    return received.etag == stored.etag
