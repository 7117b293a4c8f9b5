"""The guard of calls whose failures say nothing about a dependency."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from gateway.resilience.breaker import Breaker

T = TypeVar("T")


class Uncounted:
    """A `checkout.ports.services.Guard` beside a breaker, for orders that have waited for a response in vain.

    So an order that never gets one does not cut the service off for the others.
    """

    def __init__(self, breaker: Breaker) -> None:
        self._breaker = breaker

    async def call(self, work: Callable[[], Awaitable[T]]) -> T:
        """See `Breaker.call_uncounted`."""
        return await self._breaker.call_uncounted(work)
