"""Spans of the running code, as plain tuples; none is made where the running code belongs to no trace.

`span` opens a child of the span that is open in the current context. Ended spans are tuples in the list of their trace.
Another process makes OpenTelemetry's objects of them (`gateway/admin/otlp.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from types import TracebackType
from typing import Final, Self

# The kinds of OpenTelemetry's protocol.
INTERNAL: Final = 1
SERVER: Final = 2
CLIENT: Final = 3
PRODUCER: Final = 4
CONSUMER: Final = 5
# More spans of one trace in one process are counted and dropped.
MAX_SPANS: Final = 128

Value = str | int | float | bool
# Id, id of the parent (0 without one), name, kind, begin and end in Unix nanoseconds, attributes, type of the error or "".
SpanTuple = tuple[int, int, str, int, int, int, dict[str, Value], str]


class Trace:
    """The spans of one trace in one process. `clock_ns` never steps; `unix_ns` is the time now."""

    __slots__ = (
        "_clock_ns",
        "_offset_ns",
        "_span_id",
        "dropped",
        "is_continued",
        "is_ended",
        "spans",
        "state",
        "trace_id",
    )

    def __init__(  # noqa: PLR0917 - one per sampled request
        self,
        trace_id: str,
        is_continued: bool,
        state: str,
        clock_ns: Callable[[], int],
        unix_ns: int,
        span_id: Callable[[], int],
    ) -> None:
        self.trace_id = trace_id
        # Whether a caller began it, and the `tracestate` of that one.
        self.is_continued = is_continued
        self.state = state
        self.spans: list[SpanTuple] = []
        self.dropped = 0
        self.is_ended = False
        self._clock_ns = clock_ns
        self._offset_ns = unix_ns - clock_ns()
        self._span_id = span_id

    def now_ns(self) -> int:
        """Unix nanoseconds. They go on evenly from the begin of the trace, also where the wall clock steps."""
        return self._clock_ns() + self._offset_ns

    def new_id(self) -> int:
        """An id for a span, never 0."""
        return self._span_id()

    def add(self, span: SpanTuple) -> None:
        """Record an ended span. One that ends after the trace has is dropped: it has been handed on."""
        if self.is_ended:
            return
        if len(self.spans) >= MAX_SPANS:
            self.dropped += 1
        else:
            self.spans.append(span)


class Span:
    """An open span. As a context it is the parent of the spans that the block opens, and ends with the block."""

    __slots__ = ("_before", "_began_at_ns", "attributes", "error", "id", "kind", "name", "parent_id", "trace")

    def __init__(self, trace: Trace, parent_id: int, name: str, kind: int, attributes: dict[str, Value] | None) -> None:
        self.trace = trace
        self.id = trace.new_id()
        self.name = name
        self.kind = kind
        self.attributes: dict[str, Value] = {} if attributes is None else attributes
        self.error = ""
        self.parent_id = parent_id
        self._began_at_ns = trace.now_ns()
        self._before: Span | None = None

    @property
    def trace_id(self) -> str:
        """The id of its trace, 32 hex digits."""
        return self.trace.trace_id

    @property
    def span_id(self) -> str:
        """Its id, 16 hex digits."""
        return f"{self.id:016x}"

    @property
    def traceparent(self) -> str:
        """The `traceparent` of calls that it makes."""
        return f"00-{self.trace.trace_id}-{self.id:016x}-01"

    def set(self, name: str, value: Value) -> None:
        """Set an attribute."""
        self.attributes[name] = value

    def fail(self, error: str) -> None:
        """The work has failed, with an error of this type; never with its text, which may be personal."""
        self.error = error

    def end(self) -> None:
        """Record it."""
        self.trace.add(self.ended())

    def ended(self, began_at_ns: int | None = None) -> SpanTuple:
        """It, as it would be recorded if it ended now."""
        began = self._began_at_ns if began_at_ns is None else began_at_ns
        return self.id, self.parent_id, self.name, self.kind, began, self.trace.now_ns(), self.attributes, self.error

    def __enter__(self) -> Self:
        self._before = _current.get()
        _current.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        # Not `reset`: an abandoned coroutine may be closed in another context.
        _current.set(self._before)
        if kind is not None and not self.error:
            self.error = kind.__name__
        self.end()


class NoSpan:
    """Takes the place of a span outside of any trace: does nothing."""

    __slots__ = ()

    def set(self, name: str, value: Value) -> None:
        """See `Span.set`."""

    def fail(self, error: str) -> None:
        """See `Span.fail`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass


_current: Final[ContextVar[Span | None]] = ContextVar("span", default=None)
_NO_SPAN: Final = NoSpan()


def current_span() -> Span | None:
    """The span that is open in this context; None outside of a trace, and after its end."""
    span = _current.get()
    return None if span is None or span.trace.is_ended else span


def enter(span: Span | None) -> None:
    """Make it the open span of this context."""
    _current.set(span)


def span(name: str, kind: int = INTERNAL, attributes: dict[str, Value] | None = None) -> Span | NoSpan:
    """A child of the open span, as a context; one that does nothing outside of a trace."""
    parent = _current.get()
    if parent is None or parent.trace.is_ended:
        return _NO_SPAN
    return Span(parent.trace, parent.id, name, kind, attributes)


def child_of_open(name: str, kind: int, attributes: dict[str, Value] | None = None) -> Span | None:
    """A child of the open span that its maker ends by `end`; None outside of a trace. It is nobody's parent."""
    parent = _current.get()
    if parent is None or parent.trace.is_ended:
        return None
    return Span(parent.trace, parent.id, name, kind, attributes)


def outgoing_context() -> dict[str, str]:
    """The header fields that carry the open span to a service; none outside of a trace."""
    open_span = current_span()
    if open_span is None:
        return {}
    state = open_span.trace.state
    return {"traceparent": open_span.traceparent, **({"tracestate": state} if state else {})}
