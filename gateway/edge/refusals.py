"""Turn what a handler raises into the answer its row on the page of problems gives."""

from __future__ import annotations

import logging

from gateway import problems
from gateway.http import Handler, Request, Response

_log = logging.getLogger("peakgate")


def refusals(handler: Handler) -> Handler:
    """Answer every error: a refusal with its problem, anything else with a logged 500."""

    async def guarded(request: Request) -> Response:
        try:
            return await handler(request)
        except Exception as error:  # noqa: BLE001 - whatever it is, the shopper gets an answer and we get a log
            return answer(error, request)

    return guarded


def answer(error: Exception, request: Request) -> Response:
    """The answer to an error that came out of a handler."""
    problem = problems.of_error(error)
    if problem is None:
        _log.exception("%s %s failed (request %s)", request.method, request.path, request.id, exc_info=error)
        return problems.refuse(problems.INTERNAL, request.id)
    return problems.refuse(problem, request.id, problem.members(error))
