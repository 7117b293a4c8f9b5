"""Access to the admin API: operators act, and viewers only read."""

from __future__ import annotations

import base64
import binascii
import hmac
from dataclasses import dataclass
from typing import Final, Literal

from aiohttp import web

from gateway.admin.responses import Problem

Role = Literal["viewer", "operator"]
READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
# Reads that give personal data need an operator.
_PERSONAL: Final = "personal"


@dataclass(frozen=True)
class Caller:
    """The author of a request: a name for the audit log, and the role."""

    name: str
    role: Role


_CALLER: Final = web.RequestKey("caller", Caller)
OPERATOR: Final = Caller("admin token", "operator")
VIEWER: Final = Caller("viewer token", "viewer")


def caller_of(request: web.Request) -> Caller:
    """The caller of a request that was let in; the operator's token unless it was identified otherwise."""
    caller: Caller = request.get(_CALLER, OPERATOR)
    return caller


@dataclass(frozen=True)
class Access:
    """Identifies callers. There is no viewer's token where it is empty."""

    operator_token: str
    viewer_token: str = ""

    def admit(self, request: web.Request) -> None:
        """Let a caller in who may do this. Raises `Problem`: 401 for one who is unknown, 403 for a viewer who acts."""
        caller = self._caller(request)
        if caller is None:
            raise _unauthenticated()
        request[_CALLER] = caller
        if caller.role != "operator" and (request.method not in READING or _PERSONAL in request.query):
            raise Problem(
                403,
                "operator-required",
                "Operator required",
                detail="A viewer reads what has no personal data; this needs the role of an operator.",
            )

    def _caller(self, request: web.Request) -> Caller | None:
        if has_token(request, self.operator_token):
            return OPERATOR
        if self.viewer_token and has_token(request, self.viewer_token):
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
