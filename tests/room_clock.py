"""A clock for the scripts of waiting rooms that the test moves, instead of the server's."""

from __future__ import annotations

import pytest

from cart.timestamps import unix_ms
from gateway.waitingroom import redis_rooms
from store import Script, Store

_KEY = "room-clock"
_SCRIPTS = ("VISIT", "TOUCH", "BOUGHT", "REPORT")


class RoomClock:
    """The time of all rooms in this store, in seconds."""

    def __init__(self, store: Store) -> None:
        self._store = store
        # That of the processes, which judge the life of a pass. It would run out beside a fixed one.
        self.now_ms = unix_ms() // 1000 * 1000

    async def move(self, seconds: float) -> None:
        self.now_ms += round(seconds * 1000)
        seconds, ms = divmod(self.now_ms, 1000)
        await self._store.execute("HSET", _KEY, "s", seconds, "us", ms * 1000)


def use_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the TIME calls of the scripts with the moved clock."""
    time_call, clock_call = "redis.call('TIME')", f"redis.call('HMGET', '{_KEY}', 's', 'us')"
    for name in _SCRIPTS:
        script: Script = getattr(redis_rooms, name)
        assert script.text.count(time_call) == 1
        monkeypatch.setattr(redis_rooms, name, Script(script.text.replace(time_call, clock_call)))
