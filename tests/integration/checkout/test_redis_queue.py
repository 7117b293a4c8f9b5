"""The order queue on Redis: groups, consumers, restarts."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from cart.model import OrderId
from checkout.errors import ServiceUnavailable
from checkout.ports.queue import Delivery, Outgoing
from checkout.queues.redis_queue import DEAD, QUEUE, RedisQueue
from store import Client, StoreUnavailable, open_client
from tests.contract.checkout.shop import FailingStore

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
    assert all(await queue.send([Outgoing(OrderId(f"7f{i:024d}"), body, f"{i}") for i, body in enumerate(bodies)]))


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


@pytest.mark.parametrize("at", [1, 2])
async def test_an_acknowledgement_is_whole_or_nothing(
    open_queue: OpenQueue, store: Client, blocking_store: Client, at: int
) -> None:
    refusing = FailingStore(store, at=at, ran=False, error=StoreUnavailable("cut off"))
    queue = open_queue()
    await send(queue, b"order")
    (delivery,) = await queue.receive(10, 0)

    with contextlib.suppress(ServiceUnavailable):
        await RedisQueue(refusing, blocking_store, consumer="one").acknowledge([delivery])

    assert await store.execute("XLEN", QUEUE) == await pending(store)


async def test_ghosts_are_deleted_from_the_queue(open_queue: OpenQueue, store: Client) -> None:
    before = open_queue()
    await send(before, b"ghost", b"held", b"ghost", b"ghost", b"held", b"new")
    ghosts = [delivery for delivery in await before.receive(5, 0) if delivery.body == b"ghost"]
    # Acknowledgements of which one half was refused.
    await store.execute("XACK", QUEUE, "workers", *(ghost.receipt for ghost in ghosts))

    assert [delivery.body for delivery in await open_queue("other").receive(10, 0)] == [b"new"]

    left = [fields[1] for _, fields in await store.execute("XRANGE", QUEUE, "-", "+")]
    assert left == [b"held", b"held", b"new"]
    assert await pending(store) == 3


async def test_ghosts_are_found_behind_pages_of_pending_entries(
    open_queue: OpenQueue, store: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("checkout.queues.redis_queue._GHOSTS_PAGE", 3)
    now = 0.0
    queue = open_queue(clock=lambda: now)
    await send(queue, *[b"%d" % number for number in range(10)])
    held = await queue.receive(10, 0)
    # Pending entries that are no longer in the stream.
    await store.execute("XDEL", QUEUE, *(delivery.receipt for delivery in held[1:4]))
    await store.execute("XACK", QUEUE, "workers", held[7].receipt)

    for _ in range(3):
        now += 10.0
        await queue.receive(10, 0)

    left = [fields[1] for _, fields in await store.execute("XRANGE", QUEUE, "-", "+")]
    assert left == [b"0", b"4", b"5", b"6", b"8", b"9"]


async def test_the_age_does_not_fall_when_a_server_with_another_clock_takes_over(
    open_queue: OpenQueue, store: Client
) -> None:
    now = 0.0
    queue = open_queue(clock=lambda: now)
    (seconds, _) = await store.execute("TIME")
    await store.execute("XADD", QUEUE, f"{int(seconds) + 600}000-1", "body", b"of the server before")
    assert await queue.oldest_age_s() == 0.0
    now = 7.0
    assert await queue.oldest_age_s() == 7.0


async def test_a_dead_letter_has_body_attempts_and_reason(open_queue: OpenQueue, store: Client) -> None:
    queue = open_queue()
    await send(queue, b"poison")
    (delivery,) = await queue.receive(10, 0)

    await queue.dead_letter(delivery, reason="NotAnOrderMessage: odd")

    ((_, fields),) = await store.execute("XRANGE", DEAD, "-", "+")
    assert fields == [b"body", b"poison", b"attempts", b"1", b"reason", b"NotAnOrderMessage: odd"]
    assert await store.execute("XLEN", QUEUE) == 0
    assert await pending(store) == 0


async def test_a_worker_neither_extends_nor_releases_nor_dead_letters_a_delivery_that_another_claimed(
    open_queue: OpenQueue, store: Client
) -> None:
    hung, other = open_queue("hung", visibility_s=0), open_queue("other", visibility_s=0)
    await send(hung, b"order")
    (first,) = await hung.receive(10, 0)
    (second,) = await other.receive(10, 0)

    await hung.extend([first], LONG_S)
    await hung.release(first, 0)
    await hung.dead_letter(first, reason="late")

    assert second.attempt == 2
    ((_, consumer, _, _),) = await store.execute("XPENDING", QUEUE, "workers", "-", "+", 10)
    assert consumer == b"other"
    assert not await open_queue("third").receive(10, 0)
    assert await store.execute("XLEN", DEAD) == 0


async def test_a_visible_delivery_is_claimed_behind_many_delayed_ones(open_queue: OpenQueue) -> None:
    """A claim of 10 looks at 100 entries only; the others must not wait for further rounds."""
    queue = open_queue()
    for first in range(0, 1500, 100):
        await send(queue, *[b"%d" % number for number in range(first, first + 100)])
    held = [delivery for _ in range(150) for delivery in await queue.receive(10, 0)]
    await queue.release(held[-1], 0)

    assert [delivery.body for delivery in await queue.receive(10, 0)] == [b"1499"]


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


async def test_a_delivery_is_not_acknowledged_on_another_connection(open_queue: OpenQueue, store: Client) -> None:
    queue = open_queue()
    await send(queue, b"before")
    (before,) = await queue.receive(10, 0)
    store.connection_lost(None)
    await send(queue, b"after")
    after = await queue.receive(10, 0)

    with pytest.raises(ServiceUnavailable):
        await queue.acknowledge([before, *after])

    assert [fields[1] for _, fields in await store.execute("XRANGE", QUEUE, "-", "+")] == [b"before"]
    restarted = open_queue()
    await restarted.acknowledge(await restarted.receive(10, 0))
    assert await store.execute("XLEN", QUEUE) == await pending(store) == 0
