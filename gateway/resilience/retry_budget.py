"""A budget of retries, so that retries cannot multiply the load of an upstream that fails."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

WINDOW_S: Final = 10


class RetryBudget:
    """Over the last ten seconds, retries stay within a share of the requests plus a number a second.

    The share bounds the load that retries add; the number gives a quiet upstream any retries at all. Counted in ten
    slots of one second each, as in Finagle's RetryBudget.
    """

    def __init__(self, *, share: float = 0.2, per_s: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._share = share
        self._reserve = per_s * WINDOW_S
        self._clock = clock
        self._requests = [0] * WINDOW_S
        self._retries = [0] * WINDOW_S
        self._second = int(clock())

    def count_request(self) -> None:
        """Count a request that is sent for the first time."""
        second = int(self._clock())
        if second != self._second:
            self._advance(second)
        self._requests[second % WINDOW_S] += 1

    def try_retry(self) -> bool:
        """Take one retry from the budget; False when none is left."""
        if self.remaining < 1.0:
            return False
        self._retries[self._second % WINDOW_S] += 1
        return True

    @property
    def remaining(self) -> float:
        """The retries that could be taken now."""
        self._advance(int(self._clock()))
        return self._reserve + self._share * sum(self._requests) - sum(self._retries)

    def _advance(self, second: int) -> None:
        """Empty the slots of the seconds that have passed; the clock never runs backwards."""
        for passed in range(max(self._second + 1, second - WINDOW_S + 1), second + 1):
            self._requests[passed % WINDOW_S] = 0
            self._retries[passed % WINDOW_S] = 0
        self._second = second
