"""Ages of things that other machines made, by the clock of this process alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Ages(Generic[K]):
    """How long this process has seen each of some things, in seconds.

    The times that other machines wrote are compared to no clock: clocks differ by minutes, and step. So an age is never
    too high, and it begins at zero in a process that has just started.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` never steps."""
        self._clock = clock
        self._seen_at: dict[K, float] = {}

    def update(self, present: Collection[K]) -> None:
        """These are all that there are now; the others are forgotten."""
        now, seen_at = self._clock(), self._seen_at
        self._seen_at = {key: seen_at.get(key, now) for key in present}

    def is_older(self, key: K, age_s: float) -> bool:
        """Whether `key`, which is present, was seen first at least `age_s` ago."""
        return self._clock() - self._seen_at[key] >= age_s
