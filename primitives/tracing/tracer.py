"""Begins traces: a share of them, those that a caller records, and after the fact those that failed or were slow."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from primitives.tracing.context import TraceParent
from primitives.tracing.spans import Span, SpanTuple, Trace, Value

# Spans that wait in a process for their export; later ones are dropped.
MAX_WAITING: Final = 10_000

# Trace id, `tracestate`, spans.
EndedTrace = tuple[str, str, list[SpanTuple]]


class Tracer:
    """Begins and ends the traces of a process. `share` of the roots are sampled; work of `slow_s` seconds or more is slow.

    Ended traces wait for `take`, up to `max_waiting` spans. `recorded` and `dropped` count spans.
    """

    __slots__ = (
        "_chance",
        "_clock_ns",
        "_max_waiting",
        "_share",
        "_span_id",
        "_unix_ns",
        "_waiting",
        "_waiting_spans",
        "dropped",
        "recorded",
        "slow_s",
    )

    def __init__(
        self,
        *,
        share: float,
        slow_s: float,
        max_waiting: int = MAX_WAITING,
        chance: Callable[[], float] = random.random,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        unix_ns: Callable[[], int] = time.time_ns,
        random_bits: Callable[[int], int] = random.getrandbits,
    ) -> None:
        self.slow_s = slow_s
        self.recorded = 0
        self.dropped = 0
        self._share = share
        self._chance = chance
        self._clock_ns = clock_ns
        self._unix_ns = unix_ns
        self._span_id: Callable[[], int] = lambda: random_bits(64) or 1
        self._max_waiting = max_waiting
        self._waiting: deque[EndedTrace] = deque()
        self._waiting_spans = 0

    def is_drawn(self) -> bool:
        """Whether the next root is in the share."""
        return self._chance() < self._share

    def new_trace_id(self) -> str:
        """A random trace id."""
        return f"{self._span_id():016x}{self._span_id():016x}"

    def begin(
        self,
        name: str,
        kind: int,
        *,
        parent: TraceParent | None,
        trace_id: str = "",
        state: str = "",
        attributes: dict[str, Value] | None = None,
    ) -> Span:
        """The first span of a trace in this process: a child of `parent`, or the root of `trace_id` or of a new trace."""
        if parent is not None:
            trace_id = parent.trace_id
        trace = Trace(
            trace_id or self.new_trace_id(), parent is not None, state, self._clock_ns, self._unix_ns(), self._span_id
        )
        return Span(trace, 0 if parent is None else int(parent.span_id, 16), name, kind, attributes)

    def end(self, root: Span) -> None:
        """End the first span of a trace, and with it the trace in this process."""
        trace = root.trace
        trace.is_ended = True
        # Also where the trace is full: the others would have no root.
        trace.spans.append(root.ended())
        self.dropped += trace.dropped
        self._put(trace.trace_id, trace.state, trace.spans)

    def end_late(self, root: Span, elapsed_s: float) -> None:
        """The same for a span that was made when its work was over: the work took so long until now."""
        trace = root.trace
        trace.is_ended = True
        span = root.ended(trace.now_ns() - int(elapsed_s * 1e9))
        self._put(trace.trace_id, trace.state, [span])

    def _put(self, trace_id: str, state: str, spans: list[SpanTuple]) -> None:
        if self._waiting_spans + len(spans) > self._max_waiting:
            self.dropped += len(spans)
            return
        self.recorded += len(spans)
        self._waiting_spans += len(spans)
        self._waiting.append((trace_id, state, spans))

    def take(self, max_spans: int) -> Iterable[EndedTrace]:
        """The traces that have waited longest, of `max_spans` spans at most, but one trace at least; they wait no more."""
        taken: list[EndedTrace] = []
        count = 0
        while self._waiting and (not taken or count + len(self._waiting[0][2]) <= max_spans):
            ended = self._waiting.popleft()
            count += len(ended[2])
            taken.append(ended)
        self._waiting_spans -= count
        return taken
