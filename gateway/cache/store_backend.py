"""An aiocache backend over the store client."""

from __future__ import annotations

import hashlib
from typing import Any, Final

from aiocache.base import BaseCache

from gateway.cache.shared_format import SharedFormat
from store import Store

_PREFIX: Final = "peakgate:cache:"


class StoreBackend(BaseCache):  # type: ignore[misc] # aiocache publishes no types
    """The commands that aiocache calls; deadlines are the store client's. Raises `StoreError`."""

    NAME = "peakgate-store"

    def __init__(self, store: Store) -> None:
        super().__init__(serializer=SharedFormat(), timeout=0, key_builder=_store_key)
        self._store = store

    async def _get(self, key: str, encoding: str | None = None, _conn: Any = None) -> bytes | None:  # noqa: ARG002 - aiocache's signature
        value: bytes | None = await self._store.execute("GET", key)
        return value

    async def _set(
        self, key: str, value: bytes, ttl: float | None = None, _cas_token: Any = None, _conn: Any = None
    ) -> bool:
        expiry = ("PX", max(1, round(ttl * 1000))) if ttl else ()
        await self._store.execute("SET", key, value, *expiry)
        return True

    async def _exists(self, key: str, _conn: Any = None) -> bool:
        return bool(await self._store.execute("EXISTS", key))

    async def _delete(self, key: str, _conn: Any = None) -> int:
        return int(await self._store.execute("UNLINK", key))


def _store_key(key: str, namespace: str | None = None) -> str:
    """A digest: addresses are long and clients choose them."""
    digest = hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
    return f"{namespace or _PREFIX}{digest}"
