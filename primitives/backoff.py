"""Exponential back-off with jitter."""

from __future__ import annotations

import random
from collections.abc import Callable

# 2.0 ** 64 s is beyond every maximum; larger exponents would only overflow.
_MAX_EXPONENT = 64


class Backoff:
    """The delay before each retry: `first_s`, multiplied by `factor` after each failure, at most `max_s`.

    A random half of each delay is left out ("equal jitter", Brooker, Exponential Backoff And Jitter, 2015), so that
    processes that failed together do not retry together. `chance` gives numbers from 0 to 1.
    """

    __slots__ = ("_chance", "_factor", "_first_s", "_max_s", "failures")

    def __init__(
        self, first_s: float, max_s: float, *, factor: float = 2.0, chance: Callable[[], float] = random.random
    ) -> None:
        self._first_s = first_s
        self._max_s = max_s
        self._factor = factor
        self._chance = chance
        # Failures in a row since the last `reset`.
        self.failures = 0

    def delay_s(self, failures: int) -> float:
        """The delay after so many failures in a row, 1 or more."""
        longest_s = min(self._first_s * self._factor ** min(failures - 1, _MAX_EXPONENT), self._max_s)
        return longest_s * (0.5 + self._chance() / 2)

    def next_delay_s(self) -> float:
        """Count a failure and return the delay before the retry."""
        self.failures += 1
        return self.delay_s(self.failures)

    def reset(self) -> None:
        """Start again with the first delay, after a success."""
        self.failures = 0
