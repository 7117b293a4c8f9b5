"""Log when the store goes and when it comes back, or has no room and has room again: one line each, whatever fails meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from gateway.api.health import Impaired
from gateway.http import full_store
from store import Reason, StoreError, StorePartlyUnavailable, StoreUnavailable
from store.disk_guard import READ_ONLY_MAXMEMORY

_log = logging.getLogger("peakgate")

TICK_S: Final = 0.25
_MEGABYTE: Final = 2**20


class Counted(Protocol):
    """The counts of one server's client."""

    @property
    def answered(self) -> int:
        """See `store.Client`."""
        ...

    @property
    def failed(self) -> int:
        """See `store.Client`."""
        ...

    @property
    def refused(self) -> int:
        """See `store.Client`."""
        ...


class Watched(Counted, Protocol):
    """The part of `store.Client` that the watch uses."""

    reason_of_oom: Reason

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection now."""
        ...

    def probe(self) -> Awaitable[Any]:
        """Write a key that nothing reads."""
        ...

    def execute(self, *command: str) -> Awaitable[Any]:
        """Send a command."""
        ...


class Noticed(Protocol):
    """The processes that notice the same outage."""

    def begin(self) -> bool:
        """This process notices the outage; says whether it is the first."""
        ...

    def end(self) -> bool:
        """This process notices the end; says whether it is the last."""
        ...


@dataclass(frozen=True, slots=True)
class _Counts:
    """The counts of a server at one time."""

    answered: int
    failed: int
    refused: int

    @classmethod
    def of(cls, server: Counted) -> _Counts:
        return cls(server.answered, server.failed, server.refused)

    def shows_failure(self, before: _Counts) -> bool:
        """Whether calls failed since and none was answered, or writes were refused."""
        has_failed = self.failed > before.failed and self.answered == before.answered
        return has_failed or self.refused > before.refused


@dataclass(frozen=True, slots=True)
class Fault:
    """Why writes fail: `full` says what has no room, None where the store is away, or some of its servers."""

    full: Reason | None
    text: str
    is_partial: bool = False

    def is_like(self, other: Fault) -> bool:
        """Whether the log has said as much already."""
        return (self.full, self.is_partial) == (other.full, other.is_partial)


class StoreWatch:
    """Watches a client; `run` must run in the background.

    Calls that fail, and writes that are refused, are a suspicion; a probe that fails is an outage. `away`, `partly` and
    `full` are the processes that notice the store being away, some of its servers, and without room. `servers` are the
    clients of the servers of a cluster now: one may fail every call while the others answer.
    """

    def __init__(
        self,
        store: Watched,
        *,
        away: Noticed,
        partly: Noticed,
        full: Noticed,
        servers: Callable[[], Sequence[Counted]] | None = None,
        tick_s: float = TICK_S,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._away = away
        self._partly = partly
        self._full = full
        self._servers = servers or (lambda: [store])
        self._tick_s = tick_s
        self._sleep = sleep
        self._clock = clock
        self._counts: dict[Counted, _Counts] = {}
        self._is_suspect()
        self._fault: Fault | None = None
        self._since = 0.0
        # A process of this name may have ended during an outage.
        for noticed in (away, partly, full):
            noticed.end()

    async def run(self) -> None:
        """Check until cancelled."""
        while True:
            await self.check()
            await self._sleep(self._tick_s)

    async def check(self) -> None:
        """Look at the counts since the last check, and probe if they leave a doubt."""
        if self._is_suspect() or self._fault is not None:
            self._note(await self._probe())

    def _is_suspect(self) -> bool:
        """Whether since the last time calls of a server failed and none was answered, or writes were refused."""
        before, self._counts = self._counts, {each: _Counts.of(each) for each in self._servers()}
        started = _Counts(0, 0, 0)
        is_failing = any(now.shows_failure(before.get(each, started)) for each, now in self._counts.items())
        return is_failing or not self._store.is_connected

    async def check_writes(self) -> None:
        """For readiness: raises `Impaired` where the store serves in part, and `StoreError` where it is away."""
        try:
            await self._store.probe()
        except StoreUnavailable as error:
            fault = await self._fault_of(error)
            self._note(fault)
            if fault.full is not None or fault.is_partial:
                raise Impaired(fault.text) from error
            raise

    async def _probe(self) -> Fault | None:
        """Why writes fail; None if they do not."""
        try:
            await self._store.probe()
        except StoreUnavailable as error:
            return await self._fault_of(error)
        except StoreError as error:
            return Fault(None, str(error))
        return None

    async def _fault_of(self, error: StoreUnavailable) -> Fault:
        if isinstance(error, StorePartlyUnavailable):
            return Fault(None, f"some servers of the store are away: {error}", is_partial=True)
        if not error.reason.is_full:
            return Fault(None, str(error))
        if error.reason is Reason.FULL_DISK and "MISCONF" in str(error):
            return Fault(Reason.FULL_DISK, full_store.sentence(Reason.FULL_DISK, _disk_error(str(error))))
        limit = await self._maxmemory()
        # Until it is known, responses may name the memory.
        is_disk = limit == READ_ONLY_MAXMEMORY
        self._store.reason_of_oom = Reason.FULL_DISK if is_disk else Reason.FULL_MEMORY
        if is_disk:
            return Fault(Reason.FULL_DISK, full_store.sentence(Reason.FULL_DISK, "it is almost full"))
        figures = f"maxmemory {limit / _MEGABYTE:.3g} MB" if limit else ""
        return Fault(Reason.FULL_MEMORY, full_store.sentence(Reason.FULL_MEMORY, figures))

    async def _maxmemory(self) -> int | None:
        """The server's limit in bytes; None where INFO is not allowed."""
        with contextlib.suppress(StoreError, KeyError, ValueError):
            info = await self._store.execute("INFO", "memory")
            text = info.decode() if isinstance(info, bytes) else str(info)
            return int(dict(line.split(":", 1) for line in text.splitlines() if ":" in line)["maxmemory"])
        return None

    def _note(self, fault: Fault | None) -> None:
        before = self._fault
        if fault is before or (fault is not None and before is not None and fault.is_like(before)):
            return
        self._fault = fault
        if before is not None:
            self._end(before, fault)
        if fault is not None:
            self._begin(fault)

    def _begin(self, fault: Fault) -> None:
        self._since = self._clock()
        if fault.full is not None:
            if self._full.begin():
                _log.warning("%s", fault.text)
        elif fault.is_partial:
            if self._partly.begin():
                _log.warning("%s; the carts and orders of the others are served", fault.text)
        elif self._away.begin():
            _log.warning(
                "the store is away: %s; reads come from caches and orders are refused until it is back", fault.text
            )

    def _end(self, fault: Fault, successor: Fault | None) -> None:
        after_s = self._clock() - self._since
        if fault.is_partial:
            if self._partly.end() and successor is None:
                _log.warning("all servers of the store are back after %.1f s", after_s)
        elif fault.full is None:
            if self._away.end():
                _log.warning("the store is back after %.1f s", after_s)
        elif self._full.end() and successor is None:
            _log.warning("the store has room again after %.1f s: carts and orders are accepted", after_s)


def _disk_error(reply: str) -> str:
    """Why the server cannot write to its disk, from its reply to a write."""
    if "snapshot" in reply:
        return "its last snapshot failed"
    # The reply ends with the error of the system, such as `No space left on device`.
    return reply.rpartition(": ")[2]
