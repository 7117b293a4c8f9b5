"""The second tier of the response cache: stored responses in the store, for all workers and for those that start."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway.cache.model import Selection
from gateway.cache.shared_format import SharedResponse, VaryNames
from gateway.cache.store_backend import StoreBackend
from gateway.cache.stored_response import StoredResponse
from gateway.cache.variants import selection
from store import Store

# The longest time to live of a stored response.
MAX_SHARED_S: Final = 86_400.0


class SecondTier:
    """Reads and writes stored responses in the store. Raises `StoreError`."""

    def __init__(self, store: Store) -> None:
        self._backend = StoreBackend(store)

    async def read(self, key: str, headers: Mapping[str, str]) -> tuple[tuple[str, ...], SharedResponse] | None:
        """The response that a request selects, and the request fields by which it varies."""
        found: SharedResponse | VaryNames | None = await self._backend.get(key)
        names: tuple[str, ...] = ()
        if isinstance(found, VaryNames):
            names = found.names
            found = await self._backend.get(_variant_key(key, selection(names, headers)))
        return (names, found) if isinstance(found, SharedResponse) else None

    async def write(
        self, key: str, names: tuple[str, ...], selected: Selection, shared: SharedResponse, *, ttl_s: float
    ) -> None:
        """Store a response for so long."""
        if names:
            await self._backend.set(key, VaryNames(names), ttl=MAX_SHARED_S)
            key = _variant_key(key, selected)
        await self._backend.set(key, shared, ttl=ttl_s)


def shared_ttl_s(stored: StoredResponse, now: float) -> float:
    """How long the second tier stores a response: until it can no longer be served, stale or not."""
    freshness = stored.freshness
    stale_s = max(freshness.stale_while_revalidate_s, freshness.stale_if_error_s)
    return min(freshness.lifetime_s + stale_s - stored.age_s(now), MAX_SHARED_S)


def _variant_key(key: str, selected: Selection) -> str:
    return f"{key}\n\n{selected!r}"
