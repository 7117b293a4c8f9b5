"""Routes of the sign-in: its page, the token's form, OpenID Connect, the session, and the sign-out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cache
from html import escape
from importlib import resources
from typing import Final

from aiohttp import web

from gateway.admin.access import Access, Caller, caller_of, note_caller
from gateway.admin.act_log import mark_recorded
from gateway.admin.acts.audit_log import AuditLog
from gateway.admin.responses import HEADERS, Problem, json_response
from gateway.admin.sign_in.oidc import PENDING_S, IssuerUnavailable, OidcClient, SignInFailed
from gateway.admin.sign_in.sessions import COOKIE, LIFE_S, Sessions

_log = logging.getLogger("peakgate")

SIGN_IN: Final = "/console/sign-in"
_CALLBACK: Final = "/console/callback"
_BINDING_COOKIE: Final = "peakgate-sign-in"
_POLICY: Final = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_PAGE_HEADERS: Final = {**HEADERS, "Content-Security-Policy": _POLICY}


class SignInRoutes:
    """The routes. Without an `oidc` client only the token signs in."""

    def __init__(self, access: Access, sessions: Sessions, oidc: OidcClient | None, audit_log: AuditLog) -> None:
        self._audit_log = audit_log
        self._access = access
        self._sessions = sessions
        self._oidc = oidc

    def routes(self) -> Sequence[web.RouteDef]:
        """For `web.Application`."""
        return (
            web.get(SIGN_IN, self._page),
            web.post(SIGN_IN, self._by_token),
            web.get(f"{SIGN_IN}/oidc", self._begin),
            web.get(_CALLBACK, self._finish),
            web.post("/console/sign-out", self._sign_out),
            web.get("/admin/v1/session", self._session),
        )

    async def _page(self, _request: web.Request) -> web.Response:
        return self._sign_in_page(200)

    async def _by_token(self, request: web.Request) -> web.Response:
        if request.headers.get("Sec-Fetch-Site", "same-origin") not in {"same-origin", "none"}:
            return self._sign_in_page(403, "The form was sent by another site.")
        form = await request.post()
        token = form.get("token")
        caller = self._access.caller_with(token.strip()) if isinstance(token, str) else None
        if caller is None:
            return self._sign_in_page(401, "This is not the token.")
        response = web.Response(status=303, headers={**_PAGE_HEADERS, "Location": "/"})
        self._begin_session(request, response, caller)
        return response

    async def _begin(self, request: web.Request) -> web.Response:
        if self._oidc is None:
            raise web.HTTPNotFound
        try:
            url, binding = await self._oidc.begin()
        except SignInFailed as error:
            return self._failed(request, error)
        response = web.Response(status=303, headers={**_PAGE_HEADERS, "Location": url})
        # Lax: the issuer's redirect comes from another site and must have it.
        response.set_cookie(
            _BINDING_COOKIE,
            binding,
            max_age=round(PENDING_S),
            path=_CALLBACK,
            httponly=True,
            samesite="Lax",
            secure=self._oidc.oidc.is_secure,
        )
        return response

    async def _finish(self, request: web.Request) -> web.Response:
        if self._oidc is None:
            raise web.HTTPNotFound
        try:
            caller = await self._oidc.finish(request.query, request.cookies.get(_BINDING_COOKIE, ""))
        except SignInFailed as error:
            return self._failed(request, error)
        # A page and no redirect: browsers do not send a strict cookie along a redirect that another site began.
        response = web.Response(text=_text("signed_in.html"), content_type="text/html", headers=_PAGE_HEADERS)
        response.del_cookie(_BINDING_COOKIE, path=_CALLBACK)
        self._begin_session(request, response, caller)
        return response

    async def _sign_out(self, request: web.Request) -> web.Response:
        self._sessions.end(request)
        response = json_response(200, {"signed_in": False})
        response.del_cookie(COOKIE, path="/")
        return response

    async def _session(self, request: web.Request) -> web.Response:
        """Who reads the page. Only a session, or a bearer token, acts; `csrf` is for acts of a session."""
        session = self._sessions.of(request)
        caller = caller_of(request)
        return json_response(
            200,
            {
                "name": caller.name,
                "role": caller.role,
                "signed_in": session is not None,
                "expires_at": session.expires_at if session is not None else None,
                "csrf": session.csrf if session is not None else None,
            },
        )

    def _begin_session(self, request: web.Request, response: web.Response, caller: Caller) -> None:
        session_id, session = self._sessions.begin(caller)
        note_caller(request, caller)
        self._audit_log.append(
            at=session.expires_at - LIFE_S,
            who=caller.name,
            address=request.remote,
            act="sign-in",
            result={"role": caller.role},
        )
        mark_recorded(request)
        # A client that lies about the scheme loses only its own cookie.
        is_secure = request.headers.get("X-Forwarded-Proto") == "https"
        if self._oidc is not None:
            is_secure = is_secure or self._oidc.oidc.is_secure
        response.set_cookie(
            COOKIE, session_id, max_age=round(LIFE_S), path="/", httponly=True, samesite="Strict", secure=is_secure
        )
        _log.info("admin: %s has signed in as %s from %s", caller.name, caller.role, request.remote)

    def _failed(self, request: web.Request, error: SignInFailed) -> web.Response:
        _log.warning("admin: a sign-in from %s has failed: %s", request.remote, error)
        status = 503 if isinstance(error, IssuerUnavailable) else 403
        return self._sign_in_page(status, f"The sign-in has failed: {error}.")

    def _sign_in_page(self, status: int, message: str = "") -> web.Response:
        oidc = "" if self._oidc is None else _text("oidc_link.html").replace("{issuer}", escape(self._oidc.oidc.issuer))
        alert = f'<p class="alarm" role="alert">{escape(message)}</p>' if message else ""
        page = _text("sign_in.html").replace("{oidc}", oidc).replace("{message}", alert)
        return web.Response(status=status, text=page, content_type="text/html", headers=_PAGE_HEADERS)


def sign_in_instead(request: web.Request, problem: Problem) -> web.Response | None:
    """The way to the sign-in for a browser that opens the console and is not signed in; None for other requests."""
    is_browser = request.method == "GET" and "text/html" in request.headers.get("Accept", "")
    if problem.status != 401 or request.path != "/" or not is_browser or "Authorization" in request.headers:
        return None
    return web.Response(status=303, headers={**_PAGE_HEADERS, "Location": SIGN_IN})


@cache
def _text(name: str) -> str:
    return resources.files(__package__).joinpath("page", name).read_text(encoding="utf-8")
