"""Set switches, breakers, rooms and events by hand in every worker, for a time, and undo it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from msgspec import Struct

from gateway.admin.acts.audit_log import Act, AuditLog, masked
from gateway.admin.responses import Problem
from gateway.admin.workers import NoReply, WorkerFailed, WorkerGone, Workers
from gateway.control.manual_setting import Kind, ManualSetting
from gateway.control.runtime_directory import RuntimeDirectory

_log = logging.getLogger("peakgate")

# How long a setting lasts unless the operator says otherwise.
DEFAULT_EXPIRY_S: Final = 3600.0
# The arguments of a worker's command that withdraw a setting.
WITHDRAWN: Final[Mapping[Kind, Mapping[str, Any]]] = {
    "switch": {"enabled": None, "percent": None},
    "drill": {"tripped": False, "reason": None},
    "room": {"enabled": None, "admissions_per_s": None},
    "event": {"start": None, "end": None},
}
# How acts are named in the audit log and in the paths of the API.
ACT_NAMES: Final[Mapping[Kind, str]] = {"switch": "switches", "drill": "drills", "room": "rooms", "event": "events"}
# The author of withdrawals of expired settings.
EXPIRY: Final = "expiry"

CallAll = Callable[..., Awaitable[Mapping[str, Any]]]


class Operator(Struct, frozen=True):
    """An operator: a name for the audit log, and the address of the request."""

    name: str
    address: str | None = None


class Change(Struct, frozen=True):
    """A setting that was made: the act, and the result of each worker."""

    act: Act
    workers: Mapping[str, Any]


class ManualSettings:
    """The settings that operators made by hand. They are stored before workers are called: one that starts meanwhile reads them.

    One change after the other: `expected`, the values that an operator saw, must still be there. Raises `Problem`.
    """

    def __init__(
        self,
        call_all: CallAll,
        workers: Workers,
        runtime: RuntimeDirectory,
        log: AuditLog,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._call_all = call_all
        self._workers = workers
        self._runtime = runtime
        self._audit_log = log
        self._now = now
        self._lock = asyncio.Lock()
        # Workers that did not take a setting in time.
        self._lagging: set[tuple[str, Kind, str]] = set()

    def current(self, kind: Kind, name: str) -> ManualSetting | None:
        """The setting that applies now, None where there is none."""
        return self._runtime.manual_settings.get(kind, {}).get(name)

    async def set(
        self,
        kind: Kind,
        name: str,
        values: Mapping[str, Any],
        by: Operator,
        *,
        expires_in_s: float | None = None,
        expected: Mapping[str, Any] | None = None,
    ) -> Change:
        """Set these values, or withdraw a setting by those of `WITHDRAWN`. Without `expires_in_s` it lasts `DEFAULT_EXPIRY_S`; 0 is for ever."""
        seconds = DEFAULT_EXPIRY_S if expires_in_s is None else expires_in_s
        async with self._lock:
            before = self.current(kind, name)
            if expected is not None and dict(expected) != _values(kind, before):
                raise changed_meanwhile(before)
            after = ManualSetting(dict(values), self._now() + seconds if seconds else None)
            return await self._set(kind, name, None if values == WITHDRAWN[kind] else after, by)

    async def undo(self, act: Act, by: Operator) -> Change:
        """Restore the setting of before an act, unless another has changed it since."""
        kind, name = _kind_of(act), act.name or ""
        async with self._lock:
            if act.id in self._audit_log.undone:
                raise Problem(409, "already-undone", "Already undone", detail="This act has been undone already.")
            if masked(described(self.current(kind, name))) != act.after:
                raise changed_meanwhile(self.current(kind, name))
            before = None if act.before is None else _setting(act.before)
            has_expired = before is not None and before.until is not None and before.until <= self._now()
            return await self._set(kind, name, None if has_expired else before, by, undoes=act.id)

    def can_undo(self, act: Act) -> bool:
        """Whether the setting of an act still applies."""
        if act.kind not in WITHDRAWN or act.status >= 400:
            return False
        return bool(masked(described(self.current(_kind_of(act), act.name or ""))) == act.after)

    async def withdraw_expired(self) -> None:
        """Withdraw the settings whose time is over."""
        async with self._lock:
            for kind, settings in self._runtime.manual_settings.items():
                for name, setting in settings.items():
                    if setting.until is not None and setting.until <= self._now():
                        await self._expire(kind, name)

    async def update_lagging_workers(self) -> None:
        """Call the workers again that did not take a setting in time."""
        async with self._lock:
            for worker, kind, name in tuple(self._lagging):
                values = _values(kind, self.current(kind, name))
                try:
                    await self._workers.call(worker, kind, name=name, **values)
                except (WorkerGone, WorkerFailed):
                    # It reads the settings when it starts again, or cannot have this one.
                    self._lagging.discard((worker, kind, name))
                except NoReply:
                    continue
                self._lagging.discard((worker, kind, name))

    async def _expire(self, kind: Kind, name: str) -> None:
        try:
            change = await self._set(kind, name, None, Operator(EXPIRY), is_forced=True)
        except Problem as problem:
            _log.warning("the setting of the %s %s has expired; no worker took that: %s", kind, name, problem.body)
            return
        _log.info("the setting of the %s %s by hand has expired (act %d)", kind, name, change.act.id)

    async def _set(
        self,
        kind: Kind,
        name: str,
        after: ManualSetting | None,
        by: Operator,
        *,
        undoes: int | None = None,
        is_forced: bool = False,
    ) -> Change:
        before = self.current(kind, name)
        self._store(kind, name, after)
        values = _values(kind, after)
        try:
            results = await self._call_all(kind, name=name, **values)
        except Problem:
            # Workers that start read the stored settings, so an expired one is not stored again.
            if not is_forced:
                self._store(kind, name, before)
                raise
            results = {worker.name: {"error": "failed"} for worker in self._workers.all()}
        self._lagging |= {(worker, kind, name) for worker, each in results.items() if "error" in each}
        act = self._audit_log.append(
            at=self._now(),
            who=by.name,
            address=by.address,
            act=f"{ACT_NAMES[kind]}/{name}",
            arguments=values,
            kind=kind,
            name=name,
            before=described(before),
            after=described(after),
            expires_at=None if after is None else after.until,
            undoes=undoes,
        )
        return Change(act, results)

    def _store(self, kind: Kind, name: str, setting: ManualSetting | None) -> None:
        settings = {each: dict(named) for each, named in self._runtime.manual_settings.items()}
        named = settings.setdefault(kind, {})
        named.pop(name, None)
        if setting is not None:
            named[name] = setting
        self._runtime.manual_settings = settings


def changed_meanwhile(current: ManualSetting | None) -> Problem:
    """The problem of an operator who acts on a setting that another has changed."""
    return Problem(
        409,
        "changed-meanwhile",
        "Changed meanwhile",
        detail="Another act has changed this since. Look at it again, then decide.",
        current=described(current),
    )


def described(setting: ManualSetting | None) -> dict[str, Any] | None:
    """A setting as the audit log has it: its values, and `until`; None where nothing is set."""
    return None if setting is None else {**setting.values, "until": setting.until}


def _setting(shown: Mapping[str, Any]) -> ManualSetting:
    return ManualSetting({name: value for name, value in shown.items() if name != "until"}, shown.get("until"))


def _values(kind: Kind, setting: ManualSetting | None) -> dict[str, Any]:
    return dict(WITHDRAWN[kind]) if setting is None else setting.values


def _kind_of(act: Act) -> Kind:
    for kind in WITHDRAWN:
        if act.kind == kind:
            return kind
    raise Problem(422, "cannot-be-undone", "Cannot be undone", detail="This act has no earlier state to return to.")
