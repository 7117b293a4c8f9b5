"""The operator's commands to a worker: look at its parts, purge the cache, override switches, drill a dependency."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gateway.cache.cache import ResponseCache
from gateway.control.commands import Command, Refused, snapshot_of
from gateway.metrics import Observed
from gateway.pipeline.switches import SwitchBoard, UnknownSwitch
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

    async def _snapshot(self, facts: dict[str, Any]) -> Any:
        return await snapshot_of(self._parts())(facts)

    async def _purge(self, facts: dict[str, Any]) -> int:
        return await self._cache.purge(**facts)

    async def _switch(self, facts: dict[str, Any]) -> None:
        try:
            self._switches.turn(facts["name"], on=facts.get("on"), percent=facts.get("percent"))
        except UnknownSwitch as error:
            raise Refused(f"there is no switch {error.name}") from error
        except ValueError as error:
            raise Refused(str(error)) from error

    async def _drill(self, facts: dict[str, Any]) -> None:
        """Trip the breaker of a dependency, or release it."""
        try:
            if facts.get("tripped", True):
                self._breakers.trip(facts["name"], facts.get("reason") or "a drill")
            else:
                self._breakers.release(facts["name"])
        except KeyError:
            raise Refused(f"there is no dependency {facts['name']}") from None
