"""The response of an exception that a handler or layer raised.

Not a layer, because that would add a coroutine to every hot handler.
"""

from __future__ import annotations

import logging

from gateway.http import problems
from gateway.http.contained import FAILURES
from gateway.http.message import SAFE_METHODS, Request, Response

_log = logging.getLogger("peakgate")


def error_response(error: BaseException, request: Request, route: str) -> Response:
    """The response of the problem of this error, or a logged 500 if it has none. Never raises.

    `route` is the path template: it is logged in place of the path, because the id of a cart is a secret.
    """
    try:
        return _response(error, request, route)
    except Exception as fault:  # noqa: BLE001 - the client must get a response
        FAILURES.add("the response to an error", fault)
        return problems.response(problems.INTERNAL, request.id)


def _response(error: BaseException, request: Request, route: str) -> Response:
    problem = problems.of_error(error)
    if problem is None:
        _log.error("%s %s failed (request %s)", request.method, route, request.id, exc_info=error)
        return problems.response(problems.INTERNAL, request.id)
    members = problem.members(error)
    if problems.MAY_HAVE_RUN in members and request.method in SAFE_METHODS:
        members = {}  # a read changes nothing
    return problems.response(problem, request.id, members)
