"""The stored webhooks, on every adapter."""

from __future__ import annotations

from abc import ABC, abstractmethod

import pytest

from cart.ids import new_cart_id, partition_of
from cart.model import OrderId
from checkout.memory.webhooks import MemoryWebhooks
from checkout.ports.webhooks import Attempt, EndpointState, FailurePolicy, Message, WebhookStore
from checkout.redis.webhooks import RedisWebhooks
from checkout.stored import webhook_due_key, webhook_queue_key, webhook_state_key
from store import Store

NAME = "crm"
POLICY = FailurePolicy()


def an_order_id(partition: str | None = None) -> OrderId:
    cart_id = new_cart_id()
    return OrderId(cart_id if partition is None else partition + cart_id[2:])


class Backend(ABC):
    webhooks: WebhookStore

    @abstractmethod
    async def pass_time(self, seconds: float, *orders: OrderId) -> None:
        """Let time pass for the endpoint and these orders."""


class MemoryBackend(Backend):
    def __init__(self) -> None:
        self.now_ms = 1_795_000_000_000.0
        self.webhooks = MemoryWebhooks(clock_ms=lambda: self.now_ms)

    async def pass_time(self, seconds: float, *orders: OrderId) -> None:
        self.now_ms += seconds * 1000


class RedisBackend(Backend):
    """The server's clock cannot be moved, so all that is stored is moved into the past."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.webhooks = RedisWebhooks(store, log_lines=5)

    async def pass_time(self, seconds: float, *orders: OrderId) -> None:
        ms = round(seconds * 1000)
        for order_id in orders:
            await self.store.execute("ZINCRBY", webhook_due_key(partition_of(order_id), NAME), -ms, order_id)
        key = webhook_state_key(NAME)
        for field in ("since", "last", "probe", "paused"):
            if await self.store.execute("HEXISTS", key, field):
                await self.store.execute("HINCRBY", key, field, -ms)


@pytest.fixture(params=["memory", "redis"])
def backend(request: pytest.FixtureRequest) -> Backend:
    return MemoryBackend() if request.param == "memory" else RedisBackend(request.getfixturevalue("store"))


@pytest.fixture
def webhooks(backend: Backend) -> WebhookStore:
    return backend.webhooks


async def test_a_message_is_due_at_once_and_leased_to_one(webhooks: WebhookStore) -> None:
    order_id = an_order_id("7f")
    await webhooks.add([Message(NAME, order_id, 1)])
    delivery = await webhooks.due(NAME, "7f", lease_s=60)
    assert delivery is not None
    assert delivery.message == Message(NAME, order_id, 1)
    assert delivery.attempts == 0
    assert await webhooks.due(NAME, "7f", lease_s=60) is None
    assert await webhooks.finish(delivery)
    assert await webhooks.due(NAME, "7f", lease_s=60) is None
    assert (await webhooks.waiting(NAME)).orders == 0


async def test_the_messages_of_an_order_follow_one_another_by_their_numbers(webhooks: WebhookStore) -> None:
    order_id = an_order_id("7f")
    for number in (2, 1, 12, 3, 2, 1):
        await webhooks.add([Message(NAME, order_id, number)])
    numbers = []
    while delivery := await webhooks.due(NAME, "7f", lease_s=60):
        numbers.append(delivery.message.number)
        assert await webhooks.due(NAME, "7f", lease_s=60) is None, "the next waits for this one"
        assert await webhooks.finish(delivery)
    assert numbers == [1, 2, 3, 12]


async def test_endpoints_and_partitions_are_apart(webhooks: WebhookStore) -> None:
    await webhooks.add([Message(NAME, an_order_id("7f"), 1), Message("other", an_order_id("80"), 1)])
    assert await webhooks.due(NAME, "80", lease_s=60) is None
    assert await webhooks.due("other", "7f", lease_s=60) is None
    assert await webhooks.due("other", "80", lease_s=60) is not None


async def test_a_delayed_message_is_due_later_and_counts_its_attempts(backend: Backend) -> None:
    webhooks, order_id = backend.webhooks, an_order_id("7f")
    await webhooks.add([Message(NAME, order_id, 1), Message(NAME, order_id, 2)])
    first = await webhooks.due(NAME, "7f", lease_s=60)
    assert first is not None
    assert await webhooks.delay(first, 300)
    assert await webhooks.due(NAME, "7f", lease_s=60) is None, "the next message of the order waits for it"
    await backend.pass_time(301, order_id)
    second = await webhooks.due(NAME, "7f", lease_s=60)
    assert second is not None
    assert (second.message, second.attempts) == (first.message, 1)
    assert await webhooks.delay(second, 0, is_attempt=False)
    third = await webhooks.due(NAME, "7f", lease_s=60)
    assert third is not None
    assert third.attempts == 1
    await webhooks.finish(third)
    following = await webhooks.due(NAME, "7f", lease_s=60)
    assert following is not None
    assert (following.message.number, following.attempts) == (2, 0)


async def test_the_message_of_a_killed_process_is_due_again_when_its_lease_has_ended(backend: Backend) -> None:
    webhooks, order_id = backend.webhooks, an_order_id("7f")
    await webhooks.add([Message(NAME, order_id, 1)])
    killed = await webhooks.due(NAME, "7f", lease_s=60)
    assert killed is not None
    await backend.pass_time(61, order_id)
    # Leases are told apart by their end, and no time has passed here.
    again = await webhooks.due(NAME, "7f", lease_s=90)
    assert again is not None
    assert again.message == killed.message
    assert not await webhooks.finish(killed), "it was not killed but slow, and its lease has ended"
    assert not await webhooks.delay(killed, 5)
    assert await webhooks.finish(again)


async def test_a_message_that_is_added_again_waits_once(webhooks: WebhookStore) -> None:
    order_id = an_order_id("7f")
    await webhooks.add([Message(NAME, order_id, 1)] * 2)
    delivery = await webhooks.due(NAME, "7f", lease_s=60)
    assert delivery is not None
    await webhooks.add([Message(NAME, order_id, 1)])
    assert await webhooks.finish(delivery)
    assert await webhooks.due(NAME, "7f", lease_s=60) is None


async def test_what_waits_is_counted_and_the_longest_due_found(backend: Backend) -> None:
    webhooks = backend.webhooks
    older, newer = an_order_id("7f"), an_order_id("80")
    await webhooks.add([Message(NAME, older, 1)])
    await backend.pass_time(100, older)
    await webhooks.add([Message(NAME, newer, 1)])
    waiting = await webhooks.waiting(NAME)
    assert waiting.orders == 2
    assert set(waiting.due) == {"7f", "80"}
    assert 100 <= waiting.oldest_due_s < 200
    oldest = await webhooks.oldest(NAME, lease_s=60)
    assert oldest is not None
    assert oldest.message.order_id == older
    assert set((await webhooks.waiting(NAME)).due) == {"80"}
    assert await webhooks.oldest("other", lease_s=60) is None


async def test_an_endpoint_is_down_when_different_orders_have_failed_in_a_row(backend: Backend) -> None:
    webhooks = backend.webhooks
    orders = [an_order_id() for _ in range(3)]
    assert await webhooks.state(NAME) == EndpointState()
    for _ in range(5):
        await webhooks.failed(Message(NAME, orders[0], 1), POLICY)
    assert not (await webhooks.state(NAME)).is_down, "one message that cannot be delivered is no endpoint that is down"
    assert not await webhooks.may_probe(NAME, POLICY)
    await webhooks.failed(Message(NAME, orders[1], 1), POLICY)
    await webhooks.failed(Message(NAME, orders[2], 1), POLICY)
    state = await webhooks.state(NAME)
    assert state.is_down
    assert not state.is_open
    assert state.failing_s is not None
    await webhooks.succeeded(NAME)
    assert (await webhooks.state(NAME)).is_open


async def down(webhooks: WebhookStore) -> None:
    for _ in range(3):
        await webhooks.failed(Message(NAME, an_order_id(), 1), POLICY)


async def test_an_endpoint_that_is_down_is_probed_once_a_minute(backend: Backend) -> None:
    webhooks = backend.webhooks
    await down(webhooks)
    assert not await webhooks.may_probe(NAME, POLICY)
    for _ in range(3):
        await backend.pass_time(60.5)
        assert await webhooks.may_probe(NAME, POLICY)
        assert not await webhooks.may_probe(NAME, POLICY)


async def test_a_pause_that_the_endpoint_asked_for_outlasts_a_success(backend: Backend) -> None:
    webhooks = backend.webhooks
    await webhooks.failed(Message(NAME, an_order_id(), 1), POLICY, pause_s=120)
    await webhooks.succeeded(NAME)
    state = await webhooks.state(NAME)
    assert 100 < state.paused_s <= 120
    assert not state.is_open
    await backend.pass_time(121)
    assert (await webhooks.state(NAME)).is_open


async def test_no_probe_during_a_pause(backend: Backend) -> None:
    webhooks = backend.webhooks
    await down(webhooks)
    await webhooks.failed(Message(NAME, an_order_id(), 1), POLICY, pause_s=600)
    await backend.pass_time(300)
    assert not await webhooks.may_probe(NAME, POLICY)
    await backend.pass_time(301)
    assert await webhooks.may_probe(NAME, POLICY)


async def test_an_endpoint_that_is_gone_is_disabled_at_once(webhooks: WebhookStore) -> None:
    assert await webhooks.failed(Message(NAME, an_order_id(), 1), POLICY, is_gone=True) == "gone"
    state = await webhooks.state(NAME)
    assert state.disabled == "gone"
    assert state.disabled_at > 0
    assert await webhooks.failed(Message(NAME, an_order_id(), 1), POLICY, is_gone=True) is None, "it is already"


async def test_an_endpoint_is_disabled_after_five_days_of_failures_only(backend: Backend) -> None:
    webhooks = backend.webhooks
    message = Message(NAME, an_order_id(), 1)
    hours_12 = 12 * 3600
    for _ in range(10):
        assert await webhooks.failed(message, POLICY) is None
        await backend.pass_time(hours_12)
    assert await webhooks.failed(message, POLICY) == "failing"
    assert not await webhooks.may_probe(NAME, POLICY)
    await webhooks.enable(NAME)
    assert await webhooks.state(NAME) == EndpointState()


async def test_two_failures_days_apart_are_no_days_of_failure(backend: Backend) -> None:
    message = Message(NAME, an_order_id(), 1)
    await backend.webhooks.failed(message, POLICY)
    await backend.pass_time(6 * 86_400)
    assert await backend.webhooks.failed(message, POLICY) is None


async def test_an_operator_stops_and_enables_an_endpoint(webhooks: WebhookStore) -> None:
    await webhooks.disable(NAME)
    assert (await webhooks.state(NAME)).disabled == "stopped"
    await webhooks.enable(NAME)
    assert (await webhooks.state(NAME)).is_open


async def test_the_log_has_the_latest_attempts_first(webhooks: WebhookStore) -> None:
    messages = [Message(NAME, an_order_id(), number) for number in (1, 2, 3)]
    for message in messages:
        await webhooks.record(Attempt(message=message, outcome="failed", attempt=2, status=500, took_ms=3))
    attempts = await webhooks.attempts(NAME, limit=2)
    assert [each.message for each in attempts] == [messages[2], messages[1]]
    assert (attempts[0].outcome, attempts[0].attempt, attempts[0].status, attempts[0].took_ms) == ("failed", 2, 500, 3)
    assert attempts[0].at > 1_700_000_000_000
    assert len(await webhooks.attempts(NAME, limit=10, since_ms=attempts[1].at)) >= 2
    assert await webhooks.attempts(NAME, limit=10, since_ms=attempts[0].at + 1) == []
    assert await webhooks.attempts("other", limit=10) == []


async def test_one_process_at_a_time_looks_for_due_messages(store: Store) -> None:
    first, second = RedisWebhooks(store), RedisWebhooks(store)
    assert await first.leads()
    assert not await second.leads()
    assert await first.leads()


async def test_the_messages_of_an_endpoint_that_is_gone_from_the_configuration_expire(store: Store) -> None:
    order_id = an_order_id("7f")
    await RedisWebhooks(store).add([Message(NAME, order_id, 1)])
    for key in (webhook_queue_key("7f", NAME), webhook_due_key("7f", NAME)):
        assert 0 < await store.execute("PTTL", key) <= 15 * 86_400_000


async def test_the_log_is_bounded(store: Store) -> None:
    webhooks = RedisWebhooks(store, log_lines=100)
    for _ in range(500):
        await webhooks.record(Attempt(message=Message(NAME, an_order_id(), 1), outcome="delivered"))
    assert len(await webhooks.attempts(NAME, limit=1000)) < 300
