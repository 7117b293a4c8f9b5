"""The breaker of an upstream, as forwarding works it: entered and left by plain calls, which cost no context manager."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from checkout.errors import DependencyTripped
from gateway.resilience.breaker import Breaker, Calling
from gateway.resilience.breakers import Breakers

# A loop's time may lag behind the clock by as much; between a trip and its probe nothing begins.
_CLOCKS_DIFFER_S: Final = 0.05


class UpstreamGuard:
    """A `gateway.proxy.ports.Guard` on a breaker. Stands for one upstream and lives as long as the breaker does.

    An outcome does not say which call it is of. A probe is known by its age where that is told; any other outcome is taken
    for that of the call that began first: so late news of calls from before the trip can never end a probe early, and
    there never are two.
    """

    def __init__(self, breaker: Breaker, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._breaker = breaker
        self._clock = clock
        self._probe: Calling | None = None
        self._others: deque[Calling] = deque()

    def try_enter(self) -> bool:
        """See `Guard.try_enter`."""
        call = self._breaker.calling()
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
        begun_at = self._clock() - elapsed_s
        call = self._ended(is_probe=self._probe is not None and begun_at >= self._probe.begun_at - _CLOCKS_DIFFER_S)
        call.begun_at = begun_at
        self._breaker.leave(call, None)

    def failed(self, reason: str) -> None:
        """See `Guard.failed`."""
        call = self._ended()
        call.failed(reason)
        self._breaker.leave(call, None)

    def abandoned(self) -> None:
        """See `Guard.abandoned`."""
        self._breaker.leave(self._ended(), asyncio.CancelledError())

    def _ended(self, *, is_probe: bool = False) -> Calling:
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
