"""What the operator and Prometheus are shown, gathered from all workers at once and kept for a moment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import msgspec

from gateway.admin.reloading import Reload, Reloader
from gateway.admin.workers import NoAnswer, WorkerRefused, Workers
from gateway.control.runtime_directory import CONTROL, ChildState, RuntimeDirectory
from gateway.metrics import Metric

# Several who look at the same time cost the workers no more than one.
KEPT_S: Final = 0.5


class WorkerView:
    """A worker as it was when it was asked."""

    def __init__(self, child: ChildState, vitals: Any, snapshot: Any) -> None:
        self.child = child
        # Why it did not answer, if it did not.
        self.silence = str(vitals) if isinstance(vitals, Exception) else None
        told = [each for each in (vitals, snapshot) if not isinstance(each, Exception)]
        self.parts: Mapping[str, Any] = {name: part for each in told for name, part in each["parts"].items()}
        self.metrics: Sequence[Metric] = [
            metric for each in told for metric in msgspec.convert(each["metrics"], list[Metric])
        ]

    @property
    def digest(self) -> str | None:
        """Of the policies that it goes by."""
        policies = self.parts.get("policies")
        return None if policies is None else policies["digest"]


class Gathered:
    """Everything at one moment; `at` in Unix seconds."""

    def __init__(self, at: float, workers: Sequence[WorkerView], children: Sequence[ChildState]) -> None:
        self.at = at
        self.workers = workers
        self.children = children


class Status:
    """Asks the workers, at most twice a second."""

    def __init__(
        self,
        workers: Workers,
        runtime: RuntimeDirectory,
        reloader: Reloader,
        *,
        version: str,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.reloader = reloader
        self.version = version
        self._workers = workers
        self._runtime = runtime
        self._clock = clock
        self._now = now
        self._gathering: asyncio.Task[Gathered] | None = None
        self._gathered_at = float("-inf")
        self._gathered_after: Reload | None = None

    async def gather(self) -> Gathered:
        """How things are, no longer ago than a moment."""
        if self._is_over():
            self._gathered_after = self.reloader.last
            self._gathering = asyncio.create_task(self._gather())
        assert self._gathering is not None
        # Who hangs up does not take the answer from the others.
        return await asyncio.shield(self._gathering)

    def forget(self) -> None:
        """Something was changed: who looks next sees it. A reload need not say so."""
        self._gathering = None

    def _is_over(self) -> bool:
        if self._gathering is None or self._gathered_after is not self.reloader.last:
            return True
        return self._gathering.done() and self._clock() - self._gathered_at >= KEPT_S

    async def _gather(self) -> Gathered:
        children = self._runtime.children
        workers = await asyncio.gather(*(self._view(child) for child in self._workers.all()))
        self._gathered_at = self._clock()
        return Gathered(self._now(), workers, children)

    async def _view(self, child: ChildState) -> WorkerView:
        vitals, snapshot = await asyncio.gather(self._ask(child, "vitals"), self._ask(child, "snapshot"))
        return WorkerView(child, vitals, snapshot)

    async def _ask(self, child: ChildState, command: str) -> Any:
        try:
            return await self._workers.ask(child.name, command)
        except (NoAnswer, WorkerRefused) as error:
            return error

    async def as_json(self) -> dict[str, Any]:
        """The same for machines; docs/admin.md describes it."""
        gathered = await self.gather()
        reloader = self.reloader
        told = {
            "at": gathered.at,
            "version": self.version,
            "policies": {
                "file": str(reloader.path),
                "digest": reloader.in_force.digest,
                "needs_restart": reloader.needs_restart,
            },
            "last_reload": reloader.last,
            "switches_turned": self._runtime.turned,
            "workers": [
                {
                    **asdict(view.child),
                    "answers": view.silence is None,
                    "silence": view.silence,
                    "digest": view.digest,
                    "parts": view.parts,
                }
                for view in gathered.workers
            ],
            "control": [asdict(child) for child in gathered.children if child.service == CONTROL],
        }
        plain: dict[str, Any] = msgspec.to_builtins(told)
        return plain
