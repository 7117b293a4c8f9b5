"""The response of an exception that a handler or layer raised.

Not a layer, because that would add a coroutine to every hot handler.
"""

from __future__ import annotations

import logging

from gateway.http import problems
from gateway.http.message import Request, Response

_log = logging.getLogger("peakgate")


def error_response(error: BaseException, request: Request) -> Response:
    """The response of the problem of this error, or a logged 500 if it has none."""
    problem = problems.of_error(error)
    if problem is None:
        _log.exception("%s %s failed (request %s)", request.method, request.path, request.id, exc_info=error)
        return problems.response(problems.INTERNAL, request.id)
    return problems.response(problem, request.id, problem.members(error))
