"""The command by which the control process fetches the traces of a worker."""

from __future__ import annotations

from typing import Any

from gateway.control.commands import Command
from primitives.tracing.tracer import Tracer


def traces_of(tracer: Tracer) -> Command:
    """The command that takes the ended traces with up to `max_spans` spans, `[trace id, tracestate, spans]` each."""

    async def traces(arguments: dict[str, Any]) -> Any:
        return list(tracer.take(arguments["max_spans"]))

    return traces
