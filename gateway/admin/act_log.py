"""The log of operators' acts: who has asked for what, from where, and the result."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import orjson
from aiohttp import web

from cart.ids import parse_order_id
from checkout.order_number import order_number
from gateway.admin.acts.audit_log import AuditLog

_log = logging.getLogger("peakgate")

_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_PREFIX: Final = "/admin/v1/"
_ORDER: Final = re.compile(r"^orders/([^/]*)/")
_ARGUMENTS: Final = web.RequestKey("arguments", dict[str, Any])
_IS_RECORDED: Final = web.RequestKey("is_recorded", bool)
# Members of a response that say what became of an act.
_RESULTS: Final = ("outcome", "changed", "purged", "redelivered", "done", "left", "type", "errors", "detail")
# Acts without the token are logged at most this often: they may be many.
DENIED_EVERY_S: Final = 10.0

AdminHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def note_arguments(request: web.Request, arguments: Mapping[str, Any]) -> None:
    """Remember the decoded arguments of an act for its line; those that are None were not given."""
    request[_ARGUMENTS] = {name: value for name, value in arguments.items() if value is not None}


def mark_recorded(request: web.Request) -> None:
    """Note that the act of a request is in the audit log already, with the settings before and after it."""
    request[_IS_RECORDED] = True


class ActLog:
    """Logs each request of the admin API that may change something, and records it in the audit log.

    `log` is the middleware, the outermost one. `operator` gives the name of a request's author.
    """

    def __init__(
        self,
        audit_log: AuditLog,
        operator: Callable[[web.Request], str],
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._audit_log = audit_log
        self._operator = operator
        self._clock = clock
        self._now = now
        self._denied = 0
        self._denied_logged_at = -DENIED_EVERY_S

    @property
    def middleware(self) -> Any:
        """For `web.Application`."""

        @web.middleware
        async def log(request: web.Request, handler: AdminHandler) -> web.StreamResponse:
            response = await handler(request)
            if request.method not in _READING:
                self._log(request, response)
            return response

        return log

    def _log(self, request: web.Request, response: web.StreamResponse) -> None:
        act = _act_of(request.path)
        if response.status == 401:
            self._log_denied(act, request)
            return
        arguments, result = request.get(_ARGUMENTS), _result_of(response)
        given = f" {_json(arguments)}" if arguments else ""
        operator = self._operator(request)
        if not request.get(_IS_RECORDED):
            self._audit_log.append(
                at=self._now(),
                who=operator,
                address=request.remote,
                act=act,
                status=response.status,
                arguments=arguments or {},
                result=result,
            )
        _log.log(
            logging.INFO if response.status < 400 else logging.WARNING,
            "admin: %s%s by %s from %s: %d %s",
            act,
            given,
            operator,
            request.remote,
            response.status,
            _json(result),
            extra={
                "facts": {
                    "act": act,
                    "arguments": _json(arguments or {}),
                    "operator": operator,
                    "address": request.remote,
                    "status": response.status,
                    "result": _json(result),
                }
            },
        )

    def _log_denied(self, act: str, request: web.Request) -> None:
        self._denied += 1
        now = self._clock()
        if now - self._denied_logged_at < DENIED_EVERY_S:
            return
        self._denied_logged_at = now
        _log.warning(
            "admin: %s without the admin token from %s: 401; %d such requests since the start",
            act,
            request.remote,
            self._denied,
            extra={"facts": {"act": act, "operator": None, "address": request.remote, "status": 401}},
        )


def _act_of(path: str) -> str:
    """The path without its prefix, and with the number of an order for its id, with which the order can be read."""

    def numbered(found: re.Match[str]) -> str:
        order_id = parse_order_id(found[1])
        return f"orders/{order_number(order_id) if order_id is not None else '-'}/"

    return _ORDER.sub(numbered, path.removeprefix(_PREFIX))


def _result_of(response: web.StreamResponse) -> dict[str, Any]:
    """The members of a JSON response that give the result of the act, and the workers that failed."""
    body = response.body if isinstance(response, web.Response) else None
    try:
        members = orjson.loads(body if isinstance(body, bytes) else b"{}")
    except orjson.JSONDecodeError:
        return {}
    if not isinstance(members, dict):
        return {}
    result = {name: members[name] for name in _RESULTS if members.get(name)}
    workers = members.get("workers")
    if isinstance(workers, dict) and (failed := _failed(workers)):
        result["failed_workers"] = failed
    return result


def _failed(workers: dict[str, Any]) -> dict[str, str]:
    errors = {name: each.get("error") if isinstance(each, dict) else each for name, each in workers.items()}
    return {name: str(error) for name, error in errors.items() if error}


def _json(value: Any) -> str:
    return orjson.dumps(value, default=str).decode()
