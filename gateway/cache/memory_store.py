"""A memory cache of bounded size: aiocache's, on a mapping that evicts. aiocache's own never does."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from aiocache import SimpleMemoryCache


class Weighed(Protocol):
    """A value with a size."""

    # Bytes, as counted when it is stored.
    size: int
    # Set on every use; cleared when eviction passes the value over, which it does once.
    was_used: bool


W = TypeVar("W", bound=Weighed)


class BoundedEntries(OrderedDict[str, W]):
    """The mapping of an aiocache backend: at most `max_bytes` of entries.

    Eviction is second chance (CLOCK): the oldest first, but an entry that was used since eviction last met it goes to the
    back once more. A hit then sets one attribute instead of changing an order, and a crawler that reads everything once
    evicts nothing that is in use. `BoundedMap` evicts half of its entries at a time, which would block the loop for tens
    of milliseconds here. `on_removed` is called for each entry that leaves, for any reason.
    """

    def __init__(self, max_bytes: int, on_removed: Callable[[str, W], None]) -> None:
        super().__init__()
        self.max_bytes = max_bytes
        self.bytes = 0
        self.evictions = 0
        self._on_removed = on_removed
        self._sizes: dict[str, int] = {}

    def __setitem__(self, key: str, value: W) -> None:
        self.pop(key)
        # The indexes over the entries hold the key as well.
        size = value.size + 2 * len(key)
        if size > self.max_bytes:
            return  # all others would be evicted for it, and then it too
        self._shrink_to(self.max_bytes - size)
        super().__setitem__(key, value)
        self._sizes[key] = size
        self.bytes += size

    def __delitem__(self, key: str) -> None:
        value = self[key]
        super().__delitem__(key)
        self.bytes -= self._sizes.pop(key)
        self._on_removed(key, value)

    def pop(self, key: str, default: Any = None) -> Any:
        """Remove an entry and return its value; `default` if there is none."""
        value = self.get(key)
        if value is None:
            return default
        del self[key]
        return value

    def clear(self) -> None:
        """Remove all entries."""
        for key in [*self]:
            del self[key]

    def resize(self, max_bytes: int) -> None:
        """Change the bound, and evict down to it."""
        self.max_bytes = max_bytes
        self._shrink_to(max_bytes)

    def _shrink_to(self, max_bytes: int) -> None:
        """Evict down to so many bytes. Each entry is passed over at most once, so this ends."""
        while self.bytes > max_bytes:
            key, value = next(iter(self.items()))
            if value.was_used:
                value.was_used = False
                self.move_to_end(key)
            else:
                del self[key]
                self.evictions += 1


class BoundedMemoryCache(SimpleMemoryCache, Generic[W]):  # type: ignore[misc] # aiocache publishes no types
    """An aiocache cache of at most `max_bytes`, without timeouts, because nothing here waits.

    `entries` is the same mapping for synchronous use: aiocache's `get` is a chain of five coroutines.
    """

    def __init__(self, max_bytes: int, on_removed: Callable[[str, W], None] = lambda _key, _value: None) -> None:
        super().__init__(timeout=0)
        self.entries: BoundedEntries[W] = BoundedEntries(max_bytes, on_removed)
        # aiocache's own calls and timers work on this mapping.
        self._cache = self.entries

    async def _clear(self, namespace: str | None = None, _conn: Any = None) -> bool:
        # aiocache's own would replace the bounded mapping by a plain dict.
        for key in [*self.entries]:
            if key.startswith(namespace or ""):
                await self._delete(key)
        return True
