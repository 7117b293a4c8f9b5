"""The worker behind a real SQS protocol: orders come to their end, poison goes to the dead-letter queue."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiobotocore.session import get_session

from checkout.order_status import OrderStatus
from checkout.ports.queue import Outgoing
from checkout.queues.sqs_queue import open_sqs_queue
from checkout.worker import OrderWorker
from tests.unit.checkout.fake_services import FakeServices, message_of

REGION = "eu-west-2"


@pytest.fixture
async def admin(sqs_endpoint: str) -> AsyncIterator[Any]:
    async with get_session().create_client("sqs", endpoint_url=sqs_endpoint, region_name=REGION) as client:
        yield client


async def test_orders_are_completed_and_invalid_messages_dead_lettered(admin: Any, sqs_endpoint: str) -> None:
    dead_url = (await admin.create_queue(QueueName="dead"))["QueueUrl"]
    described = await admin.get_queue_attributes(QueueUrl=dead_url, AttributeNames=["QueueArn"])
    redrive = json.dumps({"deadLetterTargetArn": described["Attributes"]["QueueArn"], "maxReceiveCount": 1})
    url = (await admin.create_queue(QueueName="orders", Attributes={"RedrivePolicy": redrive}))["QueueUrl"]
    services = FakeServices()
    orders = [await services.accept() for _ in range(9)]

    async with open_sqs_queue(url, endpoint_url=sqs_endpoint, region=REGION) as queue:
        poison = Outgoing(orders[0].id, b"not an order")
        assert all(await queue.send([poison, *map(message_of, orders)]))
        worker = OrderWorker(queue, services.workflow(), wait_s=1)
        running = asyncio.ensure_future(worker.run())
        async with asyncio.timeout(30):
            dead: list[Any] = []
            while not dead or worker.processed < len(orders):
                dead += (await admin.receive_message(QueueUrl=dead_url, WaitTimeSeconds=1)).get("Messages", [])
        worker.stop()
        await running
        left = await admin.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])

    assert [message["Body"] for message in dead] == ["not an order"]
    assert {services.now(order).status for order in orders} == {OrderStatus.COMPLETED}
    assert (worker.processed, worker.failed, worker.dead_lettered) == (9, 1, 1)
    assert left["Attributes"]["ApproximateNumberOfMessagesNotVisible"] == "0"
    assert left["Attributes"]["ApproximateNumberOfMessages"] == "0"
