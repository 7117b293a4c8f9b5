"""The catalogue files that were imported, in a hash: SHA-256 → when it was last marked, Unix milliseconds."""

from __future__ import annotations

from collections.abc import Callable

from cart.catalog.ports import IMPORTED_MS, MOST_IMPORTED
from cart.timestamps import unix_ms
from store import Store


class ImportedFiles:
    """Knows the newest `MOST_IMPORTED` files of a target, for `IMPORTED_MS`. Raises `StoreError`."""

    def __init__(self, store: Store, key: str, *, now_ms: Callable[[], int] = unix_ms) -> None:
        self._store = store
        self._key = key
        self._now_ms = now_ms

    async def has(self, digest: str) -> bool:
        """Whether the file is among them."""
        return bool(await self._store.execute("HEXISTS", self._key, digest))

    async def mark(self, digest: str) -> None:
        """Make this file the newest, and forget those that are too old or too many."""
        now_ms = self._now_ms()
        await self._store.execute("HSET", self._key, digest, now_ms)
        marked = await self._store.execute("HGETALL", self._key)
        newest = sorted(marked, key=lambda each: int(marked[each]), reverse=True)
        forgotten = [
            each for at, each in enumerate(newest) if at >= MOST_IMPORTED or int(marked[each]) <= now_ms - IMPORTED_MS
        ]
        if forgotten:
            await self._store.execute("HDEL", self._key, *forgotten)
