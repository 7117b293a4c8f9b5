"""All waiting rooms of a worker, with their snapshot and metrics."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from gateway.config.policies import Room
from gateway.http.page_set import PageSet
from gateway.metrics import Metric, Sample
from gateway.waitingroom.admission import bound_by
from gateway.waitingroom.ports import RoomStore
from gateway.waitingroom.room import WaitingRoom
from gateway.waitingroom.room_override import MAX_ADMISSIONS_PER_S, RoomOverride, UnknownRoom


class Rooms(Mapping[str, WaitingRoom]):
    """The waiting rooms by name. Places, passes and the queue survive `update` and restarts."""

    def __init__(
        self,
        store: RoomStore,
        secret: bytes,
        *,
        secure_cookies: bool = False,
        now: Callable[[], float] = time.time,
        rng: Callable[[], float] = random.random,
    ) -> None:
        """`secret` is the same in all gateways. With `secure_cookies` cookies are for https only."""
        self._new_room = partial(
            WaitingRoom, store=store, secret=secret, secure_cookies=secure_cookies, now=now, rng=rng
        )
        self._pages = PageSet.shipped()
        self._rooms: dict[str, WaitingRoom] = {}
        # As given by the file and its events, without the settings of operators.
        self._tables: dict[str, Room] = {}
        self._overrides: dict[str, RoomOverride] = {}

    def update(self, tables: Iterable[Room], pages: PageSet | None = None) -> None:
        """Apply these tables at once, and other pages if there are any. A room that is gone lets every request pass."""
        tables = tuple(tables)
        self._pages = pages or self._pages
        rooms: dict[str, WaitingRoom] = {}
        for table in tables:
            room = self._rooms.pop(table.name, None)
            if room is None:
                room = self._new_room(table)
            room.pages = self._pages
            rooms[table.name] = room
        for gone in self._rooms.values():
            gone.is_enabled = False
        self._rooms = rooms
        self._tables = {table.name: table for table in tables}
        self._overrides = {name: override for name, override in self._overrides.items() if name in rooms}
        for name in rooms:
            self._apply(name)

    def override(self, name: str, override: RoomOverride) -> None:
        """Apply the setting of an operator. It lasts over reloads and events, and ends with its room.

        Raises `UnknownRoom`, and `ValueError` for an invalid rate.
        """
        if name not in self._rooms:
            raise UnknownRoom(name)
        rate = override.admissions_per_s
        if rate is not None and not 0 <= rate <= MAX_ADMISSIONS_PER_S:
            raise ValueError(f"admissions_per_s must be from 0 to {MAX_ADMISSIONS_PER_S:,.0f}")
        self._overrides[name] = override
        self._apply(name)

    def _apply(self, name: str) -> None:
        room, override = self._rooms[name], self._overrides.get(name, RoomOverride())
        room.table = override.applied_to(self._tables[name])
        room.is_enabled = room.table.enabled

    def __getitem__(self, name: str) -> WaitingRoom:
        return self._rooms[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rooms)

    def __len__(self) -> int:
        return len(self._rooms)

    def snapshot(self) -> Mapping[str, Any]:
        """The state of each room, at most about a second old, and the same in all workers."""
        return {name: {**_described(room), **self._described_override(name)} for name, room in self._rooms.items()}

    def _described_override(self, name: str) -> Mapping[str, Any]:
        override = self._overrides.get(name, RoomOverride())
        return {
            "rate": self._rooms[name].table.admissions_per_s,
            "override": {"enabled": override.enabled, "admissions_per_s": override.admissions_per_s},
        }

    def metrics(self) -> Iterable[Metric]:
        """Gauges of the shared state (equal in all workers: not to be added up), and counters of this worker."""
        gauges = {
            "waiting": "Waiting clients.",
            "active": "Admitted clients with a session.",
            "admitted": "Clients admitted so far, by all gateways.",
            "factor": "Factor of admission rate and cap.",
            "stock": "Stock of the SKUs of the room.",
        }
        statuses = [(name, room.status) for name, room in self._rooms.items() if room.status is not None]
        for field, text in gauges.items():
            values = [(name, getattr(status, field)) for name, status in statuses]
            samples = [Sample({"room": name}, float(value)) for name, value in values if value is not None]
            yield Metric(f"peakgate_room_{field}", text, "gauge", samples)
        counts = [
            Sample({"room": name, "outcome": outcome}, count)
            for name, room in self._rooms.items()
            for outcome, count in room.responses.items()
        ]
        yield Metric("peakgate_room_responses_total", "Requests for admission, by outcome.", "counter", counts)


def _described(room: WaitingRoom) -> Mapping[str, Any]:
    status = room.status
    described: dict[str, Any] = {"enabled": room.is_enabled, "responses": dict(room.responses)}
    if status is not None:
        free = status.stock - (status.active - status.bought) if status.stock is not None else None
        described |= {
            "waiting": status.waiting,
            "active": status.active,
            "bought": status.bought,
            "admitted": status.admitted,
            "admitted_per_s": round(status.per_s, 2),
            "factor": round(status.factor, 3),
            "why": status.why,
            "stock": status.stock,
            "shown_sold_out": max(0, status.waiting - max(0, free)) if free is not None else 0,
            "bound_by": bound_by(status, max_active=room.table.max_active),
        }
    return described
