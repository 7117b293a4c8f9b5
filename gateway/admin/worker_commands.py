"""The operator's commands to a worker: look at its parts, purge the cache, override switches, drill a dependency."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gateway.cache.cache import ResponseCache
from gateway.control.commands import Command, CommandFailed, snapshot_of
from gateway.metrics import Observed
from gateway.pipeline.switch_board import SwitchBoard
from gateway.pipeline.switch_override import UnknownSwitch
from gateway.resilience.breakers import Breakers


class WorkerCommands:
    """`parts` gives the parts of this moment by name: some come and go with the policies."""

    def __init__(
        self,
        parts: Callable[[], Mapping[str, Observed]],
        *,
        cache: ResponseCache,
        switches: SwitchBoard,
        breakers: Breakers,
    ) -> None:
        self._parts = parts
        self._cache = cache
        self._switches = switches
        self._breakers = breakers

    @property
    def by_name(self) -> Mapping[str, Command]:
        """Every command by its name on the control socket."""
        return {"snapshot": self._snapshot, "purge": self._purge, "switch": self._switch, "drill": self._drill}

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
