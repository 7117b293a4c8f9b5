"""Sessions of browsers at the console: a random id in a cookie, everything else here, bounded in time and number."""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from aiohttp import web

from gateway.admin.access import Caller

# A working day; then the operator signs in again.
LIFE_S: Final = 8 * 3600.0
# The oldest session ends where there are more.
MAX_SESSIONS: Final = 1000
COOKIE: Final = "peakgate-console"
CSRF_HEADER: Final = "X-CSRF-Token"
_BYTES: Final = 32


@dataclass(frozen=True)
class Session:
    """A browser that has signed in; `csrf` proves that an act is from its page. `expires_at` in Unix seconds."""

    caller: Caller
    csrf: str
    expires_at: float

    def has_csrf_token(self, request: web.Request) -> bool:
        """Whether the request has the token of this session's pages."""
        return hmac.compare_digest(request.headers.get(CSRF_HEADER, "").encode(), self.csrf.encode())


class Sessions:
    """All sessions of the control process. They end with it, and with a sign-out at once.

    Ids are stored as digests, so that the memory of the process holds no cookie.
    """

    def __init__(self, *, now: Callable[[], float] = time.time, life_s: float = LIFE_S) -> None:
        self._now = now
        self._life_s = life_s
        self._by_digest: dict[bytes, Session] = {}

    def begin(self, caller: Caller) -> tuple[str, Session]:
        """A new session, and the id for its cookie."""
        session_id = secrets.token_urlsafe(_BYTES)
        session = Session(caller, secrets.token_urlsafe(_BYTES), self._now() + self._life_s)
        self._by_digest[_digest(session_id)] = session
        if len(self._by_digest) > MAX_SESSIONS:
            del self._by_digest[next(iter(self._by_digest))]
        return session_id, session

    def of(self, request: web.Request) -> Session | None:
        """The session of a request's cookie, None if there is none or its time is over."""
        digest = _digest(request.cookies.get(COOKIE, ""))
        session = self._by_digest.get(digest)
        if session is not None and session.expires_at <= self._now():
            del self._by_digest[digest]
            return None
        return session

    def end(self, request: web.Request) -> None:
        """Sign the browser out."""
        self._by_digest.pop(_digest(request.cookies.get(COOKIE, "")), None)


def _digest(session_id: str) -> bytes:
    return sha256(session_id.encode(errors="replace")).digest()
