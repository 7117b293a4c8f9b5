"""aiocache's memory cache, made bounded: its own never evicts. The first tier of the response cache."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from aiocache import SimpleMemoryCache


class Weighed(Protocol):
    """Something that knows what it weighs."""

    # Bytes, as they count until it is stored again.
    size: int
    # Set by whoever uses it, cleared when it is passed over once.
    was_used: bool


W = TypeVar("W", bound=Weighed)


class BoundedEntries(OrderedDict[str, W]):
    """What an aiocache backend keeps its entries in: at most `most_bytes` of them.

    Eviction is second chance (CLOCK): oldest first, but what was used since it was last looked at goes to the back once
    more. A hit then costs one attribute, not a change of order, and a crawler that reads everything once pushes out
    nothing that shoppers use. `dropped` is told of each entry that goes, whatever the reason.
    """

    def __init__(self, most_bytes: int, dropped: Callable[[str, W], None]) -> None:
        super().__init__()
        self.most_bytes = most_bytes
        self.bytes = 0
        self.evictions = 0
        self._dropped = dropped
        self._sizes: dict[str, int] = {}

    def __setitem__(self, key: str, value: W) -> None:
        self.pop(key)
        # The key stands in the indexes over the entries as well.
        size = value.size + 2 * len(key)
        if size > self.most_bytes:
            return  # all others would go for it, and then it too
        self._shrink_to(self.most_bytes - size)
        super().__setitem__(key, value)
        self._sizes[key] = size
        self.bytes += size

    def __delitem__(self, key: str) -> None:
        value = self[key]
        super().__delitem__(key)
        self.bytes -= self._sizes.pop(key)
        self._dropped(key, value)

    def pop(self, key: str, default: Any = None) -> Any:
        """Take an entry out; `default` where there is none."""
        value = self.get(key)
        if value is None:
            return default
        del self[key]
        return value

    def clear(self) -> None:
        """Take all out."""
        for key in [*self]:
            del self[key]

    def resize(self, most_bytes: int) -> None:
        """Change the bound; evicts what no longer fits."""
        self.most_bytes = most_bytes
        self._shrink_to(most_bytes)

    def _shrink_to(self, most_bytes: int) -> None:
        """Evict until what is left is so little. Each entry is passed over once at most, so this ends."""
        while self.bytes > most_bytes:
            key, value = next(iter(self.items()))
            if value.was_used:
                value.was_used = False
                self.move_to_end(key)
            else:
                del self[key]
                self.evictions += 1


class BoundedMemoryCache(SimpleMemoryCache, Generic[W]):  # type: ignore[misc] # aiocache publishes no types
    """An aiocache cache of at most `most_bytes`, without timeouts: nothing here waits.

    `peek` reads the same entries at once. aiocache's `get` is a chain of five coroutines, 4 µs where a hit costs less than 1.
    """

    def __init__(self, most_bytes: int, dropped: Callable[[str, W], None] = lambda _key, _value: None) -> None:
        super().__init__(timeout=0)
        self.entries: BoundedEntries[W] = BoundedEntries(most_bytes, dropped)
        # All of aiocache's own calls, its timers too, work on this mapping.
        self._cache = self.entries
        self.peek: Callable[[str], W | None] = self.entries.get

    def place(self, key: str, value: W) -> None:
        """Store at once, in place of what was there. What is larger than the whole cache does not stay."""
        self.entries[key] = value

    def drop(self, key: str) -> W | None:
        """Take out at once."""
        value: W | None = self.entries.pop(key, None)
        return value

    def resize(self, most_bytes: int) -> None:
        """Change the bound; evicts what no longer fits."""
        self.entries.resize(most_bytes)

    async def _clear(self, namespace: str | None = None, _conn: Any = None) -> bool:
        # aiocache's own would put plain dicts in place of the bounded ones.
        for key in [*self.entries]:
            if key.startswith(namespace or ""):
                await self._delete(key)
        return True
