"""Apply policies as events begin and end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from gateway.config.policies import Policies
from gateway.control.commands import Command, CommandFailed
from gateway.metrics import Metric, Sample
from gateway.policies.moved_events import MovedEvent, UnknownEvent, with_moved_events
from gateway.policies.reload import Prepare, Swap
from gateway.policies.schedule import effective_policies, next_change, to_prewarm

_log = logging.getLogger("peakgate")

# The wall clock may be set meanwhile; a missed moment is caught up after this time.
LONGEST_WAIT_S: Final = 15.0


class Timetable:
    """The events of a worker.

    `apply` makes policies active; `prewarm` fetches a path, so that its response is cached. Both may fail: `apply` is
    tried again, `prewarm` is not. `now` is in Unix seconds. `policies` are the file's, `effective` the active ones.
    """

    def __init__(
        self,
        policies: Policies,
        *,
        apply: Callable[[Policies], Awaitable[None]],
        prewarm: Callable[[str], Awaitable[object]],
        effective: Policies | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._apply = apply
        self._prewarm = prewarm
        self._now = now
        self._policies = policies
        self._moved: dict[str, MovedEvent] = {}
        self.effective = effective or self.at_this_moment(policies)
        self._prewarmed: frozenset[str] = frozenset()
        self._updated = asyncio.Event()

    def at_this_moment(self, policies: Policies) -> Policies:
        """The policies that a file's policies amount to now, with the events that operators have moved."""
        return effective_policies(with_moved_events(policies, self._moved), self._moment())

    async def prepare(self, policies: Policies, prepare: Prepare) -> Swap:
        """Prepare the policies of another file as its events change them now; the swap makes the timetable follow it."""
        effective = self.at_this_moment(policies)
        swap = await prepare(effective)

        def swap_both() -> None:
            swap()
            self.update(policies, effective)

        return swap_both

    def update(self, policies: Policies, effective: Policies) -> None:
        """Follow another file from now on; its `effective` policies are active already."""
        names = {event.name for event in policies.events}
        self._moved = {name: moved for name, moved in self._moved.items() if name in names}
        self._policies = policies
        self.effective = effective
        self._updated.set()

    def move(self, name: str, moved: MovedEvent) -> None:
        """Start or end an event at another time, over reloads too, until it is gone from the file. Raises `UnknownEvent`."""
        if all(event.name != name for event in self._policies.events):
            raise UnknownEvent(name)
        self._moved[name] = moved
        self._updated.set()

    @property
    def commands(self) -> Mapping[str, Command]:
        """`event {name, start, end}` moves an event: Unix seconds, None for the time of the file."""
        return {"event": self._on_event}

    async def _on_event(self, arguments: dict[str, Any]) -> None:
        try:
            self.move(arguments["name"], MovedEvent(arguments.get("start"), arguments.get("end")))
        except UnknownEvent as error:
            raise CommandFailed(f"there is no event {error.name}") from error

    @property
    def _scheduled(self) -> Policies:
        return with_moved_events(self._policies, self._moved)

    async def run(self) -> None:
        """Follow the events until cancelled."""
        async with asyncio.TaskGroup() as beside:
            await self._apply_changes(beside)

    async def _apply_changes(self, beside: asyncio.TaskGroup) -> None:
        while True:
            self._updated.clear()
            # One moment for all: a change between two would be neither applied nor waited for.
            at = self._moment()
            await self._catch_up(at)
            if new := self._to_prewarm_now(at):
                # In a task of its own: a fetch that hangs must not delay the start of an event.
                beside.create_task(self._prewarm_all(new))
            next_at = next_change(self._scheduled, at)
            wait_s = LONGEST_WAIT_S if next_at is None else min(LONGEST_WAIT_S, next_at.timestamp() - self._now())
            try:
                async with asyncio.timeout(max(wait_s, 0)):
                    await self._updated.wait()
            except TimeoutError:
                continue

    async def _catch_up(self, at: datetime) -> None:
        policies = self._policies
        effective = effective_policies(self._scheduled, at)
        if effective != self.effective:
            try:
                await self._apply(effective)
            except Exception:  # noqa: BLE001 - the next attempt may succeed, and other events must still come
                _log.exception("the policies of an event could not be applied; trying again")
            else:
                if policies is self._policies:  # unless a reload came in between
                    self.effective = effective

    def _to_prewarm_now(self, at: datetime) -> Sequence[str]:
        """Paths that have not been fetched since their event came near."""
        wanted = to_prewarm(self._scheduled, at)
        new = [path for path in wanted if path not in self._prewarmed]
        self._prewarmed = frozenset(wanted)
        return new

    async def _prewarm_all(self, paths: Iterable[str]) -> None:
        """Fetch one after the other, so that pre-warming is no burst of its own."""
        for path in paths:
            try:
                await self._prewarm(path)
            except Exception as error:  # noqa: BLE001 - a response that is not cached is only slower
                _log.warning("cannot fetch %s before its event: %s", path, error)

    def _moment(self) -> datetime:
        return datetime.fromtimestamp(self._now(), UTC)

    def snapshot(self) -> Mapping[str, Any]:
        """The running and coming events, and the time of the next change."""
        at = self._moment()
        next_at = next_change(self._scheduled, at)
        return {
            "running": [event.name for event in self._scheduled.events if event.start <= at < event.end],
            "coming": [event.name for event in self._scheduled.events if at < event.start],
            "next_change": next_at.isoformat() if next_at else None,
            "moved": [name for name, moved in self._moved.items() if moved != MovedEvent()],
        }

    def metrics(self) -> Iterable[Metric]:
        """The running events."""
        at = self._moment()
        yield Metric(
            "peakgate_event_running",
            "1 while an event of the configuration is running.",
            "gauge",
            [Sample({"event": each.name}, float(each.start <= at < each.end)) for each in self._scheduled.events],
        )
