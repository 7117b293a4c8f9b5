"""Access to the admin API: operators act, and viewers only read."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from aiohttp import web

from gateway.admin.responses import Problem

Role = Literal["viewer", "operator"]
READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
# Reads that give personal data need an operator.
_PERSONAL: Final = "personal"
# Pages of the sign-in, and their style.
_PUBLIC: Final = frozenset(
    {
        "/console/sign-in",
        "/console/sign-in/oidc",
        "/console/callback",
        "/console/console.css",
        "/console/acts.css",
        "/console/icon.svg",
    }
)
# Calls that a viewer makes too, although they change something: the session of their own.
_OF_EVERY_CALLER: Final = frozenset({"/console/sign-out"})


@dataclass(frozen=True)
class Caller:
    """The author of a request: a name for the audit log, and the role."""

    name: str
    role: Role


_CALLER: Final = web.RequestKey("caller", Caller)
OPERATOR: Final = Caller("admin token", "operator")
VIEWER: Final = Caller("viewer token", "viewer")
NOBODY: Final = Caller("nobody", "viewer")


def caller_of(request: web.Request) -> Caller:
    """The caller of a request; `NOBODY` before it was identified."""
    caller: Caller = request.get(_CALLER, NOBODY)
    return caller


def note_caller(request: web.Request, caller: Caller) -> None:
    """Set the caller of a request."""
    request[_CALLER] = caller


class Session(Protocol):
    """A browser that has signed in; see `gateway.admin.sign_in.sessions`."""

    @property
    def caller(self) -> Caller:
        """Who has signed in."""
        ...

    def has_csrf_token(self, request: web.Request) -> bool:
        """Whether the request is from a page of this session."""
        ...


@dataclass(frozen=True)
class Access:
    """Identifies callers: by token, and by `session_of` their cookie. There is no viewer's token where it is empty."""

    operator_token: str
    viewer_token: str = ""
    session_of: Callable[[web.Request], Session | None] = lambda _request: None

    def admit(self, request: web.Request) -> None:
        """Let a caller in who may do this. Raises `Problem`: 401 for one who is unknown, 403 for a viewer who acts."""
        if request.method in {"GET", "HEAD", "POST"} and request.path in _PUBLIC:
            return
        caller = self._caller(request)
        if caller is None:
            raise _unauthenticated()
        note_caller(request, caller)
        if request.path in _OF_EVERY_CALLER:
            return
        if caller.role != "operator" and (request.method not in READING or _PERSONAL in request.query):
            raise Problem(
                403,
                "operator-required",
                "Operator required",
                detail="A viewer reads what has no personal data; this needs the role of an operator.",
            )

    def may_read(self, request: web.Request) -> bool:
        """Whether a reader that was let in would be so again: their session may have ended."""
        return self._caller(request) is not None

    def _caller(self, request: web.Request) -> Caller | None:
        if has_token(request, self.operator_token):
            return OPERATOR
        if self.viewer_token and has_token(request, self.viewer_token):
            return VIEWER
        session = None if "Authorization" in request.headers else self.session_of(request)
        if session is None:
            return None
        # Another site can have a browser send its cookie, and cannot read the token of its pages (CSRF).
        if request.method not in READING and not session.has_csrf_token(request):
            raise Problem(
                403,
                "csrf-token-missing",
                "CSRF token missing",
                detail="Send the `csrf` of /admin/v1/session as X-CSRF-Token, or the token as a bearer.",
            )
        return session.caller

    def caller_with(self, token: str) -> Caller | None:
        """The caller who has this token, None for another one."""
        given = token.encode(errors="replace")
        if hmac.compare_digest(given, self.operator_token.encode()):
            return OPERATOR
        if self.viewer_token and hmac.compare_digest(given, self.viewer_token.encode()):
            return VIEWER
        return None


def _unauthenticated() -> Problem:
    return Problem(
        401,
        "unauthenticated",
        "Unauthorized",
        detail="Send the admin token as `Authorization: Bearer <token>`. Browsers may send it as a Basic password, for GET only.",
    )


def has_token(request: web.Request, token: str) -> bool:
    """Whether the request has this token: as a bearer, or, for reading, as a Basic password."""
    scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
    given = credentials.strip()
    # Browsers attach a Basic password to requests that other sites cause (CSRF), so it only reads.
    if scheme.lower() == "basic" and request.method in {"GET", "HEAD"}:
        given = _password(given)
    elif scheme.lower() != "bearer":
        return False
    return hmac.compare_digest(given.encode(errors="replace"), token.encode())


def _password(credentials: str) -> str:
    """The password of Basic credentials (RFC 7617); empty if they are malformed."""
    try:
        return base64.b64decode(credentials, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return ""
