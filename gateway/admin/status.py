"""The status of the gateway, gathered from all workers at once and cached for a moment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from types import MappingProxyType
from typing import Any, Final

import msgspec

from gateway.admin.reloader import Reload, Reloader
from gateway.admin.workers import NoReply, WorkerFailed, Workers
from gateway.control.runtime_directory import CONTROL, ChildState, RuntimeDirectory
from gateway.metrics import Metric, Observed

# Several readers at the same time cost the workers no more than one.
MAX_AGE_S: Final = 0.5


class WorkerView:
    """The replies of one worker."""

    def __init__(self, child: ChildState, vitals: Any, snapshot: Any) -> None:
        self.child = child
        # Why it did not reply; None if it did.
        self.no_reply_because = str(vitals) if isinstance(vitals, Exception) else None
        replies = [each for each in (vitals, snapshot) if not isinstance(each, Exception)]
        self.parts: Mapping[str, Any] = {name: part for each in replies for name, part in each["parts"].items()}
        self.metrics: Sequence[Metric] = [
            metric for each in replies for metric in msgspec.convert(each["metrics"], list[Metric])
        ]

    @property
    def digest(self) -> str | None:
        """The digest of its active policies."""
        policies = self.parts.get("policies")
        return None if policies is None else policies["digest"]


class Gathered:
    """The whole gateway at one moment; `at` in Unix seconds."""

    def __init__(self, at: float, workers: Sequence[WorkerView], children: Sequence[ChildState]) -> None:
        self.at = at
        self.workers = workers
        self.children = children


class Status:
    """Gathers snapshots from the workers, at most twice a second."""

    def __init__(
        self,
        workers: Workers,
        runtime: RuntimeDirectory,
        reloader: Reloader,
        *,
        version: str,
        background: Observed | None = None,
        own_parts: Mapping[str, Observed] = MappingProxyType({}),
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.reloader = reloader
        self.version = version
        # The background tasks of the control process.
        self.background = background
        # Its other parts, by name.
        self.own_parts = own_parts
        self._workers = workers
        self._runtime = runtime
        self._clock = clock
        self._now = now
        self._gathering: asyncio.Task[Gathered] | None = None
        self._gathered_at = float("-inf")
        self._gathered_after: Reload | None = None

    @property
    def is_starting(self) -> bool:
        """Whether some worker is starting for the first time, or none is known yet."""
        workers = self._workers.all()
        return not workers or any(child.state == "starting" and not child.restarts for child in workers)

    async def gather(self) -> Gathered:
        """The status, at most `MAX_AGE_S` old."""
        if self._is_stale():
            self._gathered_after = self.reloader.last
            self._gathering = asyncio.create_task(self._gather())
        assert self._gathering is not None
        # A reader that hangs up must not cancel the gathering of the others.
        return await asyncio.shield(self._gathering)

    def forget(self) -> None:
        """Gather again for the next reader, after a change. A reload does so by itself."""
        self._gathering = None

    def _is_stale(self) -> bool:
        if self._gathering is None or self._gathered_after is not self.reloader.last:
            return True
        return self._gathering.done() and self._clock() - self._gathered_at >= MAX_AGE_S

    async def _gather(self) -> Gathered:
        children = self._runtime.children
        workers = await asyncio.gather(*(self._view(child) for child in self._workers.all()))
        self._gathered_at = self._clock()
        return Gathered(self._now(), workers, children)

    async def _view(self, child: ChildState) -> WorkerView:
        vitals, snapshot = await asyncio.gather(self._call(child, "vitals"), self._call(child, "snapshot"))
        return WorkerView(child, vitals, snapshot)

    async def _call(self, child: ChildState, command: str) -> Any:
        try:
            return await self._workers.call(child.name, command)
        except (NoReply, WorkerFailed) as error:
            return error

    async def as_json(self) -> dict[str, Any]:
        """The status as JSON, at most `MAX_AGE_S` old; docs/admin.md describes it."""
        return self.json_of(await self.gather())

    def json_of(self, gathered: Gathered) -> dict[str, Any]:
        """The same of a moment that was gathered."""
        reloader = self.reloader
        status = {
            "at": gathered.at,
            "version": self.version,
            "policies": {
                "file": str(reloader.path),
                "digest": reloader.active.digest,
                "needs_restart": reloader.needs_restart,
            },
            "last_reload": reloader.last,
            "switch_overrides": self._runtime.switch_overrides,
            "manual_settings": {
                kind: {name: {**setting.values, "until": setting.until} for name, setting in named.items()}
                for kind, named in self._runtime.manual_settings.items()
            },
            "workers": [
                {
                    **asdict(view.child),
                    "responds": view.no_reply_because is None,
                    "no_reply_because": view.no_reply_because,
                    "digest": view.digest,
                    "parts": view.parts,
                }
                for view in gathered.workers
            ],
            "control": [asdict(child) for child in gathered.children if child.service == CONTROL],
        }
        plain: dict[str, Any] = msgspec.to_builtins(status)
        return plain
