"""Reload the configuration file in all workers or in none, and update workers that lag."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct
from msgspec.structs import fields

from gateway.admin.policy_differences import Difference, differences_of
from gateway.admin.workers import NoReply, WorkerFailed, WorkerGone, Workers
from gateway.config.file import Config, ConfigError, read_file, read_text
from gateway.config.policies import Cache, Policies
from gateway.control.runtime_directory import RuntimeDirectory

_log = logging.getLogger("peakgate")

# Building policies may take a while on a busy worker; a stuck worker must not block the others for ever.
PREPARE_TIMEOUT_S: Final = 10.0


class Reload(Struct, frozen=True):
    """The outcome of a reload. `at` in Unix seconds; `digest` is of the file, None where it could not be read."""

    at: float
    outcome: Literal["applied", "unchanged", "rejected"]
    errors: tuple[str, ...] = ()
    digest: str | None = None
    # The tables of policies that changed.
    changed: tuple[str, ...] = ()
    # Settings of the file that differ from those of the start.
    needs_restart: tuple[str, ...] = ()
    # Workers that did not take the policies in time; `update_lagging_workers` tries again.
    lagging_workers: tuple[str, ...] = ()


class Preview(Struct, frozen=True):
    """The changes that a reload would make: from the `active` digest to that of the file, None where it is rejected."""

    active: str
    digest: str | None
    differences: tuple[Difference, ...] = ()
    needs_restart: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()


class FileChanged(Exception):
    """The file has another digest than the one that was expected."""

    def __init__(self, digest: str) -> None:
        super().__init__(f"the file has the digest {digest}")
        self.digest = digest


class NotRestorable(Exception):
    """Policies that were active cannot be made so again, with the reason."""


class Reloader:
    """Reads the file and sends it to the workers, one reload after the other.

    `started_with` are the `settings_of_start` of the file at the start. The outcomes of past reloads are stored in the runtime
    directory, so that they survive a restart of this process.
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
        self._lock = asyncio.Lock()
        stored = runtime.reloads
        self.last: Reload | None = msgspec.convert(stored["last"], Reload) if stored else None
        self.counts: dict[str, int] = {"applied": 0, "unchanged": 0, "rejected": 0, **stored.get("counts", {})}
        self.active = read_text(runtime.policies)

    @property
    def needs_restart(self) -> tuple[str, ...]:
        """The settings of the active file that differ from those of the start: they need a restart."""
        return self._changed_settings(self.active)

    async def reload(self, *, expected_digest: str | None = None) -> Reload:
        """Read the file and make it active in all workers, or reject it and change nothing.

        Raises `FileChanged` where the file is not the one that was expected.
        """
        return await self._make_active(lambda: self._read(expected_digest))

    async def restore(self, digest: str, *, expected_active: str) -> Reload:
        """Make the policies active that were so before a reload; the file is left as it is.

        Raises `NotRestorable`, also if others than `expected_active` are active.
        """
        text = self._runtime.previous_policies(digest)
        if text is None:
            raise NotRestorable(f"the policies {digest} are no longer stored")

        def read() -> Config:
            if self.active.digest != expected_active:
                raise NotRestorable(f"the policies {self.active.digest} are active, not {expected_active}")
            return read_text(text)

        return await self._make_active(read)

    def preview(self) -> Preview:
        """The changes that a reload would make. Nothing is changed; workers may still reject the file."""
        try:
            config = read_file(self.path)
        except ConfigError as error:
            return Preview(self.active.digest, None, errors=tuple(error.errors))
        differences = differences_of(self.active.policies, config.policies)
        return Preview(self.active.digest, config.digest, differences, self._changed_settings(config))

    async def _make_active(self, read: Callable[[], Config]) -> Reload:
        async with self._lock:
            self.last = await self._reload(read)
            self.counts[self.last.outcome] += 1
            self._runtime.reloads = {"last": msgspec.to_builtins(self.last), "counts": self.counts}
        _report(self.path, self.last)
        return self.last

    def _read(self, expected_digest: str | None) -> Config:
        config = read_file(self.path)
        if expected_digest is not None and config.digest != expected_digest:
            raise FileChanged(config.digest)
        return config

    async def update_lagging_workers(self) -> None:
        """Send the active policies to workers that have others: they started, or were stuck, during a reload."""
        async with self._lock:
            await self._update_lagging_workers()

    async def _reload(self, read: Callable[[], Config]) -> Reload:
        try:
            config = read()
        except ConfigError as error:
            return Reload(self._now(), "rejected", tuple(error.errors))
        if errors := await self._prepare(config):
            return Reload(self._now(), "rejected", errors, config.digest)
        is_new = config.text != self.active.text
        changed = _changed_tables(self.active, config)
        self._runtime.keep_policies(self.active.digest, self.active.text)
        # Before the first worker swaps: a worker that dies from now on starts again with the new text.
        self._runtime.policies = config.text
        self.active = config
        await self._workers.call_all("commit", timeout_s=self._workers.act_timeout_s, digest=config.digest)
        lagging_workers = await self._update_lagging_workers()
        outcome: Literal["applied", "unchanged"] = "applied" if is_new else "unchanged"
        return Reload(self._now(), outcome, (), config.digest, changed, self._changed_settings(config), lagging_workers)

    async def _prepare(self, config: Config) -> tuple[str, ...]:
        """Have every worker build the policies beside its active ones; returns the errors, by worker."""
        answers = await self._workers.call_all("prepare", timeout_s=self._prepare_timeout_s, text=config.text)
        return tuple(
            f"worker {worker}: {answer}"
            for worker, answer in answers.items()
            # A worker that died reads the active text when it starts again.
            if isinstance(answer, NoReply | WorkerFailed) and not isinstance(answer, WorkerGone)
        )

    async def _update_lagging_workers(self) -> tuple[str, ...]:
        """Update the workers that have other policies; returns the names of those that may still have them."""
        vitals = await self._workers.call_all("vitals")
        lagging_workers = []
        for worker, answer in vitals.items():
            # A worker that does not respond now is skipped: the operator waits for this reload.
            if isinstance(answer, Exception):
                is_lagging = not isinstance(answer, WorkerGone)
            else:
                is_lagging = answer["parts"]["policies"]["digest"] != self.active.digest and not await self._update(
                    worker
                )
            if is_lagging:
                lagging_workers.append(worker)
        return tuple(lagging_workers)

    async def _update(self, worker: str) -> bool:
        try:
            await self._workers.call(worker, "prepare", timeout_s=self._prepare_timeout_s, text=self.active.text)
            await self._workers.call(worker, "commit", digest=self.active.digest)
        except WorkerGone:
            return True
        except (NoReply, WorkerFailed) as error:
            _log.warning("worker %s does not have the policies %s yet: %s", worker, self.active.digest, error)
            return False
        return True

    def _changed_settings(self, config: Config) -> tuple[str, ...]:
        before, after = self._started_with, settings_of_start(config)
        return tuple(sorted(name for name in {**before, **after} if before.get(name) != after.get(name)))


def settings_of_start(config: Config) -> Mapping[str, Any]:
    """The values of a file that apply at the start only: the settings, and keys of policies unless they have their default."""
    host_memory_bytes = config.policies.cache.host_memory_bytes
    is_default = host_memory_bytes == Cache().host_memory_bytes
    return {**config.settings, **({} if is_default else {"cache.host_memory_bytes": host_memory_bytes})}


def _changed_tables(before: Config, after: Config) -> tuple[str, ...]:
    names = (field.name for field in fields(Policies))
    return tuple(name for name in names if getattr(before.policies, name) != getattr(after.policies, name))


def _report(path: Path, reload: Reload) -> None:
    if reload.outcome == "rejected":
        _log.error("%s is rejected; the policies before it stay active:", path)
        for error in reload.errors:
            _log.error("%s", error)
        return
    changed = f"; changed: {', '.join(reload.changed)}" if reload.changed else ""
    _log.warning("%s is active (%s, digest %s%s)", path, reload.outcome, reload.digest, changed)
    if reload.needs_restart:
        _log.warning("changes of %s need a restart", ", ".join(reload.needs_restart))
    if reload.lagging_workers:
        _log.warning("these workers do not have it yet: %s", ", ".join(reload.lagging_workers))
