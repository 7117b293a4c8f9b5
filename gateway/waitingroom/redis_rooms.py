"""Waiting rooms in Redis or Valkey: the queue, the sessions and the admission rate. One hash slot per room."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, Final

from gateway.config.policies import Room
from gateway.waitingroom.admission import RoomStatus, Visit, session_life_s
from store import Script, Store

# Each place takes some 160 bytes; clients beyond this are asked to return, without a place.
MAX_WAITING: Final = 1_000_000
# A pass expires shortly before its session, so that no clock makes it outlive its slot.
SESSION_GRACE_S: Final = 2.0


# Of a script that runs on a store whose memory is full: it finishes what is stored already.
_ALLOW_OOM: Final = "allow-oom"


def _script(name: str, flags: str = "") -> Script:
    return Script.from_files(*(("gateway.waitingroom", f"scripts/{each}.lua") for each in ("room", name)), flags=flags)


VISIT: Final = _script("room_visit")
TOUCH: Final = _script("room_touch", _ALLOW_OOM)
BOUGHT: Final = _script("room_bought", _ALLOW_OOM)
REPORT: Final = _script("room_report", _ALLOW_OOM)


def room_keys(name: str) -> list[str]:
    """The keys of a room, in the order of the scripts."""
    return [f"{{room:{name}}}:{part}" for part in ("state", "waiting", "seen", "active", "bought")]


class RedisRooms:
    """A `RoomStore`. Every call is one script, atomic for all workers and gateways, on the clock of the server.

    A call takes time logarithmic in the number of shoppers, and removes at most a hundred expired places. Rate, cap
    and times are arguments of each call, so a changed table applies from the next one. Raises `StoreError`.
    """

    def __init__(self, store: Store, *, max_waiting: int = MAX_WAITING) -> None:
        self._store = store
        self._waiting_most = max_waiting

    async def visit(self, room: Room, place_id: str | None, new_place_id: str) -> Visit:
        """See `RoomStore.visit`."""
        reply = await self._run(VISIT, room, place_id or "", new_place_id, self._waiting_most)
        outcome, visitor, number, ahead, spare, per_s, free, leaving, now_ms = reply
        leaving_per_s = float(leaving)
        return Visit(
            outcome=outcome.decode(),
            place_id=visitor.decode(),
            number=number,
            ahead=ahead,
            spare=None if spare < 0 else spare,
            per_s=float(per_s),
            free=free,
            leaving_per_s=None if leaving_per_s <= 0 else leaving_per_s,
            at_s=now_ms / 1000,
        )

    def touch(self, room: Room, place_id: str) -> Awaitable[Any]:
        """See `RoomStore.touch`."""
        return self._run(TOUCH, room, place_id)

    def bought(self, room: Room, place_id: str) -> Awaitable[Any]:
        """See `RoomStore.bought`."""
        return self._run(BOUGHT, room, place_id)

    async def report(self, room: Room, reporter: str, factor: float, reason: str, stock: int | None) -> RoomStatus:
        """See `RoomStore.report`."""
        known = "none" if not room.skus else "" if stock is None else stock
        reply: Sequence[Any] = await self._run(REPORT, room, reporter, factor, reason, known)
        waiting, active, bought, admitted, tokens, per_s, effective, why, units, now_ms = reply
        return RoomStatus(
            waiting=waiting,
            active=active,
            bought=bought,
            admitted=admitted,
            tokens=float(tokens),
            per_s=float(per_s),
            factor=float(effective),
            why=why.decode(),
            stock=None if units < 0 else units,
            at_s=now_ms / 1000,
        )

    def _run(self, script: Script, room: Room, *args: str | float) -> Awaitable[Any]:
        session_ms = round((session_life_s(room.session_s) + SESSION_GRACE_S) * 1000)
        limits = (room.admissions_per_s, room.max_active, round(room.reconnect_s * 1000), session_ms)
        return self._store.run(script, room_keys(room.name), [*limits, *args])
