"""One waiting room of a worker: reads passes and places, asks the store for admission, responds to clients that wait."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from gateway.config.policies import Room
from gateway.http import problems
from gateway.http.message import Request, Response, header
from gateway.http.negotiation import MAX_CHARACTERS, prefers_html
from gateway.http.page_set import PageSet
from gateway.http.refusal_pages import own_fields
from gateway.waitingroom.admission import RoomStatus, Visit, earliest_s, eta_s, retry_after_s, session_life_s
from gateway.waitingroom.cookies import cookie
from gateway.waitingroom.page import HTML, Waiting, page_of
from gateway.waitingroom.ports import RoomStore
from gateway.waitingroom.tokens import RoomTokens, Ticket
from primitives.bounded_map import BoundedMap
from primitives.futures import ignore_exception
from store import StoreError

TOKEN_HEADER: Final = "Waiting-Room-Token"  # noqa: S105 - the name of a field
# A place is valid for a day, if its client keeps asking.
PLACE_LIFE_S: Final = 86_400
# Passes whose signature was verified: some 400 bytes each, in two generations.
MAX_SESSIONS: Final = 20_000
# The part of a response that is degraded while the store is away.
DEGRADED: Final = "waiting-room"
# Seconds until a client asks again while the store is away.
UNKNOWN_RETRY_S: Final = 10
_RETRY_DETAIL: Final = f"Retry after the time in Retry-After, with the token in the header {TOKEN_HEADER}."
_DETAILS: Final = {
    "waiting": _RETRY_DETAIL,
    "sold_out": "The remaining stock is reserved for clients ahead in the queue. The place stays valid while it is polled, in case some stock is released.",
    "full": "The queue is full. Retry after the time in Retry-After.",
    "unknown": f"The position is unknown at the moment. {_RETRY_DETAIL}",
}
_NO_STORE: Final = header("Cache-Control", "no-store")
# The response with a pass is for its client alone; of several directives the stricter one holds (RFC 9111, 5.2.2.7).
_PRIVATE: Final = header("Cache-Control", "private")

Mark = Callable[[Request, str], None]


class Session:
    """An admitted client, known by one pass. Times are Unix seconds."""

    __slots__ = ("expires_at", "renew_at", "ticket")

    def __init__(self, ticket: Ticket, renew_at: float) -> None:
        self.ticket = ticket
        self.renew_at = renew_at
        self.expires_at: float = ticket.expires


class WaitingRoom:
    """One waiting room. `table` may be replaced at any time; while `is_enabled` is False, every request passes."""

    def __init__(
        self,
        table: Room,
        store: RoomStore,
        secret: bytes,
        *,
        pages: PageSet | None = None,
        secure_cookies: bool = False,
        now: Callable[[], float] = time.time,
        rng: Callable[[], float] = random.random,
    ) -> None:
        self.table = table
        self.store = store
        self.is_enabled = table.enabled
        self.status: RoomStatus | None = None
        self.responses = dict.fromkeys(("admitted", "waiting", "sold_out", "full", "unknown"), 0)
        self.pages = PageSet.shipped() if pages is None else pages
        self._secure_cookies = secure_cookies
        self._clock = now
        # Of the store's clock before this process's: places, passes and sessions are all on the clock of the store.
        self._ahead_s = 0.0
        self._rng = rng
        self._tokens = RoomTokens(table.name, secret)
        self._cookie = f"peakgate_{table.name}"
        self._cookie_start = f"{self._cookie}="
        self._sessions: BoundedMap[str, Session] = BoundedMap(2 * MAX_SESSIONS)

    def synchronise(self, store_time_s: float | None) -> None:
        """Set the clock of the room by that of the store, because gateways' clocks may differ or be set back."""
        if store_time_s is not None:
            self._ahead_s = store_time_s - self._clock()

    def _now(self) -> float:
        return self._clock() + self._ahead_s

    # Admitted clients

    def session_of(self, request: Request) -> Session | None:
        """The session of the request, None if it must ask for admission. Two look-ups for a pass that was verified before."""
        token = self._token_of(request)
        if token is None:
            return None
        now = self._clock() + self._ahead_s  # on the hot path, so without a call of `_now`
        session = self._sessions.get(token)
        if session is None:
            session = self._read_pass(token)
        if session is None:
            return None
        if now >= session.renew_at:
            if now >= session.expires_at:
                self._sessions.discard(token)
                return None
            self._renew(request, session, now)
        return session

    def _token_of(self, request: Request) -> str | None:
        headers = request.headers
        if (token := headers.get(TOKEN_HEADER)) is not None:
            return token
        cookies = headers.get("Cookie")
        return None if cookies is None else cookie(cookies, self._cookie_start)

    def _read_pass(self, token: str) -> Session | None:
        ticket = self._tokens.read(token)
        return self._remember(token, ticket) if ticket is not None and ticket.is_pass else None

    def _remember(self, token: str, ticket: Ticket) -> Session:
        issued_at = ticket.expires - session_life_s(self.table.session_s)
        session = Session(ticket, renew_at=issued_at + self.table.session_s / 4)
        self._sessions.put(token, session)
        return session

    def _renew(self, request: Request, session: Session, now: float) -> None:
        """Extend the session in the store, without waiting, and issue a new pass."""
        # A client that ignores the new pass continues with the old one here; another worker asks the store once it expires.
        session.renew_at = now + self.table.session_s / 4
        session.expires_at = now + session_life_s(self.table.session_s)
        _send(self.store.touch(self.table, session.ticket.place_id))
        self._issue(request, session.ticket, now)

    def _issue(self, request: Request, ticket: Ticket, now: float) -> Session:
        """Send the client a pass."""
        life_s = round(session_life_s(self.table.session_s))
        passed = Ticket(ticket.place_id, ticket.number, ticket.since, int(now) + life_s, is_pass=True)
        token = self._tokens.write(passed)
        request.extra_headers += self._set_cookie(request, token, life_s) + header(TOKEN_HEADER, token) + _PRIVATE
        return self._remember(token, passed)

    def mark_bought(self, session: Session) -> None:
        """The client of the session has ordered."""
        _send(self.store.bought(self.table, session.ticket.place_id))

    # Waiting clients

    async def request_admission(self, request: Request, mark: Mark) -> Session | Response:
        """The session of the client if it is admitted, else the response that makes it wait."""
        now = self._now()
        token = self._token_of(request)
        ticket = self._tokens.read(token) if token is not None else None
        # The session of an expired pass may have been extended by another worker; an expired place is gone.
        if ticket is not None and ticket.expires <= now - (PLACE_LIFE_S if ticket.is_pass else 0):
            ticket = None
        try:
            place_id = ticket.place_id if ticket is not None else None
            visit = await self.store.visit(self.table, place_id, secrets.token_urlsafe(12))
        except StoreError:
            # No client is admitted while the store cannot count; places stay valid.
            mark(request, DEGRADED)
            return self._respond("unknown", request, ticket, token, None)
        self.synchronise(visit.at_s)
        now = self._now()
        if visit.outcome == "full":
            return self._respond("full", request, None, None, None)
        if ticket is None or visit.place_id != ticket.place_id:
            ticket = Ticket(visit.place_id, visit.number, int(now), int(now) + PLACE_LIFE_S, is_pass=False)
            token = self._tokens.write(ticket)
        if visit.outcome == "admitted":
            self.responses["admitted"] += 1
            return self._issue(request, ticket, now)
        return self._respond("sold_out" if visit.is_sold_out else "waiting", request, ticket, token, visit)

    def _respond(
        self, outcome: str, request: Request, ticket: Ticket | None, token: str | None, visit: Visit | None
    ) -> Response:
        """The response to a client that is not admitted; `token` is its place, if it has one."""
        self.responses[outcome] += 1
        eta = eta_s(visit) if visit is not None and outcome == "waiting" else None
        reconnect_s = self.table.reconnect_s
        max_s = reconnect_s if visit is not None else min(reconnect_s, 3 * UNKNOWN_RETRY_S)
        # Without an estimate the client asks as if the rate were all that holds it up: a session may end at any time.
        expected_s = earliest_s(visit) if eta is None and visit is not None and outcome == "waiting" else eta
        retry_s = retry_after_s(expected_s, reconnect_s=max_s, chance=self._rng())
        header_block = header("Retry-After", retry_s)
        if ticket is not None and token is not None and visit is not None:
            header_block += self._set_cookie(request, token, PLACE_LIFE_S)
        if prefers_html(request.headers.get("Accept", "")[:MAX_CHARACTERS]):
            waiting = Waiting(
                ahead=visit.ahead if visit is not None else None,
                eta_s=eta,
                since=ticket.since if ticket is not None else None,
                now=int(self._now()),
                refresh_s=retry_s,
                reconnect_s=reconnect_s,
                sold_out=outcome == "sold_out",
                repeats=request.method in {"GET", "HEAD"},
            )
            return self._page(request, waiting, header_block)
        header_block += _NO_STORE
        members: dict[str, Any] = {
            "detail": _DETAILS[outcome],
            "position": visit.ahead + 1 if visit is not None else None,
            "eta_seconds": eta,
            "token": token if ticket is not None else None,
        }
        return problems.response(
            _problem(is_sold_out=outcome == "sold_out"), request.id, members, header_block=header_block
        )

    def _page(self, request: Request, waiting: Waiting, header_block: bytes) -> Response:
        accept_language = request.headers.get("Accept-Language")
        body, page_fields = page_of(waiting, self.pages, accept_language=accept_language, request_id=request.id)
        if waiting.repeats:
            header_block += header("Refresh", waiting.refresh_s)
        status = _problem(is_sold_out=waiting.sold_out).status
        fields = header_block + page_fields + own_fields(request)
        return Response(status, body, header_block=fields, content_type=HTML)

    def _set_cookie(self, request: Request, token: str, max_age_s: int) -> bytes:
        # A client that lies about the scheme loses only its own cookie.
        is_secure = self._secure_cookies or request.headers.get("X-Forwarded-Proto") == "https"
        attributes = f"Path=/; Max-Age={max_age_s}; HttpOnly; SameSite=Lax{'; Secure' if is_secure else ''}"
        return header("Set-Cookie", f"{self._cookie}={token}; {attributes}")


def _problem(*, is_sold_out: bool) -> problems.Problem:
    return problems.SOLD_OUT if is_sold_out else problems.WAITING_ROOM


def _send(call: Awaitable[Any]) -> None:
    """Send a call without waiting for its result."""
    asyncio.ensure_future(call).add_done_callback(ignore_exception)
