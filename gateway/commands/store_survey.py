"""A survey of the store: keys and bytes by kind, hot keys, and slow scripts.

Each server is asked by itself. A part that the user of the store may not ask for says so, and the others are made.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from gateway.commands.hot_keys import HotKey, HotKeys
from store import ReplyError, Script, Store, servers_of
from store.keys import kind_of

OTHER: Final = "other"
SLOWEST: Final = 10
# The keys of one SCAN, and between two pauses.
_PAGE: Final = 100
# So many keys of a kind are measured, and then one in ten.
_ALL_OF: Final = 100
_ONE_IN: Final = 10
# The newest entries of the slow log of each server; its length is 128 unless it is configured.
_SLOWLOG: Final = 128
NONE_SLOW: Final = "none took as long as slowlog-log-slower-than of the servers, 10 ms unless it is configured"


class KindSize(msgspec.Struct):
    """The keys of one kind, and their bytes as estimated from the measured ones; None where none could be measured."""

    kind: str
    keys: int = 0
    measured: int = 0
    measured_bytes: int = 0
    bytes: int | None = None


class SlowCalls(msgspec.Struct):
    """The entries of the slow logs for one script or command."""

    name: str
    calls: int = 0
    longest_us: int = 0


class CommandTime(msgspec.Struct):
    """The time of one command since the servers began to count."""

    name: str
    calls: int
    total_us: int


class Report(msgspec.Struct):
    """A report of a store; `notes` has the reason for each section that is empty."""

    # Seconds of the server's clock.
    at: int
    servers: int
    kinds: list[KindSize] = []
    hot: list[HotKey] = []
    crowded: list[HotKey] = []
    slow: list[SlowCalls] = []
    commands: list[CommandTime] = []
    notes: dict[str, str] = {}

    @property
    def keys(self) -> int:
        """The number of all keys."""
        return sum(kind.keys for kind in self.kinds)


class Survey:
    """Makes a `Report`: looks at `rate` keys a second at most, and holds a few numbers for each kind."""

    def __init__(
        self,
        store: Store,
        *,
        rate: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._servers = servers_of(store)
        self._rate = rate
        self._clock = clock
        self._sleep = sleep
        self._sizes: dict[str, KindSize] = {}
        self._notes: dict[str, str] = {}
        self._hot = HotKeys(self._ask)
        self._looked_at = 0

    async def run(self, progress: Callable[[int, int | None], None]) -> Report:
        """The report; `progress` is given the keys looked at and, if it is known, their number. Raises `StoreError`."""
        seconds, _ = await self._servers[0].execute("TIME")
        infos = [_fields(await server.execute("INFO", "everything")) for server in self._servers]
        await self._hot.begin(self._servers, infos)
        of = sum(_keys_of(info) for info in infos)
        began = self._clock()
        for server in self._servers:
            await self._scan(server, began, of, progress)
        slow = await self._slow()
        if self._hot.note is not None:
            self._notes["hot keys"] = self._hot.note
        return Report(
            at=int(seconds),
            servers=len(self._servers),
            kinds=sorted(map(_estimated, self._sizes.values()), key=lambda size: (-(size.bytes or 0), size.kind)),
            hot=self._hot.hottest,
            crowded=self._hot.crowded,
            slow=slow,
            commands=_command_times(infos),
            notes=self._notes,
        )

    async def _scan(self, server: Store, began: float, of: int, progress: Callable[[int, int | None], None]) -> None:
        cursor: Any = b"0"
        while True:
            cursor, keys = await server.execute("SCAN", cursor, "COUNT", _PAGE)
            await asyncio.gather(*(self._look(server, key) for key in keys))
            self._looked_at += len(keys)
            progress(self._looked_at, of)
            if cursor == b"0":
                return
            await self._sleep(max(0.0, began + self._looked_at / self._rate - self._clock()))

    async def _look(self, server: Store, key: bytes) -> None:
        kind = kind_of(key)
        name = OTHER if kind is None else kind.name
        size = self._sizes.setdefault(name, KindSize(name))
        size.keys += 1
        if size.keys <= _ALL_OF or size.keys % _ONE_IN == 0:
            used = await self._ask("bytes", server, "MEMORY", "USAGE", key)
            if used is not None:
                size.measured += 1
                size.measured_bytes += used
        await self._hot.look(server, key, name)

    async def _ask(self, section: str, server: Store, *command: str | bytes | int) -> Any:
        """The reply; None if the user may not ask, or the server cannot say, with a note the first time."""
        if section in self._notes:
            return None
        try:
            return await server.execute(*command)
        except ReplyError as error:
            if error.code not in {"MOVED", "ASK"}:  # a key whose slot moves meanwhile is not measured
                self._notes[section] = str(error)
            return None

    async def _slow(self) -> list[SlowCalls]:
        names = script_names()
        found: dict[str, SlowCalls] = {}
        for server in self._servers:
            for _id, _at, took_us, words, *_ in (
                await self._ask("slow scripts", server, "SLOWLOG", "GET", _SLOWLOG) or ()
            ):
                name = _call_name(words, names)
                calls = found.setdefault(name, SlowCalls(name))
                calls.calls += 1
                calls.longest_us = max(calls.longest_us, took_us)
        if not found:
            self._notes.setdefault("slow scripts", NONE_SLOW)
        return sorted(found.values(), key=lambda calls: -calls.longest_us)[:SLOWEST]


def script_names() -> dict[str, str]:
    """The names of our scripts, as `cart.redis_scripts.WRITE`, by their SHA-1."""
    # The composition root imports the adapters, and with them the scripts.
    import gateway.compose.worker  # noqa: F401

    return {
        value.sha: f"{module}.{name}"
        for module, loaded in list(sys.modules.items())
        if module.split(".")[0] in {"cart", "checkout", "gateway", "store"}
        for name, value in list(vars(loaded).items())
        if isinstance(value, Script)
    }


def _call_name(words: Sequence[bytes], names: Mapping[str, str]) -> str:
    """The script or the command of a call. Nothing else of it is shown: it may be personal."""
    command = words[0].decode(errors="replace").upper()
    if command != "EVALSHA" or len(words) < 2:
        return command
    sha = words[1].decode(errors="replace").lower()
    return names.get(sha, f"script {sha}")


def _estimated(size: KindSize) -> KindSize:
    size.bytes = round(size.measured_bytes / size.measured * size.keys) if size.measured else None
    return size


def _fields(info: Any) -> dict[str, str]:
    lines = info.decode(errors="replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line and not line.startswith("#"))


def _keys_of(info: Mapping[str, str]) -> int:
    """The keys of all databases, as `db0:keys=12,expires=…` has them."""
    return sum(
        int(value.partition(",")[0].removeprefix("keys="))
        for name, value in info.items()
        if name.startswith("db") and value.startswith("keys=")
    )


def _command_times(infos: Sequence[Mapping[str, str]]) -> list[CommandTime]:
    """The commands that took most of the time of the servers, from `cmdstat_get:calls=1,usec=2,…`."""
    totals: dict[str, CommandTime] = {}
    for info in infos:
        for name, value in info.items():
            if name.startswith("cmdstat_"):
                numbers = dict(part.split("=", 1) for part in value.split(","))
                total = totals.setdefault(name, CommandTime(name.removeprefix("cmdstat_"), 0, 0))
                total.calls += int(numbers["calls"])
                total.total_us += int(numbers["usec"])
    return sorted(totals.values(), key=lambda total: -total.total_us)[:SLOWEST]
