"""Consumers of workers that are gone leave the group of the queue, after their deliveries were claimed."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from cart.model import OrderId
from checkout.ports.queue import Outgoing
from checkout.queues.redis_queue import BULK, QUEUE, RedisQueue
from store import Client, open_client
from store.embedded import EmbeddedServer
from tests.waiting import WITHIN_S

GROUP = "workers"
# A worker process that receives once, says how much, and then waits to be killed.
WORKER = """
import asyncio, sys
from checkout.queues.redis_queue import RedisQueue
from store import open_client

async def main(url):
    store, blocking = await open_client(url, deadline_s=30.0), await open_client(url, deadline_s=30.0)
    print(len(await RedisQueue(store, blocking, consumer="dead").receive(10, 0)), flush=True)
    await asyncio.Event().wait()

asyncio.run(main(sys.argv[1]))
"""


class Clock:
    """A clock that the test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def store_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of our own: Redis 7.0 knows a consumer once it has received a message only."""
    server = EmbeddedServer(tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server.url
    server.stop()


@pytest.fixture
async def blocking_store(store_url: str) -> AsyncIterator[Client]:
    client = await open_client(store_url, deadline_s=30.0)
    yield client
    await client.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def open_queue(store: Client, blocking_store: Client, clock: Clock) -> Callable[..., RedisQueue]:
    def make(consumer: str, *, life_s: float, visibility_s: float = 3600.0) -> RedisQueue:
        return RedisQueue(
            *(store, blocking_store),
            consumer=consumer,
            visibility_s=visibility_s,
            consumer_life_s=life_s,
            clock=clock,
        )

    return make


async def send(queue: RedisQueue, *bodies: bytes) -> None:
    assert all(await queue.send([Outgoing(OrderId(f"7f{i:024d}"), body, f"{i}") for i, body in enumerate(bodies)]))


async def consumers(store: Client, key: str = QUEUE) -> set[bytes]:
    return {each[b"name"] for each in await store.execute("XINFO", "CONSUMERS", key, GROUP)}


async def killed_worker(store_url: str) -> int:
    """The number of messages that a worker received before it was killed."""
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WORKER, store_url, stdout=asyncio.subprocess.PIPE
    )
    assert worker.stdout is not None
    try:
        return int(await asyncio.wait_for(worker.stdout.readline(), WITHIN_S))
    finally:
        worker.kill()
        await worker.communicate()


async def test_the_deliveries_of_a_killed_worker_are_claimed_and_then_its_consumer_is_removed(
    store: Client, store_url: str, open_queue: Callable[..., RedisQueue], clock: Clock
) -> None:
    queue = open_queue("alive", life_s=0, visibility_s=0.001)
    await send(queue, b"one", b"two")
    assert await killed_worker(store_url) == 2

    claimed = await queue.receive(10, 0)

    assert [delivery.body for delivery in claimed] == [b"one", b"two"]
    # It held deliveries of the queue at the look before they were claimed, and none of the bulk queue.
    assert await consumers(store) == {b"alive", b"dead"}
    assert await consumers(store, BULK) == {b"alive"}
    clock.now += 60
    await queue.acknowledge(claimed)
    await queue.receive(10, 0)
    assert await consumers(store) == {b"alive"}


async def test_a_consumer_that_received_lately_stays(
    store: Client, store_url: str, open_queue: Callable[..., RedisQueue]
) -> None:
    queue = open_queue("alive", life_s=3600)
    assert await killed_worker(store_url) == 0
    await queue.receive(10, 0)
    assert await consumers(store) == {b"alive", b"dead"}


async def test_a_consumer_that_still_holds_deliveries_stays(
    store: Client, store_url: str, open_queue: Callable[..., RedisQueue], clock: Clock
) -> None:
    queue = open_queue("alive", life_s=0)
    await send(queue, b"one")
    assert await killed_worker(store_url) == 1
    for _ in range(3):
        await queue.receive(10, 0)
        clock.now += 60
    assert await consumers(store) == {b"alive", b"dead"}


async def test_a_worker_that_was_only_paused_is_a_consumer_again(
    store: Client, open_queue: Callable[..., RedisQueue], clock: Clock
) -> None:
    paused, other = open_queue("paused", life_s=3600), open_queue("other", life_s=0)
    await paused.receive(1, 0)
    await other.receive(1, 0)
    assert b"paused" not in await consumers(store)
    await send(other, b"one")

    received = await paused.receive(1, 0)

    assert [delivery.body for delivery in received] == [b"one"]
    await paused.acknowledge(received)
    assert await other.count_messages() == 0


async def test_a_look_is_a_minute_after_the_last(
    store: Client, store_url: str, open_queue: Callable[..., RedisQueue], clock: Clock
) -> None:
    queue = open_queue("alive", life_s=0)
    await queue.receive(1, 0)
    assert await killed_worker(store_url) == 0
    clock.now += 59
    await queue.receive(1, 0)
    assert b"dead" in await consumers(store)
    clock.now += 1
    await queue.receive(1, 0)
    assert b"dead" not in await consumers(store)
