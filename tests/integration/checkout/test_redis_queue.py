"""The order queue on Redis: groups, consumers, restarts."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from cart.model import OrderId
from checkout.errors import ServiceUnavailable
from checkout.ports.queue import Delivery, Outgoing
from checkout.queues.redis_queue import DEAD, QUEUE, RedisQueue
from store import Client, StoreUnavailable, open_client

OpenQueue = Callable[..., RedisQueue]
LONG_S = 3600.0


@pytest.fixture
async def blocking_store(store_url: str) -> AsyncIterator[Client]:
    client = await open_client(store_url, deadline_s=5.0)
    yield client
    await client.close()


@pytest.fixture
def open_queue(store: Client, blocking_store: Client) -> OpenQueue:
    """A queue as a worker process that just started has it."""

    def make(consumer: str = "one", **settings: Any) -> RedisQueue:
        return RedisQueue(store, blocking_store, consumer=consumer, **({"visibility_s": LONG_S} | settings))

    return make


async def send(queue: RedisQueue, *bodies: bytes) -> None:
    assert all(await queue.send([Outgoing(OrderId(f"7f{i:024d}"), body) for i, body in enumerate(bodies)]))


async def pending(store: Client) -> int:
    summary = await store.execute("XPENDING", QUEUE, "workers")
    count: int = summary[0]
    return count


async def test_a_restarted_worker_first_receives_its_own_deliveries(open_queue: OpenQueue) -> None:
    before = open_queue()
    await send(before, b"held 1", b"held 2")
    await before.receive(10, 0)
    await send(before, b"new")

    restarted = open_queue()
    first = await restarted.receive(10, 0)
    second = await restarted.receive(10, 0)

    assert [(delivery.body, delivery.attempt) for delivery in first] == [(b"held 1", 2), (b"held 2", 2)]
    assert [(delivery.body, delivery.attempt) for delivery in second] == [(b"new", 1)]


async def test_a_restarted_worker_takes_no_deliveries_of_a_running_one(open_queue: OpenQueue) -> None:
    alive = open_queue("alive")
    await send(alive, b"in hand")
    await alive.receive(10, 0)

    assert not await open_queue("restarted").receive(10, 0)


async def test_an_order_in_progress_is_not_delivered_again_after_an_error(
    store: Client, blocking_store: Client
) -> None:
    class Flaky:
        """A store whose next blocking read is lost."""

        is_away = False
        execute = blocking_store.execute

        def execute_blocking(self, *command: Any, timeout_s: float) -> Awaitable[Any]:
            if self.is_away:
                raise StoreUnavailable("lost", may_have_run=True)
            return blocking_store.execute_blocking(*command, timeout_s=timeout_s)

    flaky: Any = Flaky()
    queue = RedisQueue(store, flaky, consumer="one", visibility_s=LONG_S)
    await send(queue, b"in hand")
    await queue.receive(10, 0)
    flaky.is_away = True
    with pytest.raises(ServiceUnavailable):
        await queue.receive(10, 0)
    flaky.is_away = False

    assert not await queue.receive(10, 0)


async def test_a_store_that_was_emptied_gets_its_group_again(open_queue: OpenQueue, store: Client) -> None:
    queue = open_queue()
    await queue.receive(10, 0)
    await store.execute("FLUSHDB")

    with pytest.raises(ServiceUnavailable):
        await queue.receive(10, 0)
    await send(queue, b"after")

    assert [delivery.body for delivery in await queue.receive(10, 0)] == [b"after"]


async def test_a_waiting_receive_can_be_interrupted(open_queue: OpenQueue) -> None:
    queue = open_queue()
    waiting = asyncio.ensure_future(queue.receive(10, 3600))
    while not waiting.done():
        await queue.interrupt()
        await asyncio.sleep(0)

    assert await waiting == []


async def test_messages_sent_before_the_first_worker_are_received(open_queue: OpenQueue) -> None:
    queue = open_queue()
    await send(queue, b"early")

    assert [delivery.body for delivery in await queue.receive(10, 0)] == [b"early"]


async def test_acknowledged_entries_leave_nothing_in_the_store(open_queue: OpenQueue, store: Client) -> None:
    queue = open_queue()
    await send(queue, *[b"%d" % number for number in range(20)])

    await queue.acknowledge([*await queue.receive(10, 0), *await queue.receive(10, 0)])

    assert await store.execute("XLEN", QUEUE) == 0
    assert await pending(store) == 0


async def test_a_partial_acknowledgement_is_completed_at_the_next_claim(open_queue: OpenQueue, store: Client) -> None:
    queue = open_queue()
    await send(queue, b"deleted only")
    (delivery,) = await queue.receive(10, 0)
    await store.execute("XDEL", QUEUE, delivery.receipt)

    assert not await open_queue().receive(10, 0)
    assert await pending(store) == 0


async def test_a_dead_letter_has_body_attempts_and_reason(open_queue: OpenQueue, store: Client) -> None:
    queue = open_queue(max_deliveries=1)
    await send(queue, b"poison")
    (delivery,) = await queue.receive(10, 0)

    assert await queue.release(delivery, 0, reason="NotAnOrderMessage: odd")

    ((_, fields),) = await store.execute("XRANGE", DEAD, "-", "+")
    assert fields == [b"body", b"poison", b"attempts", b"1", b"reason", b"NotAnOrderMessage: odd"]
    assert await store.execute("XLEN", QUEUE) == 0
    assert await pending(store) == 0


async def test_an_order_that_kills_every_worker_is_dead_lettered(open_queue: OpenQueue, store: Client) -> None:
    await send(open_queue(), b"killer")

    seen = [delivery.attempt for _ in range(7) for delivery in await open_queue().receive(10, 0)]

    assert seen == [1, 2, 3, 4, 5]
    ((_, fields),) = await store.execute("XRANGE", DEAD, "-", "+")
    assert fields[-1] == b"its workers died or hung"


async def test_a_worker_does_not_release_a_delivery_that_another_claimed(open_queue: OpenQueue) -> None:
    hung, other = open_queue("hung", visibility_s=0), open_queue("other", visibility_s=0)
    await send(hung, b"order")
    (first,) = await hung.receive(10, 0)
    (second,) = await other.receive(10, 0)

    assert not await hung.release(first, 0, reason="late")

    assert second.attempt == 2
    assert not await open_queue("third").receive(10, 0)


async def test_more_than_a_page_of_own_deliveries_is_received_after_a_restart(
    open_queue: OpenQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("checkout.queues.redis_queue._PAGE", 3)
    before = open_queue()
    await send(before, *[b"%d" % number for number in range(10)])
    assert len(await before.receive(10, 0)) == 10

    restarted = open_queue()
    again: list[Delivery] = []
    while batch := await restarted.receive(10, 0):
        again += batch

    assert [delivery.body for delivery in again] == [b"%d" % number for number in range(10)]


async def test_a_blocked_read_delays_nothing_else(open_queue: OpenQueue) -> None:
    queue = open_queue()
    waiting = asyncio.ensure_future(queue.receive(10, 30))
    answered: list[Awaitable[None]] = [send(queue, b"%d" % number) for number in range(3)]

    await asyncio.gather(*answered)

    assert [delivery.body for delivery in await waiting][:1] == [b"0"]
