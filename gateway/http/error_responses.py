"""Turn an exception of the pipeline into the response of its row on the page of problems.

Not a layer: both ways through the server end here, which spares hot handlers a coroutine each.
"""

from __future__ import annotations

import logging

from gateway.http import problems
from gateway.http.message import Request, Response

_log = logging.getLogger("peakgate")


def answer(error: BaseException, request: Request) -> Response:
    """The answer to a refusal, or a logged 500 to any other error."""
    problem = problems.of_error(error)
    if problem is None:
        _log.exception("%s %s failed (request %s)", request.method, request.path, request.id, exc_info=error)
        return problems.response(problems.INTERNAL, request.id)
    return problems.response(problem, request.id, problem.members(error))
