"""Requests as units of work."""

from __future__ import annotations

from gateway.http.message import Handler, Request, Response, ResponseOrAwaitable
from primitives.unit_of_work import in_context, unit_context


def run_unit(handler: Handler, request: Request) -> ResponseOrAwaitable:
    """Call a handler as a unit of work of its own."""
    context = unit_context()
    outcome = context.run(handler, request)
    return outcome if isinstance(outcome, Response) else in_context(context, outcome)
