"""`traceparent` and `tracestate` of a forwarded request (W3C Trace Context)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from primitives.tracing.context import is_trace_state, parse_traceparent
from primitives.tracing.spans import Span

_LEADING_ONE: Final = 1 << 32
# Sampled and random; other flags are set to 0 (3.2.2.5).
_KNOWN_FLAGS: Final = 0x03
_FLAGS: Final[dict[str, str]] = {f"{flags:02x}": f"{flags & _KNOWN_FLAGS:02x}" for flags in range(256)}


class TraceContext:
    """Continues the trace of a request with a span of the gateway, or starts one that ends in the request id."""

    __slots__ = ("_process", "_span", "_trace")

    def __init__(self, random_bytes: Callable[[int], bytes], trace_prefix: str) -> None:
        # Span ids: eight random digits of this process, then a count.
        self._process = random_bytes(4).hex()
        self._trace = trace_prefix or random_bytes(8).hex()
        self._span = 0

    def lines(self, request_id: str, fields: Mapping[str, str], call: Span | None = None) -> str:
        """The finished lines, with `X-Request-Id`. A valid `tracestate` is passed on with a valid `traceparent` only.

        `call` is the span of the call, if it is recorded.
        """
        if call is not None:
            state = fields.get("tracestate")
            has_state = state and call.trace.is_continued and is_trace_state(state)
            state_line = f"tracestate: {state}\r\n" if has_state else ""
            return f"X-Request-Id: {request_id}\r\ntraceparent: {call.traceparent}\r\n{state_line}"
        self._span = (self._span + 1) & 0xFFFFFFFF
        # `hex` with a leading one, cut off: compiled code renders `:08x` through the slow `format`.
        span = self._process + hex(_LEADING_ONE + self._span)[3:]
        parent = fields.get("traceparent")
        if parent is not None:
            found = parse_traceparent(parent)
            if found is not None:
                state = fields.get("tracestate")
                state_line = f"tracestate: {state}\r\n" if state and is_trace_state(state) else ""
                flags = _FLAGS[found.flags]
                return f"X-Request-Id: {request_id}\r\ntraceparent: 00-{found.trace_id}-{span}-{flags}\r\n{state_line}"
        trace = request_id if len(request_id) == 32 else self._trace + request_id[:16].rjust(16, "0")
        return f"X-Request-Id: {request_id}\r\ntraceparent: 00-{trace}-{span}-00\r\n"
