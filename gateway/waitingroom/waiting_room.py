"""Let shoppers in one after the other when more come than can be served."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from functools import lru_cache, partial
from typing import Any, Final, Protocol

from gateway.config.policies import Room
from gateway.http import problems
from gateway.http.message import Handler, Layer, Request, Response, ResponseOrAwaitable, header, resolve
from gateway.metrics import Metric, Sample
from gateway.waitingroom.admission import Standing, Visit, bound_by, eta_s, retry_after_s, session_life_s
from gateway.waitingroom.page import HTML, PAGE_HEADERS, Waiting, render
from gateway.waitingroom.tokens import RoomTokens, Ticket
from store import StoreError

TOKEN_HEADER: Final = "Waiting-Room-Token"  # noqa: S105 - the name of a field
# A place is believed for a day, if its shopper keeps asking.
PLACE_LIFE_S: Final = 86_400
# Passes whose signature need not be looked at again: some 400 bytes each.
KNOWN_MOST: Final = 20_000
# What is degraded where the store cannot be asked.
DEGRADED: Final = "waiting-room"
# When to ask again of a room that has no answer now.
UNKNOWN_RETRY_S: Final = 10
_HOW: Final = f"Ask again after Retry-After, with the token in the header {TOKEN_HEADER}."
_DETAILS: Final = {
    "waiting": _HOW,
    "sold_out": "What is left is spoken for by those ahead. The place is kept while it is asked for, should some become free.",
    "full": "There is no place left even in the queue. Ask again after Retry-After.",
    "unknown": f"The place cannot be told now. {_HOW}",
}
_NO_STORE: Final = header("Cache-Control", "no-store")
# The answer that carries a pass is its shopper's alone; whatever else it says of caching, the stricter holds (RFC 9111, 5.2.2.7).
_PRIVATE: Final = header("Cache-Control", "private")

Mark = Callable[[Request, str], None]


class RoomStore(Protocol):
    """Where the state of rooms is; the same for all workers and gateways."""

    async def visit(self, room: Room, held: str | None, fresh: str) -> Visit:
        """Ask for the shopper who holds the place `held`. If there is no such place (any more), `fresh` becomes one, the last.

        Whoever may be is admitted first. Raises `StoreError`.
        """
        ...

    def touch(self, room: Room, place_id: str) -> Awaitable[Any]:
        """An admitted shopper is still there: the session begins anew. Sent at once, whether awaited or not."""
        ...

    def bought(self, room: Room, place_id: str) -> Awaitable[Any]:
        """An admitted shopper has ordered, so that no stock need be left for him. Sent at once, whether awaited or not."""
        ...

    async def keep(self, room: Room, reporter: str, factor: float, why: str, stock: int | None) -> Standing:
        """Tell what this process sees, admit whoever may be, and read how the room is doing. Raises `StoreError`.

        The lowest factor that was told within 10 s is in force. `stock` is the number of units, None if it is not known now.
        """
        ...


class Session:
    """An admitted shopper, as this process knows him by one pass. Times are Unix seconds."""

    __slots__ = ("expires_at", "renew_at", "ticket")

    def __init__(self, ticket: Ticket, renew_at: float) -> None:
        self.ticket = ticket
        self.renew_at = renew_at
        self.expires_at: float = ticket.expires


class WaitingRoom:
    """One room, as this process sees it. `table` may be replaced at any time; `is_on` False lets everybody pass."""

    def __init__(
        self,
        table: Room,
        store: RoomStore,
        secret: bytes,
        *,
        secure_cookies: bool = False,
        now: Callable[[], float] = time.time,
        rng: Callable[[], float] = random.random,
    ) -> None:
        self.table = table
        self.store = store
        self.is_on = table.on
        self.standing: Standing | None = None
        self.answers = dict.fromkeys(("admitted", "waiting", "sold_out", "full", "unknown"), 0)
        self._secure_cookies = secure_cookies
        self._now = now
        self._rng = rng
        self._tokens = RoomTokens(table.name, secret)
        self._cookie = f"peakgate_{table.name}"
        self._cookie_start = f"{self._cookie}="
        self._known: dict[str, Session] = {}

    # Those who are in

    def session_of(self, request: Request) -> Session | None:
        """The session that the request belongs to, None if it must ask. Costs two look-ups when this process knows the pass."""
        token = self._token_of(request)
        if token is None:
            return None
        now = self._now()
        session = self._known.get(token)
        if session is None:
            session = self._read_pass(token)
        if session is None:
            return None
        if now >= session.renew_at:
            if now >= session.expires_at:
                self._known.pop(token, None)
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
        if len(self._known) >= KNOWN_MOST:
            del self._known[next(iter(self._known))]
        self._known[token] = session
        return session

    def _renew(self, request: Request, session: Session, now: float) -> None:
        """The session goes on: the store is told, and the shopper gets a new pass. Nobody waits for it."""
        # A client that does not take the new pass goes on with the old one here, and asks elsewhere once it has expired.
        session.renew_at = now + self.table.session_s / 4
        session.expires_at = now + session_life_s(self.table.session_s)
        _send(self.store.touch(self.table, session.ticket.place_id))
        self._issue(request, session.ticket, now)

    def _issue(self, request: Request, ticket: Ticket, now: float) -> Session:
        """Give the shopper a pass."""
        life_s = round(session_life_s(self.table.session_s))
        passed = Ticket(ticket.place_id, ticket.number, ticket.since, int(now) + life_s, is_pass=True)
        token = self._tokens.write(passed)
        request.extra_headers += self._set_cookie(request, token, life_s) + header(TOKEN_HEADER, token) + _PRIVATE
        return self._remember(token, passed)

    def mark_bought(self, session: Session) -> None:
        """The shopper has ordered."""
        _send(self.store.bought(self.table, session.ticket.place_id))

    # Those who are not

    async def ask(self, request: Request, mark: Mark) -> Session | Response:
        """The session of the shopper if it is his turn, else the answer that tells him to wait."""
        now = self._now()
        token = self._token_of(request)
        ticket = self._tokens.read(token) if token is not None else None
        # A pass that has expired is worth asking about: its session may go on elsewhere. A place that has is not.
        if ticket is not None and ticket.expires <= now - (PLACE_LIFE_S if ticket.is_pass else 0):
            ticket = None
        try:
            held = ticket.place_id if ticket is not None else None
            visit = await self.store.visit(self.table, held, secrets.token_urlsafe(12))
        except StoreError:
            # Nobody new comes in while nobody can count; a place that is held stays what it is.
            mark(request, DEGRADED)
            return self._answer("unknown", request, ticket, token, None)
        if visit.answer == "full":
            return self._answer("full", request, None, None, None)
        if ticket is None or visit.place_id != ticket.place_id:
            ticket = Ticket(visit.place_id, visit.number, int(now), int(now) + PLACE_LIFE_S, is_pass=False)
            token = self._tokens.write(ticket)
        if visit.answer == "admitted":
            self.answers["admitted"] += 1
            return self._issue(request, ticket, now)
        return self._answer("sold_out" if visit.is_sold_out else "waiting", request, ticket, token, visit)

    def _answer(
        self, answer: str, request: Request, ticket: Ticket | None, token: str | None, visit: Visit | None
    ) -> Response:
        """The answer to whoever is not let in; `token` is his place, if he has one."""
        self.answers[answer] += 1
        eta = eta_s(visit) if visit is not None and answer == "waiting" else None
        away_s = self.table.away_s
        most_s = away_s if visit is not None else min(away_s, 3 * UNKNOWN_RETRY_S)
        retry_s = retry_after_s(eta, away_s=most_s, chance=self._rng())
        lines = header("Retry-After", retry_s) + _NO_STORE
        if ticket is not None and token is not None and visit is not None:
            lines += self._set_cookie(request, token, PLACE_LIFE_S)
        if prefers_html(request.headers.get("Accept", "")[:512]):
            waiting = Waiting(
                ahead=visit.ahead if visit is not None else None,
                eta_s=eta,
                since=ticket.since if ticket is not None else None,
                now=int(self._now()),
                refresh_s=retry_s,
                away_s=away_s,
                sold_out=answer == "sold_out",
                repeats=request.method in {"GET", "HEAD"},
            )
            return _page(waiting, lines)
        members: dict[str, Any] = {
            "detail": _DETAILS[answer],
            "position": visit.ahead + 1 if visit is not None else None,
            "eta_seconds": eta,
            "token": token if ticket is not None else None,
        }
        return problems.response(_problem(is_sold_out=answer == "sold_out"), request.id, members, header_block=lines)

    def _set_cookie(self, request: Request, token: str, max_age_s: int) -> bytes:
        # Whoever lies about the scheme keeps his own cookie from himself.
        is_secure = self._secure_cookies or request.headers.get("X-Forwarded-Proto") == "https"
        attributes = f"Path=/; Max-Age={max_age_s}; HttpOnly; SameSite=Lax{'; Secure' if is_secure else ''}"
        return header("Set-Cookie", f"{self._cookie}={token}; {attributes}")


def waiting_room(room: WaitingRoom, *, sells: bool = False, mark: Mark = lambda _request, _what: None) -> Layer:
    """Serve those whom `room` has admitted; tell the others their place. An admitted shopper costs no call to the store.

    `sells`: a 202 of this route is an order, so that no stock is left for that shopper. Preflights pass (they carry no
    cookie). `mark` is told of each answer that knows no place since the store is away. The state is in `room`, which may be
    turned off, or given another table, while requests come.
    """

    def layer(handler: Handler) -> Handler:
        def admitted_only(request: Request) -> ResponseOrAwaitable:
            if not room.is_on or (request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers):
                return handler(request)  # a preflight goes by itself, without what a shopper holds
            session = room.session_of(request)
            if session is None:
                return ask(request)
            outcome = handler(request)
            return outcome if not sells or isinstance(outcome, Response) else sell(outcome, session)

        async def ask(request: Request) -> Response:
            session = await room.ask(request, mark)
            if isinstance(session, Response):
                return session
            outcome = handler(request)
            return await sell(outcome, session) if sells else await resolve(outcome)

        async def sell(outcome: ResponseOrAwaitable, session: Session) -> Response:
            response = await resolve(outcome)
            if response.status == 202:
                room.mark_bought(session)
            return response

        return admitted_only

    return layer


class Rooms(Mapping[str, WaitingRoom]):
    """The waiting rooms of this process, by name. What shoppers hold and where they stand survives `update` and restarts."""

    def __init__(
        self,
        store: RoomStore,
        secret: bytes,
        *,
        secure_cookies: bool = False,
        now: Callable[[], float] = time.time,
        rng: Callable[[], float] = random.random,
    ) -> None:
        """`secret`: the same in all processes and gateways. `secure_cookies`: for https only, whatever a proxy says."""
        self._new_room = partial(
            WaitingRoom, store=store, secret=secret, secure_cookies=secure_cookies, now=now, rng=rng
        )
        self._rooms: dict[str, WaitingRoom] = {}

    def update(self, tables: Iterable[Room]) -> None:
        """Take over these tables. A changed one is in force at once; a room that is gone lets everybody pass."""
        rooms: dict[str, WaitingRoom] = {}
        for table in tables:
            room = self._rooms.pop(table.name, None)
            if room is None:
                room = self._new_room(table)
            room.table, room.is_on = table, table.on
            rooms[table.name] = room
        for gone in self._rooms.values():
            gone.is_on = False
        self._rooms = rooms

    def __getitem__(self, name: str) -> WaitingRoom:
        return self._rooms[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rooms)

    def __len__(self) -> int:
        return len(self._rooms)

    def snapshot(self) -> Mapping[str, Any]:
        """How each room is doing; what its keeper has read within the last second or so, and is the same in all workers."""
        return {name: _described(room) for name, room in self._rooms.items()}

    def metrics(self) -> Iterable[Metric]:
        """Gauges of the shared state (the same in every worker: not to be added up), and counts of this worker's answers."""
        gauges = {
            "waiting": "Shoppers who wait.",
            "active": "Shoppers who are in.",
            "admitted": "Shoppers admitted so far, by all gateways.",
            "factor": "What rate and cap are multiplied with.",
            "stock": "Units of what the room is for.",
        }
        kept = [(name, room.standing) for name, room in self._rooms.items() if room.standing is not None]
        for field, text in gauges.items():
            values = [(name, getattr(standing, field)) for name, standing in kept]
            samples = [Sample({"room": name}, float(value)) for name, value in values if value is not None]
            yield Metric(f"peakgate_room_{field}", text, "gauge", samples)
        counts = [
            Sample({"room": name, "answer": answer}, count)
            for name, room in self._rooms.items()
            for answer, count in room.answers.items()
        ]
        yield Metric("peakgate_room_answers_total", "What shoppers who asked were told.", "counter", counts)


def _described(room: WaitingRoom) -> Mapping[str, Any]:
    standing = room.standing
    described: dict[str, Any] = {"on": room.is_on, "answers": dict(room.answers)}
    if standing is not None:
        free = standing.stock - (standing.active - standing.bought) if standing.stock is not None else None
        described |= {
            "waiting": standing.waiting,
            "active": standing.active,
            "bought": standing.bought,
            "admitted": standing.admitted,
            "admitted_per_s": round(standing.per_s, 2),
            "factor": round(standing.factor, 3),
            "why": standing.why,
            "stock": standing.stock,
            "told_sold_out": max(0, standing.waiting - max(0, free)) if free is not None else 0,
            "bound_by": bound_by(standing, active_most=room.table.active_most),
        }
    return described


def _page(waiting: Waiting, lines: bytes) -> Response:
    if waiting.repeats:
        lines += header("Refresh", waiting.refresh_s)
    status = _problem(is_sold_out=waiting.sold_out).status
    return Response(status, render(waiting), header_block=lines + PAGE_HEADERS, content_type=HTML)


def _problem(*, is_sold_out: bool) -> problems.Problem:
    return problems.SOLD_OUT if is_sold_out else problems.WAITING_ROOM


def cookie(cookies: str, start: str) -> str | None:
    """The value of the first cookie whose `name=` is `start`, None if there is none (RFC 6265, 4.2.1)."""
    at = cookies.find(start)
    while at > 0 and cookies[at - 1] not in "; ":
        at = cookies.find(start, at + 1)
    if at < 0:
        return None
    end = cookies.find(";", at)
    return cookies[at + len(start) : end if end > 0 else None].rstrip()


@lru_cache(maxsize=256)
def prefers_html(accept: str) -> bool:
    """Whether somebody with this `Accept` would rather have a page than JSON (RFC 9110, 12.5.1). A tie is for JSON."""
    qualities = dict(map(_media_range, accept.lower().split(",")))
    anything = qualities.get("*/*", 0.0)
    html = qualities.get("text/html", qualities.get("text/*", anything))
    json = max(
        qualities.get(each, qualities.get("application/*", anything))
        for each in ("application/json", "application/problem+json")
    )
    return html > json


def _media_range(part: str) -> tuple[str, float]:
    name, *parameters = (each.strip() for each in part.split(";"))
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return name, float(parameter[2:])
            except ValueError:
                return name, 0.0
    return name, 1.0


def _send(call: Awaitable[Any]) -> None:
    """See that nobody misses the outcome of a call nobody waits for."""
    asyncio.ensure_future(call).add_done_callback(_look)


def _look(sent: asyncio.Future[Any]) -> None:
    if not sent.cancelled():
        sent.exception()
