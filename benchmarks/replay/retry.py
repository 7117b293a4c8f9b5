"""Retries of a shopper: the delay before each, and the time without progress after which the shopper gives up."""

from collections.abc import Callable
from random import Random

from primitives.backoff import Backoff

FIRST_DELAY_S = 0.05
MAX_DELAY_S = 3.0


class GaveUp(Exception):
    """A shopper has made no progress for `give_up_s` seconds."""

    def __init__(self, give_up_s: float) -> None:
        super().__init__(f"gave up after {give_up_s:g} s without progress")
        self.give_up_s = give_up_s


class RetryPolicy:
    """Exponential back-off that ends when the shopper has made no progress for `give_up_s` seconds.

    The limit is on time without progress, not on attempts: a gateway that is killed and started again costs a shopper
    some dozen attempts, and each step that succeeds afterwards starts the time again.
    """

    def __init__(self, *, give_up_s: float, clock: Callable[[], float], chance: Random) -> None:
        self._give_up_s = give_up_s
        self._clock = clock
        self._chance = chance
        self._backoff = Backoff(FIRST_DELAY_S, MAX_DELAY_S, chance=chance.random)
        self._last_progress = clock()

    def progressed(self) -> None:
        """Start the time without progress again, after a step that succeeded."""
        self._last_progress = self._clock()

    def delay_before(self, attempt: int, *, min_delay_s: float = 0.0) -> float:
        """Seconds to wait before the given attempt (the first repetition is 1).

        `min_delay_s` is the server's Retry-After. Up to a quarter is added to it, so that shoppers who were rejected
        together do not retry together. Raises GaveUp like `allow`.
        """
        return self.allow(max(self._backoff.delay_s(attempt), min_delay_s * self._chance.uniform(1.0, 1.25)))

    def allow(self, delay_s: float) -> float:
        """Return the delay, or raise GaveUp if it would end later than `give_up_s` after the last progress."""
        if self._clock() + delay_s - self._last_progress > self._give_up_s:
            raise GaveUp(self._give_up_s)
        return delay_s
