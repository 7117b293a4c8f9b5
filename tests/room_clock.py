"""Waiting rooms whose scripts go by a clock that the test moves, not by the server's."""

from __future__ import annotations

import pytest

from gateway.waitingroom import redis_rooms
from store import Script, Store

_KEY = "room-clock"
_SCRIPTS = ("VISIT", "TOUCH", "BOUGHT", "KEEP")


class RoomClock:
    """The time that all rooms in this store go by, in seconds."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.now_ms = 1_795_759_200_000

    async def move(self, seconds: float) -> None:
        self.now_ms += round(seconds * 1000)
        seconds, ms = divmod(self.now_ms, 1000)
        await self._store.execute("HSET", _KEY, "s", seconds, "us", ms * 1000)


def let_scripts_go_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the moved clock where the scripts ask for the time."""
    asked, told = "redis.call('TIME')", f"redis.call('HMGET', '{_KEY}', 's', 'us')"
    for name in _SCRIPTS:
        script: Script = getattr(redis_rooms, name)
        assert script.text.count(asked) == 1
        monkeypatch.setattr(redis_rooms, name, Script(script.text.replace(asked, told)))
