"""Events on a topic: in memory, on SNS of moto, and on SNS of fauxqs; read by a queue that subscribes."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

import msgspec
import pytest

from checkout.aws.sns_topic import open_sns_topic
from checkout.events.event_message import order_event
from checkout.events.topic_sink import TopicSink
from checkout.order import Order
from checkout.order_status import NEXT
from checkout.ports.events import NewEvent
from checkout.ports.topics import MAX_BATCH, MAX_BATCH_BYTES, Notification, NotificationFailure, Topic
from tests.contract.checkout.shop import Killed
from tests.sqs import aws_session
from tests.unit.checkout.fake_services import an_order


class Subscriber:
    """A subscriber with a filter of its own."""

    topic: Topic

    async def messages(self) -> Sequence[Mapping[str, Any]]:
        raise NotImplementedError


class MemoryTopic(Subscriber):
    """Publishes to a list, unless `fails` says otherwise."""

    def __init__(self, wanted: Collection[str], *, is_fifo: bool = False) -> None:
        self.topic = self
        self._is_fifo = is_fifo
        self.calls: list[Sequence[Notification]] = []
        self.fails: Callable[[Notification], NotificationFailure | None] = lambda _each: None
        self._wanted = wanted
        self._published: list[Notification] = []

    async def publish(self, notifications: Sequence[Notification]) -> Sequence[NotificationFailure]:
        self.calls.append(notifications)
        failures = []
        for index, each in enumerate(notifications):
            failure = self.fails(each)
            if failure is not None:
                failures.append(msgspec.structs.replace(failure, index=index))
            elif self._is_fifo and each.id in {published.id for published in self._published}:
                continue
            elif not self._wanted or each.attributes["type"] in self._wanted:
                self._published.append(each)
        return failures

    async def messages(self) -> Sequence[Mapping[str, Any]]:
        return [json.loads(each.body) for each in self._published]


class SnsSubscriber(Subscriber):
    """A queue of SQS that is subscribed to a topic of SNS, with raw delivery and a filter policy."""

    def __init__(self, topic: Topic, sqs: Any, queue_url: str) -> None:
        self.topic = topic
        self._sqs = sqs
        self._queue_url = queue_url

    async def messages(self) -> Sequence[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = []
        while True:
            reply = await self._sqs.receive_message(QueueUrl=self._queue_url, MaxNumberOfMessages=10, WaitTimeSeconds=0)
            if not reply.get("Messages"):
                return found
            for each in reply["Messages"]:
                found.append(json.loads(each["Body"]))
                await self._sqs.delete_message(QueueUrl=self._queue_url, ReceiptHandle=each["ReceiptHandle"])


async def subscribed(
    endpoint: str, wanted: Collection[str], stack: AsyncExitStack, *, is_fifo: bool = False
) -> SnsSubscriber:
    session, region = aws_session(), "eu-west-2"
    sns = await stack.enter_async_context(session.create_client("sns", region_name=region, endpoint_url=endpoint))
    sqs = await stack.enter_async_context(session.create_client("sqs", region_name=region, endpoint_url=endpoint))
    name = f"orders-{uuid.uuid4().hex}{'.fifo' if is_fifo else ''}"
    fifo = {"FifoQueue": "true"} if is_fifo else {}
    queue = await sqs.create_queue(QueueName=name, Attributes=fifo)
    attributes = await sqs.get_queue_attributes(QueueUrl=queue["QueueUrl"], AttributeNames=["QueueArn"])
    topic = await sns.create_topic(Name=name, Attributes={"FifoTopic": "true"} if is_fifo else {})
    policy = {"FilterPolicy": json.dumps({"type": list(wanted)})} if wanted else {}
    await sns.subscribe(
        TopicArn=topic["TopicArn"],
        Protocol="sqs",
        Endpoint=attributes["Attributes"]["QueueArn"],
        Attributes={"RawMessageDelivery": "true", **policy},
    )
    opened = await stack.enter_async_context(open_sns_topic(topic["TopicArn"], endpoint_url=endpoint))
    return SnsSubscriber(opened, sqs, queue["QueueUrl"])


Subscribe = Callable[..., Any]


@pytest.fixture(params=["memory", "moto", "fauxqs"])
async def subscribe(request: pytest.FixtureRequest) -> AsyncIterator[Subscribe]:
    async with AsyncExitStack() as stack:
        if request.param == "memory":

            async def in_memory(*wanted: str, is_fifo: bool = False) -> Subscriber:
                return MemoryTopic(wanted, is_fifo=is_fifo)

            yield in_memory
            return
        endpoint = request.getfixturevalue("sqs_endpoint" if request.param == "moto" else "fauxqs_endpoint")
        yield lambda *wanted, is_fifo=False: subscribed(endpoint, wanted, stack, is_fifo=is_fifo)


def completed(**changes: Any) -> Order:
    order = an_order(**changes)
    for status in NEXT.values():
        order = order.moved(status, at=order.updated_at + 1)
    return order


def events_of(*orders: Order) -> list[NewEvent]:
    return [NewEvent(order, number + 1) for order in orders for number in range(len(order.history))]


async def test_every_event_is_published(subscribe: Subscribe) -> None:
    subscriber = await subscribe()
    orders = [completed() for _ in range(3)]
    assert not await TopicSink(subscriber.topic).take(events_of(*orders))
    expected = [json.loads(order_event(order, number + 1)) for order in orders for number in range(5)]
    found = await subscriber.messages()
    assert sorted(found, key=lambda each: (each["subject"], each["time"])) == sorted(
        expected, key=lambda each: (each["subject"], each["time"])
    )


async def test_a_subscriber_filters_by_the_type(subscribe: Subscribe) -> None:
    subscriber = await subscribe("shop.order.completed.v1", "shop.order.refunded.v1")
    orders = [completed(), completed().noted(at=1, refunded=5), an_order()]
    await TopicSink(subscriber.topic).take(events_of(*orders))
    types = sorted(each["type"] for each in await subscriber.messages())
    assert types == ["shop.order.completed.v1", "shop.order.completed.v1", "shop.order.refunded.v1"]


async def test_a_fifo_topic_keeps_the_order_of_each_order_and_takes_an_event_once(subscribe: Subscribe) -> None:
    subscriber = await subscribe(is_fifo=True)
    orders = [completed(), completed()]
    sink = TopicSink(subscriber.topic)
    await sink.take(events_of(*orders))
    found = await subscriber.messages()
    for order in orders:
        numbers = [each["data"].get("event_number", 1) for each in found if each["subject"] == order.id]
        assert numbers == [1, 2, 3, 4, 5]


class DyingTopic:
    """The topic of a process that dies behind its call number `last`."""

    def __init__(self, topic: Topic, last: int) -> None:
        self._topic = topic
        self._left = last

    async def publish(self, notifications: Sequence[Notification]) -> Sequence[NotificationFailure]:
        failures = await self._topic.publish(notifications)
        self._left -= 1
        if not self._left:
            raise Killed
        return failures


@pytest.mark.parametrize("last", [1, 2, 3, 4, 5])
async def test_a_fifo_topic_has_nothing_twice_though_a_process_dies_behind_a_call(
    subscribe: Subscribe, last: int
) -> None:
    subscriber = await subscribe(is_fifo=True)
    orders = [completed(), completed()]
    with pytest.raises(Killed):
        await TopicSink(DyingTopic(subscriber.topic, last)).take(events_of(*orders))
    # The outbox has all of them still.
    assert not await TopicSink(subscriber.topic).take(events_of(*orders))
    found = await subscriber.messages()
    for order in orders:
        numbers = [each["data"].get("event_number", 1) for each in found if each["subject"] == order.id]
        assert numbers == [1, 2, 3, 4, 5]


async def test_a_call_has_one_event_of_each_order_and_ten_at_most() -> None:
    topic = MemoryTopic(())
    orders = [completed() for _ in range(12)]
    await TopicSink(topic).take(events_of(*orders))
    for call in topic.calls:
        groups = [each.group for each in call]
        assert len(set(groups)) == len(groups) <= MAX_BATCH
    for order in orders:
        numbers = [each.id.rpartition("-")[2] for call in topic.calls for each in call if each.group == order.id]
        assert numbers == ["1", "2", "3", "4", "5"]


async def test_a_call_is_within_the_limit_of_its_size() -> None:
    topic = MemoryTopic(())
    line = an_order().lines[0]
    large = [
        msgspec.structs.replace(
            an_order(), lines=tuple(msgspec.structs.replace(line, sku=f"{number:064d}") for number in range(1000))
        )
        for _ in range(4)
    ]
    await TopicSink(topic).take(events_of(*large))
    assert len(topic.calls) > 1
    for call in topic.calls:
        assert sum(len(each.body) for each in call) < MAX_BATCH_BYTES


async def test_an_event_that_was_not_published_comes_again_with_those_behind_it() -> None:
    topic = MemoryTopic(())
    stuck, other = completed(), completed()
    topic.fails = lambda each: (
        NotificationFailure(0, "InternalError", is_permanent=False) if each.id == f"{stuck.id}-2" else None
    )
    sink = TopicSink(topic)
    assert await sink.take(events_of(stuck, other)) == {stuck.id}
    found = [(each["subject"], each["data"].get("event_number", 1)) for each in await topic.messages()]
    assert [number for subject, number in found if subject == stuck.id] == [1]
    assert [number for subject, number in found if subject == other.id] == [1, 2, 3, 4, 5]


async def test_an_event_that_is_refused_for_good_does_not_hold_up_its_order(caplog: pytest.LogCaptureFixture) -> None:
    topic = MemoryTopic(())
    order = completed()
    topic.fails = lambda each: (
        NotificationFailure(0, "InvalidParameter", is_permanent=True) if each.id == f"{order.id}-2" else None
    )
    sink = TopicSink(topic)
    assert not await sink.take(events_of(order))
    assert sink.dropped == 1
    assert len(await topic.messages()) == 4
    assert "dropped" in caplog.text
    assert order.id not in caplog.text


async def test_the_attributes_hold_nothing_personal() -> None:
    topic = MemoryTopic(())
    order = completed()
    await TopicSink(topic).take(events_of(order))
    attributes = topic.calls[-1][0].attributes
    assert attributes == {
        "type": "shop.order.completed.v1",
        "status": "completed",
        "currency": "GBP",
        "total": order.total,
    }


@pytest.mark.parametrize("arn", ["orders", "arn:aws:sqs:eu-west-2:1:orders", "arn:aws:sns::1:orders"])
async def test_an_arn_of_something_else_is_refused(arn: str) -> None:
    with pytest.raises(ValueError, match="is not the ARN of a topic"):
        async with open_sns_topic(arn):
            pass


async def test_a_topic_that_is_away_is_an_error(sqs_endpoint: str) -> None:
    async with open_sns_topic("arn:aws:sns:eu-west-2:123456789012:nothing", endpoint_url=sqs_endpoint) as topic:
        with pytest.raises(Exception, match="NotFound"):
            await TopicSink(topic).take(events_of(an_order()))
