"""Webhooks in virtual time: when a message is tried again, what an endpoint that is down is sent, and in what order."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from cart.model import OrderId
from checkout.events.event_message import order_event
from checkout.events.webhook_schedule import MAX_ATTEMPTS, next_delay_s
from checkout.events.webhooks import ENDPOINT_DISABLED, Endpoint, Webhooks
from checkout.memory.webhooks import MemoryWebhooks
from checkout.order import Order
from checkout.order_status import NEXT
from checkout.ports.events import NewEvent
from checkout.ports.webhooks import Message, SendResult
from primitives.webhook_signature import WebhookSigner, new_secret
from tests.unit.checkout.fake_services import NOW, an_order
from tests.virtual_time import in_virtual_time, loop_time

SECRET = new_secret()
HOUR_S = 3600.0
NAME = "crm"


def endpoint(name: str = NAME, **changes: Any) -> Endpoint:
    return Endpoint(
        name=name, url=f"https://{name}.example/", signer=WebhookSigner(SECRET, clock=lambda: 1.0), **changes
    )


class FakeReceiver:
    """Answers as `answer` says, and notes when each event was received."""

    def __init__(self) -> None:
        self.tried: list[tuple[float, str]] = []
        self.received: list[tuple[OrderId, int]] = []
        self.bodies: list[tuple[Mapping[str, str], bytes]] = []
        self.answer: Callable[[Mapping[str, Any]], SendResult] = lambda _event: SendResult(status=204)
        self.at_a_time = 0
        self.most_at_a_time = 0
        self.takes_s = 0.01

    async def send(self, url: str, headers: Mapping[str, str], body: bytes, *, allow_private: bool) -> SendResult:
        event = json.loads(body)
        self.tried.append((loop_time(), url))
        self.bodies.append((headers, body))
        self.at_a_time += 1
        self.most_at_a_time = max(self.most_at_a_time, self.at_a_time)
        try:
            await asyncio.sleep(self.takes_s)
        finally:
            self.at_a_time -= 1
        result = self.answer(event)
        if result.is_delivered:
            self.received.append((event.get("subject", ""), event["data"].get("event_number", 1)))
        return result

    @property
    def times(self) -> list[float]:
        return [at for at, _ in self.tried]


class Orders:
    def __init__(self, *orders: Order) -> None:
        self.by_id = {order.id: order for order in orders}

    async def read(self, order_id: OrderId) -> Order | None:
        return self.by_id.get(order_id)


def advanced(order: Order, events: int) -> Order:
    for status in list(NEXT.values())[: events - 1]:
        order = order.moved(status, at=order.updated_at + 1)
    return order


@asynccontextmanager
async def delivering(
    receiver: FakeReceiver,
    orders: Sequence[Order],
    endpoints: Sequence[Endpoint] = (endpoint(),),
    *,
    chance: float = 0.0,
    sweep_s: float = 2.0,
    store: MemoryWebhooks | None = None,
) -> AsyncIterator[Webhooks]:
    loop = asyncio.get_running_loop()
    store = store or MemoryWebhooks(clock_ms=lambda: NOW + loop.time() * 1000)
    webhooks = Webhooks(store, Orders(*orders), receiver, clock=loop_time, sweep_s=sweep_s, chance=lambda: chance)
    webhooks.update(endpoints)
    task = asyncio.create_task(webhooks.run())
    try:
        yield webhooks
    finally:
        task.cancel()
        await asyncio.wait([task])


def events_of(order: Order) -> list[NewEvent]:
    return [NewEvent(order, number + 1) for number in range(len(order.history))]


def a_store() -> MemoryWebhooks:
    loop = asyncio.get_running_loop()
    return MemoryWebhooks(clock_ms=lambda: NOW + loop.time() * 1000)


@in_virtual_time
async def test_an_event_is_sent_at_once_and_signed() -> None:
    order, receiver = an_order(), FakeReceiver()
    async with delivering(receiver, [order]) as webhooks:
        await webhooks.take(events_of(order))
        await asyncio.sleep(1)
    assert receiver.received == [(order.id, 1)]
    headers, body = receiver.bodies[0]
    assert body == order_event(order, 1)
    assert headers["Content-Type"] == "application/cloudevents+json"
    assert headers["webhook-id"] == f"{order.id}-1"
    # The library compares the time of the signature with the clock of this machine, and the fake clock signs in 1970.
    with pytest.raises(WebhookVerificationError, match="too old"):
        Webhook(SECRET).verify(body, dict(headers))
    assert WebhookSigner(SECRET, clock=lambda: 1.0).verify(headers, body) == f"{order.id}-1"
    assert webhooks.attempts == {(NAME, "delivered"): 1}


@in_virtual_time
async def test_a_message_is_tried_at_0_5_s_5_min_30_min_2_h_5_h_10_h_and_10_h() -> None:
    order, receiver = an_order(), FakeReceiver()
    receiver.answer = lambda _event: SendResult(status=500)
    async with delivering(receiver, [order], sweep_s=10.0) as webhooks:
        await webhooks.take(events_of(order))
        await asyncio.sleep(60 * HOUR_S)
        log = await webhooks._store.attempts(NAME, limit=100)
    pauses = [later - earlier for earlier, later in itertools.pairwise(receiver.times)]
    assert [round(pause, -1) if pause > 10 else round(pause) for pause in pauses] == pytest.approx(
        [5, 300, 1800, 7200, 18_000, 36_000, 36_000], abs=10
    )
    assert len(receiver.tried) == MAX_ATTEMPTS == 8
    assert [line.outcome for line in log] == ["exhausted", *["failed"] * 7]
    assert [line.attempt for line in log] == list(range(8, 0, -1))
    assert all(line.status == 500 for line in log)


@pytest.mark.parametrize("attempt", range(1, 8))
def test_a_pause_has_jitter(attempt: int) -> None:
    shortest, longest = (next_delay_s(attempt, chance=chance) for chance in (0.0, 1.0))
    assert shortest is not None
    assert longest == pytest.approx(shortest * 1.1)


def test_a_pause_is_no_shorter_than_asked_for_and_no_longer_than_a_day() -> None:
    assert next_delay_s(1, chance=0.0, retry_after_s=120) == 120
    assert next_delay_s(3, chance=0.0, retry_after_s=120) == 1800
    assert next_delay_s(1, chance=0.0, retry_after_s=1e9) == 86_400
    assert next_delay_s(8, chance=0.0, retry_after_s=120) is None


@in_virtual_time
async def test_a_later_event_of_an_order_waits_for_the_earlier_one() -> None:
    order, other, receiver = advanced(an_order(), 3), an_order(), FakeReceiver()
    failures = 2

    def answer(event: Mapping[str, Any]) -> SendResult:
        nonlocal failures
        if event["subject"] == order.id and failures:
            failures -= 1
            return SendResult(status=503)
        return SendResult(status=200)

    receiver.answer = answer
    async with delivering(receiver, [order, other]) as webhooks:
        await webhooks.take([*events_of(order), *events_of(other)])
        await asyncio.sleep(60)
        assert receiver.received == [(other.id, 1)], "the events of another order do not wait"
        await asyncio.sleep(HOUR_S)
    assert receiver.received[1:] == [(order.id, 1), (order.id, 2), (order.id, 3)]


@in_virtual_time
async def test_after_the_last_attempt_the_next_event_of_the_order_follows() -> None:
    order, receiver = advanced(an_order(), 2), FakeReceiver()
    receiver.answer = lambda event: SendResult(status=204 if "event_number" in event["data"] else 400)
    async with delivering(receiver, [order], sweep_s=60.0) as webhooks:
        await webhooks.take(events_of(order))
        await asyncio.sleep(40 * HOUR_S)
        assert webhooks.attempts[NAME, "exhausted"] == 1
    assert receiver.received == [(order.id, 2)]


@in_virtual_time
async def test_retry_after_is_honoured_for_all_messages_of_the_endpoint() -> None:
    orders, receiver = [an_order() for _ in range(5)], FakeReceiver()
    async with delivering(receiver, orders) as webhooks:
        receiver.answer = lambda _event: SendResult(status=429, retry_after_s=600)
        await webhooks.take(events_of(orders[0]))
        await asyncio.sleep(1)
        receiver.answer = lambda _event: SendResult(status=200)
        for order in orders[1:]:
            await webhooks.take(events_of(order))
        await asyncio.sleep(590)
        assert len(receiver.tried) == 1
        await asyncio.sleep(20)
    assert sorted(receiver.received) == sorted((order.id, 1) for order in orders)


@in_virtual_time
async def test_while_a_receiver_is_down_for_six_hours_there_is_one_probe_a_minute_and_the_order_is_kept() -> None:
    """As in benchmarks/scenarios/webhook_outage.py, which has 10,000 messages waiting."""
    orders, receiver = [advanced(an_order(), 4) for _ in range(60)], FakeReceiver()
    receiver.answer = lambda _event: SendResult(error="ConnectionRefusedError")
    async with delivering(receiver, orders, chance=0.5) as webhooks:
        for count, order in enumerate(orders):
            await webhooks.take(events_of(order))
            await asyncio.sleep(5 * HOUR_S / len(orders) if count > 3 else 0)
        await asyncio.sleep(6 * HOUR_S - loop_time())
        while_down = [at for at in receiver.times if at > 10]
        assert max(later - earlier for earlier, later in itertools.pairwise(while_down)) < 65
        assert min(later - earlier for earlier, later in itertools.pairwise(while_down)) >= 60
        assert 330 < len(while_down) <= 360
        assert not receiver.received
        receiver.answer = lambda _event: SendResult(status=200)
        await asyncio.sleep(70)
        assert sum(each.orders for each in webhooks.waiting.values()) == 0
    assert len(receiver.received) == 240
    for order in orders:
        assert [number for order_id, number in receiver.received if order_id == order.id] == [1, 2, 3, 4]
    assert receiver.most_at_a_time <= 8


@in_virtual_time
async def test_a_probe_is_not_always_the_same_message() -> None:
    """One that the endpoint cannot take would hide that it works again."""
    orders, receiver = [an_order() for _ in range(4)], FakeReceiver()
    receiver.answer = lambda _event: SendResult(status=500)
    async with delivering(receiver, orders) as webhooks:
        for order in orders:
            await webhooks.take(events_of(order))
        await asyncio.sleep(HOUR_S / 2)
        receiver.answer = lambda event: SendResult(status=400 if event["subject"] == orders[0].id else 200)
        await asyncio.sleep(5 * 60)
        assert sorted(receiver.received) == sorted((order.id, 1) for order in orders[1:])


@in_virtual_time
async def test_a_slow_or_dead_endpoint_does_not_hold_up_another() -> None:
    order, receiver = an_order(), FakeReceiver()
    receiver.answer = lambda _event: SendResult(status=200)
    slow = FakeReceiver()
    slow.takes_s = 1e6

    class Both(FakeReceiver):
        async def send(self, url: str, headers: Mapping[str, str], body: bytes, *, allow_private: bool) -> SendResult:
            to = slow if "slow" in url else receiver
            return await to.send(url, headers, body, allow_private=allow_private)

    async with delivering(Both(), [order], [endpoint("slow"), endpoint("fast")]) as webhooks:
        await webhooks.take(events_of(order))
        await asyncio.sleep(1)
        assert receiver.received == [(order.id, 1)]
        await asyncio.sleep(15)
        log = await webhooks._store.attempts("slow", limit=1)
    assert log[0].error == "no answer within 15 s"


@in_virtual_time
async def test_an_endpoint_that_is_gone_is_sent_nothing_more(caplog: pytest.LogCaptureFixture) -> None:
    orders, receiver = [an_order() for _ in range(3)], FakeReceiver()
    receiver.answer = lambda _event: SendResult(status=410)
    async with delivering(receiver, orders) as webhooks:
        with caplog.at_level(logging.ERROR):
            await webhooks.take(events_of(orders[0]))
            await asyncio.sleep(10)
        await webhooks.take(events_of(orders[1]))
        await asyncio.sleep(HOUR_S)
        assert len(receiver.tried) == 1
        assert "the webhook endpoint crm is disabled: it answered 410" in caplog.text
        assert webhooks.attempts == {(NAME, "gone"): 1, (NAME, "skipped"): 1}
        assert webhooks.disabled == {NAME: "gone"}
        receiver.answer = lambda _event: SendResult(status=200)
        await webhooks._store.enable(NAME)
        await asyncio.sleep(10)
        assert receiver.received == [(orders[0].id, 1)], "what waited is delivered; skipped events need a redelivery"


@in_virtual_time
async def test_after_five_days_of_failure_an_endpoint_is_disabled_and_another_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    orders, receiver = [an_order() for _ in range(40)], FakeReceiver()
    receiver.answer = lambda event: SendResult(status=200 if event["type"] == ENDPOINT_DISABLED else 500)
    watcher = endpoint("watcher", types=frozenset({ENDPOINT_DISABLED}))
    async with delivering(receiver, orders, [endpoint(), watcher], chance=0.5, sweep_s=30.0) as webhooks:
        with caplog.at_level(logging.ERROR):
            for order in orders:
                await webhooks.take(events_of(order))
                await asyncio.sleep(4 * HOUR_S)
        assert (await webhooks._store.state(NAME)).disabled == "failing"
        assert (await webhooks._store.state("watcher")).disabled is None
    assert "the webhook endpoint crm is disabled: it has failed for 5 days" in caplog.text
    told = [json.loads(body) for headers, body in receiver.bodies if headers["webhook-id"].startswith("endpoint-")]
    assert [event["data"] for event in told] == [{"endpoint": NAME, "reason": "failing"}]
    last = max(at for at, url in receiver.tried if "crm" in url)
    assert 5 * 24 * HOUR_S <= last < 5 * 24 * HOUR_S + 120


@in_virtual_time
async def test_an_endpoint_is_sent_the_types_that_it_asks_for() -> None:
    order, receiver = advanced(an_order(), 5), FakeReceiver()
    only = endpoint(types=frozenset({"shop.order.completed.v1"}))
    async with delivering(receiver, [order], [only]) as webhooks:
        await webhooks.take(events_of(order))
        await asyncio.sleep(1)
    assert receiver.received == [(order.id, 5)]


@in_virtual_time
async def test_messages_survive_the_death_of_every_process() -> None:
    order, store = advanced(an_order(), 3), a_store()
    dead, receiver = FakeReceiver(), FakeReceiver()
    dead.takes_s = 1e6
    async with delivering(dead, [order], store=store) as webhooks:
        await webhooks.take(events_of(order))
        await asyncio.sleep(1)
    assert len(dead.tried) == 1
    async with delivering(receiver, [order], store=store):
        await asyncio.sleep(70)
    assert receiver.received == [(order.id, 1), (order.id, 2), (order.id, 3)]


@in_virtual_time
async def test_two_processes_send_each_message_once_and_in_order() -> None:
    orders, store = [advanced(an_order(), 5) for _ in range(20)], a_store()
    receiver = FakeReceiver()
    async with delivering(receiver, orders, store=store) as one, delivering(receiver, orders, store=store) as two:
        for number, order in enumerate(orders):
            for event in events_of(order):
                await (one, two)[(number + event.number) % 2].take([event])
        await asyncio.sleep(30)
    assert len(receiver.received) == 100
    for order in orders:
        assert [number for order_id, number in receiver.received if order_id == order.id] == [1, 2, 3, 4, 5]


@in_virtual_time
async def test_the_message_of_an_order_that_is_not_there_is_dropped() -> None:
    order, receiver = an_order(), FakeReceiver()
    async with delivering(receiver, []) as webhooks:
        await webhooks.take(events_of(order))
        await asyncio.sleep(1)
        assert webhooks.attempts == {(NAME, "dropped"): 1}
    assert not receiver.tried


@in_virtual_time
async def test_an_order_that_cannot_be_read_holds_up_no_other() -> None:
    broken, order, receiver = an_order(), an_order(), FakeReceiver()

    class Broken(Orders):
        async def read(self, order_id: OrderId) -> Order | None:
            if order_id == broken.id:
                raise ValueError("not JSON")
            return await super().read(order_id)

    async with delivering(receiver, [order]) as webhooks:
        webhooks._orders = Broken(order)
        await webhooks.take([*events_of(broken), *events_of(order)])
        await asyncio.sleep(1)
        assert receiver.received == [(order.id, 1)]
        assert webhooks.attempts == {(NAME, "failed"): 1, (NAME, "delivered"): 1}
        log = await webhooks._store.attempts(NAME, limit=10)
        assert "the order cannot be read (ValueError)" in [line.error for line in log]
        assert (await webhooks._store.state(NAME)).failing_s is None


@in_virtual_time
async def test_a_redelivery_is_sent_with_the_same_id_and_body() -> None:
    order, receiver = advanced(an_order(), 2), FakeReceiver()
    async with delivering(receiver, [order]) as webhooks:
        await webhooks.take(events_of(order))
        await asyncio.sleep(1)
        await webhooks.add([Message(NAME, order.id, 1)])
        await asyncio.sleep(1)
    assert receiver.received == [(order.id, 1), (order.id, 2), (order.id, 1)]
    assert receiver.bodies[0][1] == receiver.bodies[2][1]
    assert receiver.bodies[0][0]["webhook-id"] == receiver.bodies[2][0]["webhook-id"]


@in_virtual_time
async def test_an_endpoint_that_a_reload_removes_is_sent_nothing() -> None:
    order, receiver = an_order(), FakeReceiver()
    receiver.answer = lambda _event: SendResult(status=500)
    async with delivering(receiver, [order]) as webhooks:
        await webhooks.take(events_of(order))
        await asyncio.sleep(1)
        webhooks.update([])
        await asyncio.sleep(HOUR_S)
        assert len(receiver.tried) == 1
        webhooks.update([endpoint()])
        receiver.answer = lambda _event: SendResult(status=200)
        await asyncio.sleep(10)
    assert receiver.received == [(order.id, 1)]
