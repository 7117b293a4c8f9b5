"""The port of a waiting room's shared state."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Protocol

from gateway.config.policies import Room
from gateway.waitingroom.admission import RoomStatus, Visit


class RoomStore(Protocol):
    """The state of waiting rooms, shared by all workers and gateways."""

    async def visit(self, room: Room, place_id: str | None, new_place_id: str) -> Visit:
        """Ask for admission with the place `place_id`. Where that does not exist, `new_place_id` becomes the last place.

        Admits the clients whose turn it is first. Raises `StoreError`.
        """
        ...

    def touch(self, room: Room, place_id: str) -> Awaitable[Any]:
        """Extend the session of an admitted client. Sent at once, whether awaited or not."""
        ...

    def bought(self, room: Room, place_id: str) -> Awaitable[Any]:
        """Record the order of an admitted client, whose stock is no longer reserved. Sent at once, whether awaited or not."""
        ...

    async def report(self, room: Room, reporter: str, factor: float, reason: str, stock: int | None) -> RoomStatus:
        """Report the factor of this process, admit the clients whose turn it is, and return the state of the room.

        The lowest factor reported within 10 s applies. `stock` is the number of units, None if unknown. Raises
        `StoreError`.
        """
        ...
