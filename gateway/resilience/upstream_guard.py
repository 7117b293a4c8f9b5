"""The circuit breaker of an upstream, entered and left by plain calls, which cost no context manager."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from checkout.errors import DependencyTripped
from gateway.resilience.breaker import Breaker, GuardedCall
from gateway.resilience.breakers import Breakers

# The loop's time may lag behind the clock by this much. No call begins between a trip and its probe.
_CLOCKS_DIFFER_S: Final = 0.05


class UpstreamGuard:
    """A `gateway.proxy.ports.Guard` on the breaker of one upstream. Lives as long as the breaker does.

    An outcome does not name its call. The success of a probe is recognised by its age. Any other outcome is taken for
    that of the oldest call, so that late outcomes of calls from before the trip never end a probe early, and there are
    never two probes.
    """

    def __init__(self, breaker: Breaker, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._breaker = breaker
        self._clock = clock
        self._probe: GuardedCall | None = None
        self._others: deque[GuardedCall] = deque()

    def try_enter(self) -> bool:
        """See `Guard.try_enter`."""
        call = GuardedCall(self._breaker)
        try:
            self._breaker.enter(call)
        except DependencyTripped:
            return False
        if call.is_probe:
            self._probe = call
        else:
            self._others.append(call)
        return True

    def succeeded(self, elapsed_s: float) -> None:
        """See `Guard.succeeded`."""
        began_at = self._clock() - elapsed_s
        call = self._take(is_probe=self._probe is not None and began_at >= self._probe.began_at - _CLOCKS_DIFFER_S)
        call.began_at = began_at
        self._breaker.leave(call, None)

    def failed(self, reason: str) -> None:
        """See `Guard.failed`."""
        call = self._take()
        call.failed(reason)
        self._breaker.leave(call, None)

    def abandoned(self) -> None:
        """See `Guard.abandoned`."""
        self._breaker.leave(self._take(), asyncio.CancelledError())

    def _take(self, *, is_probe: bool = False) -> GuardedCall:
        if self._others and not is_probe:
            return self._others.popleft()
        assert self._probe is not None
        call, self._probe = self._probe, None
        return call


class UpstreamGuards:
    """The guard of each upstream. An upstream that was removed from the policies and put back has a new breaker and guard."""

    def __init__(self, breakers: Breakers) -> None:
        self._breakers = breakers
        self._guards: dict[str, tuple[Breaker, UpstreamGuard]] = {}

    def of(self, upstream: str) -> UpstreamGuard:
        """The guard on the breaker of this upstream."""
        breaker = self._breakers.of(upstream)
        cached = self._guards.get(upstream)
        if cached is None or cached[0] is not breaker:
            cached = self._guards[upstream] = (breaker, UpstreamGuard(breaker))
        return cached[1]
