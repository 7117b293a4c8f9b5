from __future__ import annotations

import logging

import pytest

from gateway.control.shared_outage import SharedOutage
from gateway.resilience.store_watch import StoreWatch
from store import StoreUnavailable


class FakeStore:
    """A client whose counts and connection the test sets."""

    def __init__(self) -> None:
        self.answered = self.failed = self.pings = 0
        self.is_connected = True
        self.is_hanging = False

    async def ping(self) -> object:
        self.pings += 1
        if self.is_hanging or not self.is_connected:
            self.failed += 1
            raise StoreUnavailable("it does not answer")
        self.answered += 1
        return b"PONG"


class Watched:
    def __init__(self) -> None:
        self.store = FakeStore()
        self.now = 0.0
        self.watch = StoreWatch(self.store, SharedOutage(None, "0a"), clock=lambda: self.now)

    async def checks(self, count: int) -> None:
        for _ in range(count):
            self.now += 1.0
            await self.watch.check()


@pytest.mark.parametrize("fault", ["is_hanging", "is_disconnected"])
async def test_an_outage_is_one_line_and_its_end_another(fault: str, caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched()
    await watched.checks(3)
    if fault == "is_hanging":
        watched.store.is_hanging, watched.store.failed = True, 4
    else:
        watched.store.is_connected = False
    await watched.checks(5)
    watched.store.is_hanging, watched.store.is_connected = False, True
    await watched.checks(5)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [
        "the store is away: it does not answer; reads come from caches and orders are refused until it is back",
        "the store is back after 5.0 s",
    ]


async def test_a_store_that_answers_is_not_pinged() -> None:
    watched = Watched()
    watched.store.answered = 7
    await watched.checks(5)
    assert watched.store.pings == 0


async def test_a_single_slow_call_is_no_outage(caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched()
    watched.store.failed = 1
    await watched.checks(5)
    assert watched.store.pings == 1
    assert not caplog.records
