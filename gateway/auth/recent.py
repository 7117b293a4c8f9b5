"""What was used of late, within bounds."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """A mapping that forgets what was not used for long: two generations, each of at most half of `most`.

    What is put in or found in the old one goes to the young one; when that is full it becomes the old one, and the old one
    is forgotten. So a hit costs one look-up, where keeping an exact order would cost a change of it as well.

    `weigh` tells what an entry takes of `most`, by default 1; one that takes more than half of it is not kept.
    """

    def __init__(self, most: int, *, weigh: Callable[[K, V], int] = lambda _key, _value: 1) -> None:
        self._most_young = most // 2
        self._weigh = weigh
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}
        self._young_weight = 0

    def get(self, key: K) -> V | None:
        """The value, if it is still here."""
        value = self._young.get(key)
        if value is None and (value := self._old.get(key)) is not None:
            self.put(key, value)
        return value

    def put(self, key: K, value: V) -> None:
        """Keep a value, instead of any other for this key."""
        self.forget(key)
        weight = self._weigh(key, value)
        if weight > self._most_young:
            return
        if self._young_weight + weight > self._most_young:
            self._old, self._young, self._young_weight = self._young, {}, 0
        self._young[key] = value
        self._young_weight += weight

    def forget(self, key: K) -> None:
        """Drop an entry, if it is here."""
        self._old.pop(key, None)
        value = self._young.pop(key, None)
        if value is not None:
            self._young_weight -= self._weigh(key, value)

    def clear(self) -> None:
        """Drop everything."""
        self._young, self._old, self._young_weight = {}, {}, 0

    def items(self) -> Iterator[tuple[K, V]]:
        """All entries, as they are now."""
        return iter([*self._old.items(), *self._young.items()])

    def __len__(self) -> int:
        return len(self._young) + len(self._old)
