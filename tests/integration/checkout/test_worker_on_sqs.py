"""The worker behind a real SQS protocol: orders come to their end, poison goes to the dead-letter queue."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiobotocore.session import get_session

from checkout.order_status import OrderStatus
from checkout.payments.sandbox import PaymentState
from checkout.ports.queue import Outgoing
from checkout.queues.sqs_queue import open_sqs_queue
from checkout.worker import OrderWorker
from tests.unit.checkout.fake_services import FakeServices, Fault, Faults, message_of
from tests.waiting import WITHIN_S, until

REGION = "eu-west-2"


@pytest.fixture
async def admin(sqs_endpoint: str) -> AsyncIterator[Any]:
    async with get_session().create_client("sqs", endpoint_url=sqs_endpoint, region_name=REGION) as client:
        yield client


async def test_orders_are_completed_and_invalid_messages_dead_lettered(admin: Any, sqs_endpoint: str) -> None:
    dead_url = (await admin.create_queue(QueueName="dead"))["QueueUrl"]
    described = await admin.get_queue_attributes(QueueUrl=dead_url, AttributeNames=["QueueArn"])
    redrive = json.dumps({"deadLetterTargetArn": described["Attributes"]["QueueArn"], "maxReceiveCount": 1000})
    url = (await admin.create_queue(QueueName="orders", Attributes={"RedrivePolicy": redrive}))["QueueUrl"]
    services = FakeServices()
    orders = [await services.accept() for _ in range(9)]

    async with open_sqs_queue(url, endpoint_url=sqs_endpoint, region=REGION) as queue:
        poison = Outgoing(orders[0].id, b"not an order", "odd")
        assert all(await queue.send([poison, *map(message_of, orders)]))
        worker = OrderWorker(queue, services.processor().process, wait_s=1)
        running = asyncio.ensure_future(worker.run())
        async with asyncio.timeout(WITHIN_S):
            dead: list[Any] = []
            while not dead or worker.processed < len(orders):
                dead += (await admin.receive_message(QueueUrl=dead_url, WaitTimeSeconds=1)).get("Messages", [])
        worker.stop()
        await running
        left = await admin.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])

    assert [message["Body"] for message in dead] == ["not an order"]
    assert {services.now(order).status for order in orders} == {OrderStatus.COMPLETED}
    assert (worker.processed, worker.released, worker.dead_lettered) == (9, 0, 1)
    assert left["Attributes"]["ApproximateNumberOfMessagesNotVisible"] == "0"
    assert left["Attributes"]["ApproximateNumberOfMessages"] == "0"


@pytest.mark.slow
async def test_repeated_and_reordered_messages_with_steps_longer_than_the_visibility_have_one_effect(
    fauxqs_endpoint: str,
) -> None:
    async with get_session().create_client("sqs", endpoint_url=fauxqs_endpoint, region_name=REGION) as admin:
        url = (await admin.create_queue(QueueName="repeated"))["QueueUrl"]
    services = FakeServices(Faults({"SandboxPayments.authorise": [Fault(delay_s=3.0)] * 100}))
    orders = [await services.accept() for _ in range(8)]
    chance = random.Random(5)
    messages = [message_of(order) for order in orders for _ in range(chance.randint(1, 5))]
    chance.shuffle(messages)

    async with open_sqs_queue(url, endpoint_url=fauxqs_endpoint, region=REGION, visibility_s=1.0) as queue:
        for first in range(0, len(messages), 10):
            assert all(await queue.send(messages[first : first + 10]))
        workers = [
            OrderWorker(queue, services.processor(holder=name).process, wait_s=1, visibility_s=1.0)
            for name in ("one", "two")
        ]
        running = [asyncio.ensure_future(worker.run()) for worker in workers]
        await until(lambda: sum(worker.processed for worker in workers) >= len(messages))
        for worker in workers:
            worker.stop()
        await asyncio.gather(*running)

    assert len(messages) > len(orders)
    for order in orders:
        assert services.now(order).status is OrderStatus.COMPLETED
        assert services.ledger(order) == [PaymentState.AUTHORISED, PaymentState.CAPTURED]
    assert set(services.notifications.notified.values()) == {1}
    assert services.sold() == 2 * len(orders)
