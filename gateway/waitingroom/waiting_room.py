"""Admit clients one after the other while more arrive than can be served."""

from __future__ import annotations

from gateway.http.contained import FAILURES
from gateway.http.message import Handler, Layer, Request, Response, ResponseOrAwaitable, resolve
from gateway.waitingroom.room import Mark, Session, WaitingRoom
from primitives.tracing.spans import span


def _no_mark(_request: Request, _part: str) -> None:
    pass


def waiting_room(room: WaitingRoom, *, sells: bool = False, mark: Mark = _no_mark) -> Layer:
    """Serve clients that `room` has admitted; give the others their place. An admitted client costs no call of the store.

    `sells`: a 202 of this route is an order, so that no stock is reserved for that client any more. Preflights wait too:
    a server may serve `OPTIONS` as it serves `GET`. Those of `[cors]` are answered before. `mark(request, "waiting-room")`
    is called for a response without a place, while the store is away. The state is in `room`, which may be turned off or get another table at any time.
    """
    return lambda handler: _Admission(room, handler, mark, sells=sells).admit


class _Admission:
    __slots__ = ("_handler", "_mark", "_room", "_sells")

    def __init__(self, room: WaitingRoom, handler: Handler, mark: Mark, *, sells: bool) -> None:
        self._room = room
        self._handler = handler
        self._mark = mark
        self._sells = sells

    def admit(self, request: Request) -> ResponseOrAwaitable:
        room = self._room
        if not room.is_enabled:
            return self._handler(request)
        session = room.session_of(request)
        if session is None:
            return self._request_admission(request)
        outcome = self._handler(request)
        return outcome if not self._sells or isinstance(outcome, Response) else self._sell(outcome, session)

    async def _request_admission(self, request: Request) -> Response:
        with span("waiting room"):
            session = await self._room.request_admission(request, self._mark)
        if isinstance(session, Response):
            return session
        outcome = self._handler(request)
        return await self._sell(outcome, session) if self._sells else await resolve(outcome)

    async def _sell(self, outcome: ResponseOrAwaitable, session: Session) -> Response:
        response = await resolve(outcome)
        if response.status == 202:
            try:
                self._room.mark_bought(session)
            except Exception as error:  # noqa: BLE001 - the order is placed
                FAILURES.add("the record of a purchase in a waiting room", error)
        return response
