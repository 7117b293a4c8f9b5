"""Workers that take commands and serve no requests, all in the process of the test."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self

from gateway.config.file import read_text
from gateway.config.policies import Policies
from gateway.control.commands import Command, CommandFailed, serve_commands, snapshot_of
from gateway.control.runtime_directory import ChildState, RuntimeDirectory
from gateway.metrics import Metric, Sample
from gateway.policies.reload import PolicyReload, Swap
from store import Reason, StoreUnavailable


def write(file: Path, text: str | None) -> None:
    """What the user does to his file; None removes it."""
    if text is None:
        file.unlink()
    else:
        file.write_text(text)


class Part:
    """Something that can be looked at; counts how often it is."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        self.told = told
        self.looks = 0

    def snapshot(self) -> Mapping[str, Any]:
        self.looks += 1
        return self.told

    def metrics(self) -> list[Metric]:
        return [
            Metric("peakgate_things_total", "Things.", "counter", [Sample({"kind": "a"}, 3.0)]),
            Metric("peakgate_level", "A level.", "gauge", [Sample({}, 0.5)]),
            Metric(
                "peakgate_wait_seconds",
                "Waits.",
                "histogram",
                [Sample({"le": "0.1"}, 1.0), Sample({"le": "+Inf"}, 4.0), Sample({"sum": ""}, 2.5)],
            ),
        ]


class SmallWorker:
    """One of them. It can be made to refuse, or never to answer a command."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.policies = PolicyReload(read_text(text))
        self.policies.on_reload(self._prepare)
        self.refuses_because: str | None = None
        self.store_is_away = False
        self.stuck_in: str | None = None
        self.stuck = 0
        self.told: list[dict[str, Any]] = []
        self.swaps = 0
        self.part = Part({"enabled": True, "level": 0.5})

    @property
    def digest(self) -> str:
        return self.policies.config.digest

    def commands(self) -> Mapping[str, Command]:
        commands = {
            "vitals": snapshot_of({"policies": self.policies}),
            "snapshot": snapshot_of({"shedding": self.part}),
            "purge": self._note,
            "switch": self._note,
            "drill": self._note,
            "room": self._note,
            "event": self._note,
            "find_orders": self._note,
            "attention": self._note,
            "retry_order": self._note,
            "list_orders": self._note,
            "orders_of_email": self._note,
            "refund_order": self._note,
            "list_dead_letters": self._note,
            "show_dead_letter": self._note,
            "act_on_dead_letters": self._note,
            "cancel_order": self._note,
            "mark_order": self._note,
            "show_stock": self._note,
            "show_terms": self._note,
            "change_terms": self._note,
            "list_holds": self._note,
            "set_stock": self._note,
            "add_stock": self._note,
            "show_prices": self._note,
            "set_price": self._note,
            "schedule_prices": self._note,
            "clear_prices": self._note,
            **self.policies.commands,
        }
        return {name: self._perhaps_stuck(name, command) for name, command in commands.items()}

    def _perhaps_stuck(self, name: str, command: Command) -> Command:
        async def run(arguments: dict[str, Any]) -> Any:
            if self.stuck_in == name:
                self.stuck += 1
                await asyncio.Event().wait()
            return await command(arguments)

        return run

    async def _prepare(self, _policies: Policies) -> Swap:
        if self.refuses_because is not None:
            raise CommandFailed(self.refuses_because)
        return self._swap

    def _swap(self) -> None:
        self.swaps += 1

    async def _note(self, arguments: dict[str, Any]) -> Any:
        if self.store_is_away:
            raise StoreUnavailable("the store is away", reason=Reason.UNREACHABLE)
        if self.refuses_because is not None:
            raise CommandFailed(self.refuses_because)
        self.told.append(arguments)
        return 3


class Fleet:
    """Starts and stops them, and tells the runtime directory as the parent does."""

    def __init__(self, runtime: RuntimeDirectory) -> None:
        self._runtime = runtime
        self._stacks: dict[str, AsyncExitStack] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_reason: object) -> None:
        for name in tuple(self._stacks):
            await self.stop(name)

    async def start(self, name: str) -> SmallWorker:
        """A worker with the active policies."""
        worker = SmallWorker(name, self._runtime.policies)
        self.list(*self._stacks, name)
        self._stacks[name] = AsyncExitStack()
        await self._stacks[name].enter_async_context(serve_commands(self._runtime.socket_of(name), worker.commands()))
        return worker

    async def stop(self, name: str) -> None:
        """As if it had died; it stays on the list until the parent notices."""
        await self._stacks.pop(name).aclose()

    def list(self, *names: str, restarts: int = 0) -> None:
        """What the parent says of its children."""
        self._runtime.children = [
            ChildState("control", "control", 1, "ready", 1_790_000_000.0, 0),
            *(ChildState(name[0], name, 2, "ready", 1_790_000_000.0, restarts) for name in names),
        ]
