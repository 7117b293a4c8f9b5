"""When a shopper tries again, and when no more."""

from collections.abc import Callable
from random import Random

FIRST_WAIT_S = 0.05
LONGEST_WAIT_S = 3.0


class GaveUp(Exception):
    """Nothing has moved for as long as the shopper is willing to wait."""

    def __init__(self, give_up_s: float) -> None:
        super().__init__(f"gave up after {give_up_s:g} s without progress")
        self.give_up_s = give_up_s


class Patience:
    """Jittered exponential back-off that ends when the shopper has made no progress for `give_up_s` seconds.

    Progress, not the number of attempts, is the measure: a gateway that is killed and started again costs a shopper some
    dozen attempts, and each step that succeeds afterwards renews the patience in full.
    """

    def __init__(self, *, give_up_s: float, clock: Callable[[], float], chance: Random) -> None:
        self._give_up_s = give_up_s
        self._clock = clock
        self._chance = chance
        self._last_progress = clock()

    def moved(self) -> None:
        """Note that the shopper got a step further."""
        self._last_progress = self._clock()

    def wait_before(self, attempt: int, *, at_least_s: float = 0.0) -> float:
        """Seconds to wait before the given attempt (the first repetition is 1).

        `at_least_s` is the server's Retry-After; it is honoured with up to a quarter more, so that shoppers who were
        refused together do not come back together. Raises GaveUp like `allow`.
        """
        back_off_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(attempt - 1, 10)) * self._chance.uniform(0.5, 1.0)
        return self.allow(max(back_off_s, at_least_s * self._chance.uniform(1.0, 1.25)))

    def allow(self, wait_s: float) -> float:
        """Give back the wait, or raise GaveUp if it would end past the shopper's patience."""
        if self._clock() + wait_s - self._last_progress > self._give_up_s:
            raise GaveUp(self._give_up_s)
        return wait_s
