"""A store whose eviction policy changes while the gateway runs."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any

import pytest

from gateway.prerequisites.store_recheck import StoreRecheck, StoreUnfit
from store import Script, StoreUnavailable
from tests.virtual_time import in_virtual_time


class FakeStore:
    policy = "noeviction"
    is_away = False

    async def _info(self) -> bytes:
        if self.is_away:
            raise StoreUnavailable("away")
        return f"# Memory\r\nmaxmemory_policy:{self.policy}\r\n".encode()

    def execute(self, *command: Any) -> Awaitable[Any]:
        assert command == ("INFO", "memory")
        return self._info()

    def execute_blocking(self, *command: Any, timeout_s: float) -> Awaitable[Any]:
        raise NotImplementedError

    def run(self, script: Script, keys: Sequence[Any], args: Sequence[Any] = ()) -> Awaitable[Any]:
        raise NotImplementedError


@in_virtual_time
async def test_a_store_that_comes_to_evict_is_said_once_and_until_it_stops(caplog: pytest.LogCaptureFixture) -> None:
    store = FakeStore()
    recheck = StoreRecheck(store)
    await recheck.ask()
    await recheck.check()
    store.policy = "volatile-lru"
    for is_away in (False, True, False):
        store.is_away = is_away
        await recheck.ask()
        with pytest.raises(StoreUnfit, match="volatile-lru"):
            await recheck.check()
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    store.policy = "noeviction"
    await recheck.ask()
    await recheck.check()
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
