"""Responses of an origin as the decisions of the cache see them."""

from __future__ import annotations

from email.utils import formatdate
from typing import Any

from gateway.cache.model import Exchange, Freshness, StaleDefaults
from gateway.cache.storability import storable

NOW = 1_700_000_000.0
EXCHANGE = Exchange(delay_s=0.0, received_at=NOW)
SIGNED_IN = Exchange(delay_s=0.0, received_at=NOW, has_credentials=True)
WITH_COOKIES = Exchange(delay_s=0.0, received_at=NOW, has_cookies=True)


def date(offset_s: float = 0.0) -> str:
    return formatdate(NOW + offset_s, usegmt=True)


def stored(
    *, exchange: Exchange = EXCHANGE, status: int = 200, defaults: StaleDefaults | None = None, **fields: Any
) -> Freshness | None:
    """Field names with underscores for hyphens."""
    named = {name.replace("_", "-"): [value] if isinstance(value, str) else value for name, value in fields.items()}
    return storable(status, named, exchange, defaults or StaleDefaults())


def lifetime(**fields: Any) -> float:
    found = stored(etag='"x"', **fields)
    assert found is not None
    return found.lifetime_s
