from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from cart.model import OrderId
from checkout.errors import ServiceUnavailable
from checkout.outbox import SUBMITTED_WITHIN_S, SWEEP_S, OutboxDispatcher
from checkout.ports.outbox import OutboxEntry
from checkout.ports.queue import OrderQueue, Outgoing
from tests.virtual_time import in_virtual_time, loop_time


def entry(number: int) -> OutboxEntry:
    return OutboxEntry("7f", f"{number}-0", OrderId(f"order {number}"), b"message %d" % number)


class FakeOutbox:
    """Entries; nothing is forgotten before it was sent."""

    def __init__(self) -> None:
        self.entries: dict[str, OutboxEntry] = {}
        self.fails = False

    def write(self, *numbers: int) -> list[OutboxEntry]:
        entries = [entry(number) for number in numbers]
        self.entries |= {each.entry_id: each for each in entries}
        return entries

    async def unsent(self, *, per_partition: int) -> Sequence[OutboxEntry]:
        if self.fails:
            raise ServiceUnavailable
        return list(self.entries.values())[:per_partition]

    async def mark_sent(self, entries: Sequence[OutboxEntry]) -> None:
        if self.fails:
            raise ServiceUnavailable
        for each in entries:
            del self.entries[each.entry_id]


class FakeQueue:
    """Takes messages unless told otherwise; each batch takes `takes_s`."""

    def __init__(self) -> None:
        self.batches: list[list[bytes]] = []
        self.tried_at: list[float] = []
        self.takes_s = 0.0
        self.is_away = False
        self.refuses: Callable[[Outgoing], bool] = lambda _message: False

    @property
    def messages(self) -> list[bytes]:
        return [message for batch in self.batches for message in batch]

    async def send(self, messages: Sequence[Outgoing]) -> Sequence[bool]:
        self.tried_at.append(loop_time())
        await asyncio.sleep(self.takes_s)
        if self.is_away:
            raise ServiceUnavailable
        taken = [not self.refuses(message) for message in messages]
        self.batches.append([message.body for message, is_taken in zip(messages, taken, strict=True) if is_taken])
        return taken


@asynccontextmanager
async def running(outbox: FakeOutbox, queue: FakeQueue, **settings: Any) -> AsyncIterator[OutboxDispatcher]:
    as_queue: Any = queue
    port: OrderQueue = as_queue
    chosen: dict[str, Any] = {"senders": 1, "sweep_s": 5.0, "chance": lambda: 0.5} | settings
    dispatcher = OutboxDispatcher(outbox, port, clock=loop_time, **chosen)
    task = asyncio.create_task(dispatcher.run())
    yield dispatcher
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def seconds(number: float) -> None:
    await asyncio.sleep(number)


@in_virtual_time
async def test_an_entry_is_sent_at_once_and_deleted() -> None:
    outbox, queue = FakeOutbox(), FakeQueue()
    async with running(outbox, queue) as dispatcher:
        dispatcher.submit(*outbox.write(1))
        assert await dispatcher.drain(0.1)
        assert queue.messages == [b"message 1"]
        assert not outbox.entries


@in_virtual_time
async def test_while_a_batch_is_sent_entries_wait_a_moment_for_others() -> None:
    outbox, queue = FakeOutbox(), FakeQueue()
    queue.takes_s = 1.0
    async with running(outbox, queue, senders=3, linger_s=0.005) as dispatcher:
        first, second, third, *more = outbox.write(*range(23))
        dispatcher.submit(first)
        await seconds(0.001)
        began_at = loop_time()
        dispatcher.submit(second)
        await seconds(0.001)
        dispatcher.submit(third)
        await seconds(0.1)
        for each in more:  # two full batches, one of which finds a sender
            dispatcher.submit(each)
        full_at = loop_time()
        assert await dispatcher.drain(10)
    assert [len(batch) for batch in queue.batches] == [1, 2, 10, 10]
    assert queue.tried_at[1] == pytest.approx(began_at + 0.005)
    assert queue.tried_at[2] == pytest.approx(full_at)


@in_virtual_time
async def test_an_entry_does_not_wait_for_others_once_nothing_is_sent() -> None:
    outbox, queue = FakeOutbox(), FakeQueue()
    queue.takes_s = 0.01
    async with running(outbox, queue, senders=2, linger_s=60.0) as dispatcher:
        first, second = outbox.write(1, 2)
        dispatcher.submit(first)
        await seconds(0.001)
        dispatcher.submit(second)
        assert await dispatcher.drain(1)
    assert queue.batches == [[b"message 1"], [b"message 2"]]


@in_virtual_time
async def test_entries_submitted_during_a_send_leave_in_batches_of_ten() -> None:
    outbox, queue = FakeOutbox(), FakeQueue()
    queue.takes_s = 0.01
    async with running(outbox, queue) as dispatcher:
        for each in outbox.write(*range(24)):
            dispatcher.submit(each)
        assert dispatcher.waiting == 24
        assert await dispatcher.drain(1)
        assert [len(batch) for batch in queue.batches] == [10, 10, 4]
        assert dispatcher.waiting == 0


@in_virtual_time
async def test_several_batches_are_sent_at_a_time() -> None:
    outbox, queue = FakeOutbox(), FakeQueue()
    queue.takes_s = 1.0
    async with running(outbox, queue, senders=3) as dispatcher:
        for each in outbox.write(*range(30)):
            dispatcher.submit(each)
        assert await dispatcher.drain(1.5)
        assert queue.tried_at == [0.0, 0.0, 0.0]


@in_virtual_time
async def test_sends_to_a_queue_that_is_away_back_off(caplog: pytest.LogCaptureFixture) -> None:
    outbox, queue = FakeOutbox(), FakeQueue()
    queue.is_away = True
    async with running(
        outbox, queue, first_backoff_s=0.1, max_backoff_s=1.0, chance=lambda: 1.0, sweep_s=1e6
    ) as dispatcher:
        dispatcher.submit(*outbox.write(1))
        assert not await dispatcher.drain(4.0)
        waits = [round(after - before, 6) for before, after in zip(queue.tried_at, queue.tried_at[1:], strict=False)]
        assert waits[:6] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
        queue.is_away = False
        assert await dispatcher.drain(1.5)
        assert queue.messages == [b"message 1"]
    assert {record.exc_info for record in caplog.records} == {None}


@in_virtual_time
async def test_the_back_off_is_jittered() -> None:
    outbox, queue = FakeOutbox(), FakeQueue()
    queue.is_away = True
    async with running(outbox, queue, first_backoff_s=1.0, chance=lambda: 0.0, sweep_s=1e6) as dispatcher:
        dispatcher.submit(*outbox.write(1))
        await seconds(0.6)
        assert queue.tried_at == [0.0, 0.5]


@in_virtual_time
async def test_a_message_that_the_queue_refuses_does_not_hold_up_others_and_is_tried_again() -> None:
    outbox, queue = FakeOutbox(), FakeQueue()
    queue.refuses = lambda message: message.body == b"message 2" and loop_time() < 60
    async with running(outbox, queue) as dispatcher:
        for each in outbox.write(1, 2, 3):
            dispatcher.submit(each)
        assert await dispatcher.drain(0.1)
        assert queue.messages == [b"message 1", b"message 3"]
        await seconds(80)
        assert queue.messages[2:] == [b"message 2"]
        assert not outbox.entries


@in_virtual_time
async def test_refused_messages_of_a_batch_are_sent_again_soon_and_without_the_others() -> None:
    outbox, queue = FakeOutbox(), FakeQueue()
    queue.refuses = lambda message: message.body in {b"message 2", b"message 5"} and loop_time() < 0.2
    async with running(outbox, queue, sweep_s=1000.0) as dispatcher:
        for each in outbox.write(1, 2, 3, 4, 5):
            dispatcher.submit(each)
        await seconds(1)
        assert not outbox.entries
    assert queue.batches == [[b"message 1", b"message 3", b"message 4"], [], [b"message 2", b"message 5"]]
    # Pauses of 0.1 s and 0.2 s, less a quarter here.
    assert queue.tried_at == pytest.approx([0.0, 0.075, 0.225], abs=0.01)


@in_virtual_time
async def test_a_message_that_is_always_refused_does_not_slow_down_the_others() -> None:
    outbox, queue = FakeOutbox(), FakeQueue()
    queue.refuses = lambda message: message.body == b"message 0"
    async with running(outbox, queue) as dispatcher:
        for each in outbox.write(*range(200)):
            dispatcher.submit(each)
            await seconds(0.01)
        await seconds(0.5)
        assert len(queue.messages) == 199
        await seconds(600)
    assert [each.message for each in outbox.entries.values()] == [b"message 0"]
    assert len(queue.tried_at) < 600


@in_virtual_time
async def test_the_sweep_sends_the_entries_of_other_processes() -> None:
    outbox, queue = FakeOutbox(), FakeQueue()
    async with running(outbox, queue):
        outbox.write(1)
        await seconds(11)
        assert queue.messages == [b"message 1"]
        assert not outbox.entries


@in_virtual_time
async def test_the_sweep_leaves_young_entries_to_the_process_that_wrote_them() -> None:
    outbox, queue = FakeOutbox(), FakeQueue()
    async with running(outbox, queue, sweep_s=1.0, min_age_s=5.0):
        await seconds(1.9)
        outbox.write(1)  # the next sweep, which sees it first, is at 2 s
        await seconds(5.0)
        assert not queue.messages
        await seconds(0.2)
        assert queue.messages == [b"message 1"]


@in_virtual_time
async def test_the_entry_of_a_process_that_died_is_sent_within_the_bound() -> None:
    outbox, queue = FakeOutbox(), FakeQueue()
    async with running(outbox, queue, sweep_s=SWEEP_S, chance=lambda: 1.0):
        await asyncio.sleep(0.1)
        outbox.write(1)  # behind a sweep
        await asyncio.sleep(SUBMITTED_WITHIN_S)
        assert queue.messages == [b"message 1"]


@in_virtual_time
async def test_the_sweep_skips_entries_that_are_being_sent() -> None:
    outbox, queue = FakeOutbox(), FakeQueue()
    queue.takes_s = 30
    async with running(outbox, queue, sweep_s=1.0, senders=2) as dispatcher:
        dispatcher.submit(*outbox.write(1))
        assert await dispatcher.drain(60)
        assert queue.messages == [b"message 1"]


@in_virtual_time
async def test_an_entry_that_cannot_be_deleted_is_sent_again() -> None:
    outbox, queue = FakeOutbox(), FakeQueue()
    outbox.fails = True
    async with running(outbox, queue) as dispatcher:
        dispatcher.submit(*outbox.write(1))
        assert await dispatcher.drain(0.1)
        outbox.fails = False
        await seconds(20)
        assert queue.messages == [b"message 1", b"message 1"]
        assert not outbox.entries


@in_virtual_time
async def test_entries_over_the_limit_are_left_to_the_sweep() -> None:
    outbox, queue = FakeOutbox(), FakeQueue()
    queue.is_away = True
    async with running(outbox, queue, max_waiting=3) as dispatcher:
        for each in outbox.write(*range(8)):
            dispatcher.submit(each)
        assert dispatcher.waiting == 3
        queue.is_away = False
        await seconds(30)
        assert sorted(queue.messages) == [b"message %d" % number for number in range(8)]


@in_virtual_time
async def test_draining_ends_in_time_and_loses_nothing() -> None:
    outbox, queue = FakeOutbox(), FakeQueue()
    queue.is_away = True
    async with running(outbox, queue) as dispatcher:
        dispatcher.submit(*outbox.write(1))
        assert not await dispatcher.drain(2.0)
        assert loop_time() == 2.0
    assert list(outbox.entries) == ["1-0"]


@in_virtual_time
async def test_with_nothing_submitted_there_is_nothing_to_drain() -> None:
    async with running(FakeOutbox(), FakeQueue()) as dispatcher:
        assert await dispatcher.drain(0)


@in_virtual_time
async def test_a_restarted_dispatcher_sends_the_orders_submitted_before() -> None:
    class Wrong(FakeQueue):
        async def send(self, messages: Sequence[Outgoing]) -> Sequence[bool]:
            return [*await super().send(messages), True]

    outbox, queue = FakeOutbox(), FakeQueue()
    wrong: Any = Wrong()
    dispatcher = OutboxDispatcher(outbox, wrong, senders=2, clock=loop_time)
    for each in outbox.write(*range(12)):
        dispatcher.submit(each)
    with pytest.raises(ExceptionGroup):
        await dispatcher.run()
    assert dispatcher.waiting == 12

    working: Any = queue
    dispatcher._queue = working
    task = asyncio.create_task(dispatcher.run())
    assert await dispatcher.drain(10)
    task.cancel()
    await asyncio.wait([task])
    assert sorted(queue.messages) == sorted(b"message %d" % number for number in range(12))
    assert not outbox.entries


@in_virtual_time
async def test_the_batch_of_a_sender_that_dies_is_sent_after_its_restart() -> None:
    outbox, queue = FakeOutbox(), FakeQueue()
    queue.takes_s = 3600.0
    async with running(outbox, queue) as dispatcher:
        for each in outbox.write(1):
            dispatcher.submit(each)
        await asyncio.sleep(1)
        assert queue.tried_at
    queue.takes_s = 0.0
    again = asyncio.create_task(dispatcher.run())
    assert await dispatcher.drain(10.0)
    assert queue.messages == [b"message 1"]
    assert not outbox.entries
    again.cancel()
