"""The operator's commands to a worker: look at its parts, purge the cache, set switches, breakers and rooms by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gateway.cache.cache import ResponseCache
from gateway.control.commands import Command, CommandFailed, snapshot_of
from gateway.metrics import Observed
from gateway.pipeline.switch_board import SwitchBoard
from gateway.pipeline.switch_override import UnknownSwitch
from gateway.resilience.breakers import Breakers
from gateway.waitingroom.room_override import RoomOverride, UnknownRoom
from gateway.waitingroom.rooms import Rooms


class WorkerCommands:
    """`parts` gives the parts of this moment by name: some come and go with the policies."""

    def __init__(
        self,
        parts: Callable[[], Mapping[str, Observed]],
        *,
        cache: ResponseCache,
        switches: SwitchBoard,
        breakers: Breakers,
        rooms: Rooms,
    ) -> None:
        self._parts = parts
        self._cache = cache
        self._switches = switches
        self._breakers = breakers
        self._rooms = rooms

    @property
    def by_name(self) -> Mapping[str, Command]:
        """Every command by its name on the control socket."""
        return {
            "snapshot": self._snapshot,
            "purge": self._purge,
            "switch": self._switch,
            "drill": self._drill,
            "room": self._room,
        }

    async def _snapshot(self, arguments: dict[str, Any]) -> Any:
        return await snapshot_of(self._parts())(arguments)

    async def _purge(self, arguments: dict[str, Any]) -> int:
        return await self._cache.purge(**arguments)

    async def _switch(self, arguments: dict[str, Any]) -> None:
        try:
            self._switches.override(
                arguments["name"], enabled=arguments.get("enabled"), percent=arguments.get("percent")
            )
        except UnknownSwitch as error:
            raise CommandFailed(f"there is no switch {error.name}") from error
        except ValueError as error:
            raise CommandFailed(str(error)) from error

    async def _drill(self, arguments: dict[str, Any]) -> None:
        """Trip the breaker of a dependency, or release it."""
        try:
            if arguments.get("tripped", True):
                self._breakers.trip(arguments["name"], arguments.get("reason") or "a drill")
            else:
                self._breakers.release(arguments["name"])
        except KeyError:
            raise CommandFailed(f"there is no dependency {arguments['name']}") from None

    async def _room(self, arguments: dict[str, Any]) -> None:
        """Open or close a waiting room and set its rate, or leave them to the file again."""
        override = RoomOverride(arguments.get("enabled"), arguments.get("admissions_per_s"))
        try:
            self._rooms.override(arguments["name"], override)
        except UnknownRoom as error:
            raise CommandFailed(f"there is no room {error.name}") from error
        except ValueError as error:
            raise CommandFailed(str(error)) from error
