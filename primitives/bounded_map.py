"""A bounded map that evicts entries that were not used for long."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class BoundedMap(Generic[K, V]):
    """A mapping of at most `max_weight` that evicts by generation, an approximation of least recently used.

    There are two generations of at most half of `max_weight` each. A new entry joins the young generation, and so does
    an entry of the old generation that is looked up. When the young generation is full it becomes the old one, and the
    entries of the former old generation are evicted. A hit in the young generation is one dict look-up; exact LRU order
    would reorder a list at each hit.

    `weigh(key, value)` is the weight of an entry, 1 unless given; an entry heavier than half of `max_weight` is not
    stored. `on_evict(key, value)` is called for each entry that makes room for others. Values may not be None.
    """

    __slots__ = ("_max_young", "_old", "_on_evict", "_weigh", "_young", "_young_weight")

    def __init__(
        self,
        max_weight: int,
        *,
        weigh: Callable[[K, V], int] | None = None,
        on_evict: Callable[[K, V], None] | None = None,
    ) -> None:
        self._max_young = max_weight // 2
        self._weigh = weigh
        self._on_evict = on_evict
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}
        self._young_weight = 0

    def get(self, key: K) -> V | None:
        """The value of a key, None where there is none. The entry counts as used."""
        value = self._young.get(key)
        if value is None and (value := self._old.get(key)) is not None:
            self.put(key, value)
        return value

    def put(self, key: K, value: V) -> None:
        """Store a value in place of any other of this key."""
        self.discard(key)
        weight = 1 if self._weigh is None else self._weigh(key, value)
        if weight > self._max_young:
            return
        if self._young_weight + weight > self._max_young:
            self._turn_over()
        self._young[key] = value
        self._young_weight += weight

    def discard(self, key: K) -> V | None:
        """Remove an entry; returns its value, None where there is none."""
        value = self._young.pop(key, None)
        if value is None:
            return self._old.pop(key, None)
        self._young_weight -= 1 if self._weigh is None else self._weigh(key, value)
        return value

    def clear(self) -> None:
        """Remove all entries, without `on_evict`."""
        self._young, self._old, self._young_weight = {}, {}, 0

    def items(self) -> Iterator[tuple[K, V]]:
        """A copy of all entries, the old generation first."""
        return iter([*self._old.items(), *self._young.items()])

    def __contains__(self, key: K) -> bool:
        return key in self._young or key in self._old

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def _turn_over(self) -> None:
        evicted = self._old
        self._old, self._young, self._young_weight = self._young, {}, 0
        if self._on_evict is not None:
            for key, value in evicted.items():
                self._on_evict(key, value)
