"""The traces that the control process has seen last, for questions about one request."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from primitives.tracing.spans import SpanTuple
from primitives.tracing.tracer import EndedTrace

MAX_TRACES: Final = 1_000
# More spans of one trace are not kept: an order may be retried for long.
MAX_SPANS: Final = 256
_KINDS: Final = {1: "internal", 2: "server", 3: "client", 4: "producer", 5: "consumer"}
# The length of the ids of requests that begin a trace, whose id ends in theirs.
_OWN_ID_LENGTH: Final = 16


class RecentTraces:
    """The spans of the last `max_traces` traces; the one that was added to longest ago goes first."""

    def __init__(self, *, max_traces: int = MAX_TRACES) -> None:
        self._max_traces = max_traces
        self._spans: OrderedDict[str, list[SpanTuple]] = OrderedDict()

    def add(self, traces: Iterable[EndedTrace]) -> None:
        """Add the spans of traces, of which others may be known."""
        for trace_id, _state, spans in traces:
            known = self._spans.setdefault(trace_id, [])
            known += spans[: MAX_SPANS - len(known)]
            self._spans.move_to_end(trace_id)
        while len(self._spans) > self._max_traces:
            self._spans.popitem(last=False)

    def find(self, request_or_trace_id: str) -> Mapping[str, Any] | None:
        """`{"trace_id", "spans"}` of a trace, by its id or that of its request; None if it is not known. Spans by their begin.

        A span has `span_id`, `parent_id` (null without one), `name`, `kind`, `start` (Unix seconds), `duration_ms`,
        `attributes` and `error` (null without one).
        """
        trace_id = self._trace_id(request_or_trace_id)
        if trace_id is None:
            return None
        spans = sorted(self._spans[trace_id], key=lambda span: span[4])
        return {"trace_id": trace_id, "spans": [_as_json(span) for span in spans]}

    def _trace_id(self, wanted: str) -> str | None:
        if wanted in self._spans:
            return wanted
        if len(wanted) != _OWN_ID_LENGTH:
            return None
        return next((trace_id for trace_id in reversed(self._spans) if trace_id.endswith(wanted)), None)

    def newest(self, limit: int) -> Sequence[str]:
        """The ids of the traces that were added to last, the latest first."""
        return [trace_id for trace_id, _ in zip(reversed(self._spans), range(limit), strict=False)]


def _as_json(span: SpanTuple) -> Mapping[str, Any]:
    span_id, parent_id, name, kind, began_at_ns, ended_at_ns, attributes, error = span
    return {
        "span_id": f"{span_id:016x}",
        "parent_id": f"{parent_id:016x}" if parent_id else None,
        "name": name,
        "kind": _KINDS[kind],
        "start": began_at_ns / 1e9,
        "duration_ms": (ended_at_ns - began_at_ns) / 1e6,
        "attributes": attributes,
        "error": error or None,
    }
