"""Putting the user's file in force in every worker at once, or in none; and keeping late-comers in step."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from gateway.admin.workers import NoAnswer, WorkerGone, WorkerRefused, Workers
from gateway.config.file import Config, ConfigError, read_file, read_text
from gateway.control.runtime_directory import RuntimeDirectory

_log = logging.getLogger("peakgate")

# Building policies may take a while on a worker that is busy; a stuck one must not hold up the rest for ever.
PREPARE_TIMEOUT_S: Final = 10.0


class Reload(Struct, frozen=True):
    """How a reload went. `at` in Unix seconds; `digest` is of the file that was read, if it was in order."""

    at: float
    outcome: Literal["applied", "unchanged", "refused"]
    faults: tuple[str, ...] = ()
    digest: str | None = None
    # Settings at the top level of the file that differ from those that the gateway was started with.
    needs_restart: tuple[str, ...] = ()
    # Workers that were there but could not be told in time; they are told again until they follow.
    behind: tuple[str, ...] = ()


class Reloader:
    """Reads the file and hands it to the workers, one reload after the other.

    `started_with` are the settings of the file at the start. What is known of past reloads outlives this process, in
    the runtime directory.
    """

    def __init__(
        self,
        path: Path,
        workers: Workers,
        runtime: RuntimeDirectory,
        *,
        started_with: Mapping[str, Any],
        now: Callable[[], float] = time.time,
        prepare_timeout_s: float = PREPARE_TIMEOUT_S,
    ) -> None:
        self.path = path
        self._workers = workers
        self._runtime = runtime
        self._started_with = started_with
        self._now = now
        self._prepare_timeout_s = prepare_timeout_s
        self._turn = asyncio.Lock()
        told = runtime.reloads
        self.last: Reload | None = msgspec.convert(told["last"], Reload) if told else None
        self.counts: dict[str, int] = {"applied": 0, "unchanged": 0, "refused": 0, **told.get("counts", {})}
        self.in_force = read_text(runtime.policies)

    @property
    def needs_restart(self) -> tuple[str, ...]:
        """What the file in force says about settings that only a restart changes."""
        return self._changed_settings(self.in_force)

    async def reload(self) -> Reload:
        """Read the file and put it in force everywhere, or refuse it whole and leave everything as it is."""
        async with self._turn:
            self.last = await self._reload()
            self.counts[self.last.outcome] += 1
            self._runtime.reloads = {"last": msgspec.to_builtins(self.last), "counts": self.counts}
        _report(self.path, self.last)
        return self.last

    async def keep_in_step(self) -> None:
        """See that every worker goes by what is in force, also one that started or was stuck while it changed."""
        async with self._turn:
            await self._bring_up()

    async def _reload(self) -> Reload:
        try:
            config = read_file(self.path)
        except ConfigError as error:
            return Reload(self._now(), "refused", tuple(error.faults))
        if faults := await self._prepare(config):
            return Reload(self._now(), "refused", faults, config.digest)
        is_new = config.text != self.in_force.text
        # Before the first worker swaps: one that dies from now on comes back with the new text.
        self._runtime.policies = config.text
        self.in_force = config
        await self._workers.ask_all("commit", digest=config.digest)
        behind = await self._bring_up()
        outcome: Literal["applied", "unchanged"] = "applied" if is_new else "unchanged"
        return Reload(self._now(), outcome, (), config.digest, self._changed_settings(config), behind)

    async def _prepare(self, config: Config) -> tuple[str, ...]:
        """Have every worker build it beside what it has; why not, by worker."""
        answers = await self._workers.ask_all("prepare", timeout_s=self._prepare_timeout_s, text=config.text)
        return tuple(
            f"worker {worker}: {answer}"
            for worker, answer in answers.items()
            # One that is gone takes the text that is in force when it comes back.
            if isinstance(answer, NoAnswer | WorkerRefused) and not isinstance(answer, WorkerGone)
        )

    async def _bring_up(self) -> tuple[str, ...]:
        """Tell those that go by other policies; the names of those that may still do so."""
        vitals = await self._workers.ask_all("vitals")
        behind = []
        for worker, answer in vitals.items():
            # One that does not answer now is not waited for: who asks for a reload waits behind us.
            if isinstance(answer, Exception):
                is_behind = not isinstance(answer, WorkerGone)
            else:
                is_behind = answer["parts"]["policies"]["digest"] != self.in_force.digest and not await self._tell(
                    worker
                )
            if is_behind:
                behind.append(worker)
        return tuple(behind)

    async def _tell(self, worker: str) -> bool:
        try:
            await self._workers.ask(worker, "prepare", timeout_s=self._prepare_timeout_s, text=self.in_force.text)
            await self._workers.ask(worker, "commit", digest=self.in_force.digest)
        except WorkerGone:
            return True
        except (NoAnswer, WorkerRefused) as error:
            _log.warning("worker %s does not go by the policies %s yet: %s", worker, self.in_force.digest, error)
            return False
        return True

    def _changed_settings(self, config: Config) -> tuple[str, ...]:
        names = {**self._started_with, **config.settings}
        return tuple(sorted(name for name in names if self._started_with.get(name) != config.settings.get(name)))


def _report(path: Path, reload: Reload) -> None:
    if reload.outcome == "refused":
        _log.error("%s is refused; the policies before it stay in force:", path)
        for fault in reload.faults:
            _log.error("%s", fault)
        return
    _log.warning("%s is in force (%s, digest %s)", path, reload.outcome, reload.digest)
    if reload.needs_restart:
        _log.warning("changes of %s need a restart", ", ".join(reload.needs_restart))
    if reload.behind:
        _log.warning("not yet in: worker %s", ", ".join(reload.behind))
