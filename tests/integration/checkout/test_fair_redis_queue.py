"""Fairness of the order queue on Redis: a group with many messages does not delay the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest

from cart.model import OrderId
from checkout.ports.queue import Delivery, Outgoing
from checkout.queues.redis_queue import BULK, GROUPS, QUEUE, RedisQueue
from store import Client, open_client

OpenQueue = Callable[..., RedisQueue]
LONG_S = 3600.0
MOST = 10


@pytest.fixture
async def blocking_store(store_url: str) -> AsyncIterator[Client]:
    client = await open_client(store_url, deadline_s=5.0)
    yield client
    await client.close()


@pytest.fixture
def open_queue(store: Client, blocking_store: Client) -> OpenQueue:
    def make(consumer: str = "one", **settings: Any) -> RedisQueue:
        settings = {"visibility_s": LONG_S, "most_of_a_group": MOST} | settings
        return RedisQueue(store, blocking_store, consumer=consumer, **settings)

    return make


async def send(queue: RedisQueue, group: str, count: int) -> None:
    """So many messages of the group, `group 0` and so on."""
    messages = [Outgoing(OrderId(f"7f{n:024d}"), f"{group} {n}".encode(), str(n), group) for n in range(count)]
    for first in range(0, count, 10):
        assert all(await queue.send(messages[first : first + 10]))


async def receive_all(queue: RedisQueue) -> list[Delivery]:
    received: list[Delivery] = []
    while batch := await queue.receive(10, 0):
        received += batch
    return received


def positions(received: Sequence[Delivery], group: bytes) -> list[int]:
    return [index for index, delivery in enumerate(received) if delivery.body.startswith(group)]


async def test_a_group_with_many_messages_does_not_delay_the_others(open_queue: OpenQueue) -> None:
    queue = open_queue()
    await send(queue, "drop", 500)
    await send(queue, "mug", 5)
    await send(queue, "box", 5)

    received = await receive_all(queue)

    assert len({delivery.body for delivery in received}) == len(received) == 510
    # Behind the first messages of the drop, which were not many yet, half of the deliveries are those of others.
    assert max(positions(received, b"mug") + positions(received, b"box")) < 2 * (MOST + 10) + 10


async def test_a_group_alone_has_the_whole_queue(open_queue: OpenQueue, store: Client) -> None:
    queue = open_queue()
    await send(queue, "drop", 100)
    assert (await store.execute("XLEN", QUEUE), await store.execute("XLEN", BULK)) == (MOST, 100 - MOST)
    sizes = [len(await queue.receive(10, 0)) for _ in range(10)]
    assert sizes == [10] * 10


async def test_released_messages_of_a_group_do_not_delay_the_others(open_queue: OpenQueue) -> None:
    """As after an outage of the payment, when all of them are to be tried again."""
    queue = open_queue()
    await send(queue, "drop", 200)
    for delivery in await receive_all(queue):
        await queue.release(delivery, 0)
    await send(queue, "mug", 3)

    received = [delivery for _ in range(8) for delivery in await queue.receive(10, 0)]

    assert len(positions(received, b"mug")) == 3


async def test_the_sizes_of_groups_are_those_of_the_queue(open_queue: OpenQueue, store: Client) -> None:
    queue = open_queue()
    await send(queue, "drop", 30)
    await send(queue, "mug", 3)
    received = await receive_all(queue)
    ghost, odd, twice, *others = received

    await store.execute("XACK", QUEUE, "workers", ghost.receipt)
    await queue.dead_letter(odd, reason="odd")
    await queue.dead_letter(odd, reason="odd")
    await queue.acknowledge([twice])
    await queue.acknowledge([twice])
    assert await store.execute("HGETALL", GROUPS) == {b"drop": b"28", b"mug": b"3"}

    await queue.acknowledge(others)
    assert not await open_queue("two").receive(10, 0)  # deletes the ghost
    assert await store.execute("EXISTS", GROUPS) == 0
    assert await store.execute("XLEN", QUEUE) == await store.execute("XLEN", BULK) == 0


async def test_a_restarted_worker_receives_its_bulk_deliveries_again(open_queue: OpenQueue) -> None:
    before = open_queue()
    await send(before, "drop", 2 * MOST)
    held = await receive_all(before)

    again = await receive_all(open_queue())

    assert sorted(delivery.body for delivery in again) == sorted(delivery.body for delivery in held)
    assert {delivery.attempt for delivery in again} == {2}


async def test_bulk_deliveries_are_extended_released_and_delivered_again(open_queue: OpenQueue) -> None:
    queue = open_queue(most_of_a_group=1)
    await send(queue, "drop", 2)
    received = await receive_all(queue)
    await queue.extend(received, LONG_S)
    assert not await queue.receive(10, 0)

    for delivery in received:
        await queue.release(delivery, 0)

    assert [delivery.attempt for delivery in await receive_all(queue)] == [2, 2]


async def test_a_waiting_receive_wakes_for_a_bulk_message(open_queue: OpenQueue) -> None:
    queue = open_queue(most_of_a_group=0)
    waiting: Awaitable[Sequence[Delivery]] = asyncio.ensure_future(queue.receive(1, 30))
    await asyncio.sleep(0)
    await send(queue, "drop", 1)
    assert [delivery.body for delivery in await waiting] == [b"drop 0"]


async def test_one_delivery_is_received_where_one_is_asked_for(open_queue: OpenQueue, store: Client) -> None:
    """Both streams may get a message in the same moment, and a blocking read has a count for each."""
    queue = open_queue()
    assert not await queue.receive(1, 0)
    for key in (QUEUE, BULK):
        await store.execute("XADD", key, "*", "body", key)

    received = await queue._read(1, 1)

    assert len(received) == 1
    assert len(await queue.receive(10, 0)) == 1


async def test_the_age_is_that_of_the_oldest_of_both(open_queue: OpenQueue, store: Client) -> None:
    queue = open_queue()
    (seconds, _) = await store.execute("TIME")
    await store.execute("XADD", QUEUE, f"{int(seconds) - 10}000-1", "body", b"newer")
    await store.execute("XADD", BULK, f"{int(seconds) - 60}000-1", "body", b"older")
    age_s = await queue.oldest_age_s()
    assert age_s is not None
    assert age_s >= 60


async def test_a_message_of_an_earlier_version_has_no_group(open_queue: OpenQueue, store: Client) -> None:
    queue = open_queue()
    await store.execute("XADD", QUEUE, "*", "body", b"old")
    (delivery,) = await queue.receive(10, 0)
    await queue.acknowledge([delivery])
    assert await store.execute("EXISTS", GROUPS) == 0


async def test_sizes_that_are_wrong_are_forgotten_once_the_queue_is_empty(open_queue: OpenQueue, store: Client) -> None:
    """Gateways of an earlier version, in a rolling upgrade, remove messages without counting them."""
    queue = open_queue()
    await send(queue, "mug", 2)
    await store.execute("XTRIM", QUEUE, "MAXLEN", 0)
    await send(queue, "mug", 1)
    assert await store.execute("HGETALL", GROUPS) == {b"mug": b"1"}
