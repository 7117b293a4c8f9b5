"""A sink of events behind a circuit breaker: while it is away, events wait without a call for each round of their relay."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from cart.model import OrderId
from checkout.ports.events import EventSink, NewEvent
from checkout.ports.services import Guard


class GuardedEventSink:
    """An `EventSink` that also raises `DependencyTripped`.

    A hand-over is guarded as a whole: a breaker that ramps up, and rejects some calls, would otherwise cut it off in the
    middle, and the events that were taken would come again.
    """

    def __init__(self, sink: EventSink, guard: Guard) -> None:
        self._sink = sink
        self._guard = guard

    async def take(self, events: Sequence[NewEvent]) -> Collection[OrderId]:
        """See `EventSink.take`."""
        return await self._guard.call(lambda: self._sink.take(events))
