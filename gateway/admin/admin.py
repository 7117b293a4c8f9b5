"""The admin API: routes, authentication and problems. docs/admin.md is its manual."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from aiohttp import web
from msgspec import Struct

from gateway.admin.access import Access, caller_of, has_token
from gateway.admin.act_log import ActLog, AdminHandler
from gateway.admin.acts.act_routes import ActRoutes
from gateway.admin.acts.audit_log import AuditLog
from gateway.admin.acts.manual import ManualSettings
from gateway.admin.console.routes import ConsoleRoutes
from gateway.admin.console.sampler import Sampler
from gateway.admin.coupon_routes import CouponRoutes
from gateway.admin.metrics_page import metrics_page
from gateway.admin.order_routes import OrderRoutes
from gateway.admin.price_routes import PriceRoutes
from gateway.admin.privacy_routes import PrivacyRoutes
from gateway.admin.recent_traces import RecentTraces
from gateway.admin.responses import HEADERS, Problem, invalid, json_response, read_body
from gateway.admin.sign_in.oidc import OidcClient
from gateway.admin.sign_in.oidc_file import Oidc
from gateway.admin.sign_in.sessions import Sessions
from gateway.admin.sign_in.sign_in_routes import SignInRoutes, sign_in_instead
from gateway.admin.status import Status
from gateway.admin.status_page import status_page
from gateway.admin.stock_routes import StockRoutes
from gateway.admin.webhook_routes import WebhookRoutes
from gateway.admin.workers import NoReply, WorkerFailed, WorkerLacks, Workers
from gateway.cache.purge import parse_purge
from gateway.control.runtime_directory import RuntimeDirectory

_log = logging.getLogger("peakgate")

BODY_LIMIT: Final = 64 * 1024


class Purge(Struct, frozen=True, forbid_unknown_fields=True):
    """Removes responses from the caches by exactly one of the three; with `soft` it marks them stale instead."""

    url: str | None = None
    prefix: str | None = None
    tag: str | None = None
    soft: bool = False


@dataclass(frozen=True)
class Admin:
    """The API. `replace_workers` asks the supervisor to replace the workers one by one."""

    status: Status
    workers: Workers
    runtime: RuntimeDirectory
    token: str
    replace_workers: Callable[[], None]
    sampler: Sampler
    expose_metrics: bool = False
    # Reads the metrics and nothing else; there is none where it is empty.
    metrics_token: str = ""
    # Reads everything but personal data, and changes nothing.
    viewer_token: str = ""
    # Without a file in tests.
    audit_log: AuditLog = field(default_factory=lambda: AuditLog(None))
    now: Callable[[], float] = time.time
    # Sign-in by an issuer; None is by the tokens alone.
    oidc: Oidc | None = None

    @cached_property
    def settings(self) -> ManualSettings:
        """The settings that operators made by hand."""
        return ManualSettings(self._call_all, self.workers, self.runtime, self.audit_log, now=self.now)

    @cached_property
    def _access(self) -> Access:
        return Access(self.token, self.viewer_token, session_of=self._sessions.of)

    @cached_property
    def _sessions(self) -> Sessions:
        return Sessions(now=self.now)

    recent_traces: RecentTraces = field(default_factory=RecentTraces)

    def application(self) -> web.Application:
        """The aiohttp application."""
        acts = ActLog(self.audit_log, lambda request: caller_of(request).name)
        app = web.Application(
            middlewares=[acts.middleware, _problem_responses, self._check_token], client_max_size=BODY_LIMIT
        )
        app.add_routes(
            [
                *SignInRoutes(
                    self._access,
                    self._sessions,
                    None if self.oidc is None else OidcClient(self.oidc, now=self.now),
                    self.audit_log,
                ).routes(),
                *ConsoleRoutes(self.sampler, version=self.status.version, may_read=self._access.may_read).routes(),
                web.get("/plain", self._page),
                web.get("/metrics", self._metrics),
                web.get("/admin/v1/status", self._status),
                web.get("/admin/v1/traces/{id}", self._trace),
                web.post("/admin/v1/purge", self._purge),
                web.post("/admin/v1/workers/replace", self._replace),
                *ActRoutes(self.settings, self.status, self.audit_log, now=self.now).routes(),
                *OrderRoutes(self._call_any).routes(),
                *StockRoutes(self._call_any).routes(),
                *PriceRoutes(self._call_any).routes(),
                *CouponRoutes(self._call_any).routes(),
                *WebhookRoutes(self._call_any).routes(),
                *PrivacyRoutes(self._call_any).routes(),
            ]
        )
        return app

    # Authentication

    @web.middleware
    async def _check_token(self, request: web.Request, handler: AdminHandler) -> web.StreamResponse:
        reads_metrics = request.path == "/metrics" and request.method in {"GET", "HEAD"}
        if not (reads_metrics and self._may_read_metrics(request)):
            self._access.admit(request)
        return await handler(request)

    def _may_read_metrics(self, request: web.Request) -> bool:
        return self.expose_metrics or (bool(self.metrics_token) and has_token(request, self.metrics_token))

    # Reading

    async def _page(self, _request: web.Request) -> web.Response:
        page = status_page(await self.status.as_json())
        return web.Response(text=page, content_type="text/html", headers=HEADERS)

    async def _status(self, _request: web.Request) -> web.Response:
        return json_response(200, await self.status.as_json())

    async def _trace(self, request: web.Request) -> web.Response:
        trace = self.recent_traces.find(request.match_info["id"])
        if trace is None:
            raise Problem(
                404,
                "not-found",
                "Not found",
                detail="No trace of this id is known: it was not recorded, or others have come since.",
            )
        return json_response(200, trace)

    async def _metrics(self, request: web.Request) -> web.Response:
        gathered = await self.status.gather()
        page, content_type = metrics_page(self.status, gathered, accept=request.headers.get("Accept", ""))
        return web.Response(body=page, headers={**HEADERS, "Content-Type": content_type})

    # Changing

    async def _purge(self, request: web.Request) -> web.Response:
        purge = await read_body(request, Purge)
        selectors = {name: value for name in ("url", "prefix", "tag") if (value := getattr(purge, name)) is not None}
        try:
            parse_purge(**selectors)
        except ValueError as error:
            raise invalid(str(error)) from error
        results = await self._call_all("purge", **selectors, soft=purge.soft)
        return json_response(200, {"purged": sum(each.get("done", 0) for each in results.values()), "workers": results})

    async def _replace(self, _request: web.Request) -> web.Response:
        self.replace_workers()
        return json_response(
            202, {"detail": "The workers are replaced one by one; /admin/v1/status shows the progress."}
        )

    async def _call_any(self, command: str, **arguments: Any) -> Any:
        """The result of the first worker that replies. Raises `Problem`."""
        no_reply = "no worker runs"
        for worker in self.workers.all():
            try:
                return await self.workers.call(worker.name, command, timeout_s=self.workers.act_timeout_s, **arguments)
            except NoReply as error:
                no_reply = f"{worker.name} {error}"
            except WorkerFailed as error:
                raise Problem(_status_of([error]), "command-failed", "Command failed", detail=str(error)) from error
        raise NoReply(no_reply)

    async def _call_all(self, command: str, **arguments: Any) -> Mapping[str, Any]:
        """The result of each worker. Raises `Problem` if all of them failed."""
        replies = await self.workers.call_all(command, timeout_s=self.workers.act_timeout_s, **arguments)
        self.status.forget()
        errors = {worker: str(answer) for worker, answer in replies.items() if isinstance(answer, Exception)}
        if len(errors) == len(replies):
            raise Problem(
                _status_of(list(replies.values())),
                "command-failed",
                "Command failed",
                detail="No worker could run the command.",
                workers=errors,
            )
        return {
            worker: {"error": errors[worker]} if worker in errors else {"done": answer}
            for worker, answer in replies.items()
        }


def _status_of(replies: Sequence[Any]) -> int:
    """503 if the same command may succeed later."""
    return 422 if any(_is_refusal(answer) for answer in replies) else 503


def _is_refusal(answer: object) -> bool:
    return isinstance(answer, WorkerFailed) and not isinstance(answer, WorkerLacks)


@web.middleware
async def _problem_responses(request: web.Request, handler: AdminHandler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Problem as problem:
        return sign_in_instead(request, problem) or _problem(problem)
    except web.HTTPException as error:
        slug = error.reason.lower().replace(" ", "-")
        response = _problem(Problem(error.status, slug, error.reason))
        response.headers.update({name: error.headers[name] for name in ("Allow",) if name in error.headers})
        return response
    except NoReply as error:
        return _problem(Problem(503, "no-reply", "Worker not responding", detail=str(error)))
    except Exception:  # noqa: BLE001 - a fault of ours is a 500, and the API goes on
        _log.exception("the admin API failed at %s %s", request.method, request.path)
        return _problem(Problem(500, "internal-error", "Internal server error", detail="The error is in the log."))


def _problem(problem: Problem) -> web.Response:
    response = json_response(problem.status, problem.body)
    response.content_type = "application/problem+json"
    if problem.status == 401:
        response.headers.add("WWW-Authenticate", 'Bearer realm="peakgate"')
        response.headers.add("WWW-Authenticate", 'Basic realm="peakgate", charset="UTF-8"')
    return response
