"""Looks at the workers every few seconds, for the history, and tells those who watch."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, Final

from gateway.admin.alerts import find_alerts
from gateway.admin.console.headline import Headline
from gateway.admin.console.history import STEP_S, History
from gateway.admin.console.plots import values
from gateway.admin.reading import Reading
from gateway.admin.status import Status

# Pages that may watch at a time; each costs a connection and a message at each look.
MAX_WATCHERS: Final = 64
_START_STEP_S: Final = 0.1
Sample = dict[str, Any]


class TooManyWatchers(Exception):
    """As many pages watch as may."""


class Sampler:
    """The history, and the latest sample of it."""

    def __init__(self, status: Status, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.history = History()
        self._status = status
        self._clock = clock
        self._headline = Headline()
        self._reading: Reading | None = None
        # The latest sample; None before the first look.
        self.latest: Sample | None = None
        self._looked = asyncio.Event()
        self.watchers = 0

    async def run(self) -> None:
        """Look for as long as the process runs."""
        # Workers that are still starting would be shown as silent, to other readers of the same status too.
        while self._status.is_starting:  # noqa: ASYNC110 - the supervisor tells by a file
            await asyncio.sleep(_START_STEP_S)
        while True:
            begun = self._clock()
            await self.look()
            await asyncio.sleep(max(0.0, STEP_S - (self._clock() - begun)))

    async def look(self) -> None:
        """Take one sample."""
        gathered = await self._status.gather()
        status = self._status.json_of(gathered)
        self._reading = Reading(
            self._clock(), {view.child.name: view.metrics for view in gathered.workers}, self._reading
        )
        found = values(self._reading)
        self._reading.forget_before()
        self.history.add(gathered.at, found)
        headline, alerts = self._headline.of(find_alerts(status), gathered.at)
        self.latest = {
            "at": gathered.at,
            "values": {name: round(value, 6) for name, value in found.items()},
            "headline": headline,
            "alerts": alerts,
            "workers": _workers(status),
        }
        looked, self._looked = self._looked, asyncio.Event()
        looked.set()

    async def watch(self) -> AsyncGenerator[Sample, None]:
        """The latest sample, and each one after it. One that comes while the watcher is busy is skipped. Raises `TooManyWatchers`."""
        if self.watchers >= MAX_WATCHERS:
            raise TooManyWatchers
        self.watchers += 1
        try:
            while True:
                looked = self._looked
                if self.latest is not None:
                    yield self.latest
                await looked.wait()
        finally:
            self.watchers -= 1


def _workers(status: dict[str, Any]) -> Sequence[dict[str, Any]]:
    members = ("name", "state", "responds", "restarts", "pid", "digest")
    return [{name: worker[name] for name in members} for worker in status["workers"]]
