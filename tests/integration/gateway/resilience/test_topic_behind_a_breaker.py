"""Events while their topic is away, in virtual time: all wait, in order, and the topic is spared."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from checkout.aws.errors import AwsRejected, AwsUnreachable
from checkout.events.guarded_sink import GuardedEventSink
from checkout.events.relay import EventRelay
from checkout.events.topic_sink import TopicSink
from checkout.memory.event_outbox import MemoryEventOutbox, MemoryEvents
from checkout.order import Order
from checkout.order_status import NEXT
from checkout.ports.orders import Receipt
from checkout.ports.topics import Notification, NotificationFailure
from gateway.resilience.breaker_model import State
from gateway.resilience.breakers import Breakers
from tests.unit.checkout.fake_services import an_order
from tests.virtual_time import in_virtual_time, loop_time

CALL_S = 5.0


class AwayTopic:
    """A topic that hangs until its client gives up, or refuses, while `how` says so."""

    def __init__(self) -> None:
        self.how: str | None = None
        self.calls = 0
        self.published: list[str] = []

    async def publish(self, notifications: Sequence[Notification]) -> Sequence[NotificationFailure]:
        self.calls += 1
        if self.how == "hangs":
            await asyncio.sleep(CALL_S)
            raise AwsUnreachable("ReadTimeoutError")
        if self.how == "refuses":
            raise AwsRejected("AuthorizationError", "not allowed", status=403)
        self.published += [each.id for each in notifications]
        return []


class Bench:
    """Orders with five events each, and the relay that publishes them."""

    def __init__(self) -> None:
        self.orders: dict[str, Order] = {}
        self.events = MemoryEvents(clock=loop_time)
        self.topic = AwayTopic()
        self.breakers = Breakers({}, clock=loop_time, now=loop_time, rng=lambda: 0.5)
        self.breaker = self.breakers.of("sns")
        self.relay = EventRelay(
            MemoryEventOutbox(self.events),
            self,
            GuardedEventSink(TopicSink(self.topic), self.breaker),
            name="sns",
            clock=loop_time,
            chance=lambda: 0.5,
        )

    async def receipt(self, order_id: str) -> Receipt | None:
        return Receipt(self.orders[order_id], key_hash="", fingerprint="", is_durable=True)

    async def make_durable(self, order: Order) -> None: ...

    def completed(self) -> Order:
        order = an_order()
        for status in NEXT.values():
            order = order.moved(status, at=order.updated_at + 1)
        self.orders[order.id] = order
        for number in range(1, len(order.history) + 1):
            self.events.append(order.id, number)
        self.relay.notice(order.id)
        return order

    def published_of(self, order: Order) -> list[str]:
        return [each for each in self.topic.published if each.startswith(order.id)]


@asynccontextmanager
async def relaying(bench: Bench) -> AsyncIterator[None]:
    running = asyncio.create_task(bench.relay.run())
    try:
        yield
    finally:
        running.cancel()
        await asyncio.wait([running])


async def all_published(bench: Bench) -> None:
    # In virtual time: the relay pauses for longer than a sweep while the breaker closes.
    for _ in range(600):
        await asyncio.sleep(0.5)
        if not bench.events.entries:
            return
    raise AssertionError("events are left")


@pytest.mark.parametrize("how", ["hangs", "refuses"])
@in_virtual_time
async def test_a_topic_that_is_away_is_spared_and_gets_all_events_in_order_afterwards(how: str) -> None:
    bench = Bench()
    bench.topic.how = how
    async with relaying(bench):
        orders = []
        for _ in range(60):
            orders.append(bench.completed())
            await asyncio.sleep(10)
        assert bench.breaker.state is not State.CLOSED
        # In ten minutes: five calls that open it, and a probe each 15 to 30 s.
        assert bench.topic.calls < 40
        assert len(bench.events.entries) == 5 * len(orders), "none is lost, none is dropped"
        bench.topic.how = None
        await all_published(bench)
        for order in orders:
            assert bench.published_of(order) == [f"{order.id}{tail}" for tail in ("-1", "-2", "-3", "-4", "-5")]


@in_virtual_time
async def test_a_drill_keeps_the_events_and_its_end_publishes_them() -> None:
    bench = Bench()
    async with relaying(bench):
        bench.breakers.trip("sns", "a drill")
        order = bench.completed()
        await asyncio.sleep(60)
        assert bench.topic.calls == 0
        assert len(bench.events.entries) == 5
        bench.breakers.release("sns")
        await all_published(bench)
        assert len(bench.published_of(order)) == 5
