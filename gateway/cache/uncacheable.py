"""Keys whose last response could not be stored, so that requests do not wait for each other there."""

from __future__ import annotations

from typing import Final

from primitives.bounded_map import BoundedMap

UNCACHEABLE_S: Final = 10.0
MAX_UNCACHEABLE: Final = 8_192


class UncacheableKeys:
    """Remembers keys for `UNCACHEABLE_S`. `is_personal` keys are those of requests with cookies or credentials."""

    def __init__(self) -> None:
        self._until: BoundedMap[str, float] = BoundedMap(MAX_UNCACHEABLE)

    def add(self, key: str, now: float, *, is_personal: bool) -> None:
        """Remember a key."""
        self._until.put(_personal(key) if is_personal else key, now + UNCACHEABLE_S)

    def discard(self, key: str) -> None:
        """Forget a key: a response could be stored."""
        self._until.discard(key)

    def is_uncacheable(self, key: str, now: float, *, is_personal: bool) -> bool:
        """Whether the last response for such requests could not be stored."""
        until = self._until.get(_personal(key) if is_personal else key)
        return until is not None and now < until


def _personal(key: str) -> str:
    return key + "\n\npersonal"
