"""A real store that is stopped, and goes on."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from gateway.resilience.breaker_model import State
from gateway.resilience.breakers import Breakers
from gateway.resilience.store_guard import StoreGuard
from primitives.unit_of_work import unit_of_work
from store import Client, StoreError, StoreUnavailable, open_client
from store.embedded import EmbeddedServer
from tests.waiting import until


@pytest.fixture
async def client(own_server: EmbeddedServer) -> AsyncIterator[Client]:
    opened = await open_client(own_server.url)
    yield opened
    await opened.close()


async def test_a_store_that_is_paused_is_cut_off_and_comes_back_by_itself(
    own_server: EmbeddedServer, client: Client
) -> None:
    pid = own_server.pid
    assert pid is not None
    breaker = Breakers({}).of("store")
    guard = StoreGuard(client, breaker)
    watching = asyncio.create_task(guard.watch())
    shopping = asyncio.create_task(shop(client))
    try:
        await until(lambda: client.answered > 200)
        assert breaker.state is State.CLOSED

        os.kill(pid, signal.SIGSTOP)
        await until(lambda: breaker.state is State.OPEN)
        failed = client.failed
        await asyncio.sleep(0.01)
        for _ in range(100):
            with unit_of_work(), pytest.raises(StoreUnavailable, match="cut off"):
                await client.execute("GET", "a")
        assert client.failed == failed  # they never reached it
    finally:
        os.kill(pid, signal.SIGCONT)
    answered = client.answered
    await until(lambda: str(breaker.state) == State.CLOSED and client.answered > answered + 200)
    assert await client.execute("SET", "a", 1) == b"OK"
    reasons = [entry["reason"] for entry in breaker.snapshot()["history"]]
    assert reasons[-1] == "the ramp has ended"
    for task in (watching, shopping):
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def shop(client: Client) -> None:
    """Calls all the time, as many shoppers do."""
    while True:
        with unit_of_work():
            calls = [client.execute("GET", "a") for _ in range(20)]
        for call in calls:
            with suppress(StoreError):
                await call
        await asyncio.sleep(0.01)
