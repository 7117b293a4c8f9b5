"""How many requests may be tried again, so that retries cannot multiply what a sick upstream has to bear."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

WINDOW_S: Final = 10


class RetryBudget:
    """Over the last ten seconds, retries stay within a share of the requests plus so many a second.

    The share bounds the load that retries add; the fixed part lets a quiet upstream have some at all. Counted in ten
    buckets of one second each, as Finagle's RetryBudget does.
    """

    def __init__(self, *, share: float = 0.2, per_s: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._share = share
        self._reserve = per_s * WINDOW_S
        self._clock = clock
        self._requests = [0] * WINDOW_S
        self._retries = [0] * WINDOW_S
        self._second = int(clock())

    def request(self) -> None:
        """Note a request that is sent for the first time."""
        second = int(self._clock())
        if second != self._second:
            self._turn_to(second)
        self._requests[second % WINDOW_S] += 1

    def try_retry(self) -> bool:
        """Take a retry out of the budget; False when there is none left."""
        if self.left < 1.0:
            return False
        self._retries[self._second % WINDOW_S] += 1
        return True

    @property
    def left(self) -> float:
        """How many retries could be taken now."""
        self._turn_to(int(self._clock()))
        return self._reserve + self._share * sum(self._requests) - sum(self._retries)

    def _turn_to(self, second: int) -> None:
        """Empty the buckets of the seconds that have passed."""
        for passed in range(max(self._second + 1, second - WINDOW_S + 1), second + 1):
            self._requests[passed % WINDOW_S] = 0
            self._retries[passed % WINDOW_S] = 0
        self._second = max(self._second, second)
