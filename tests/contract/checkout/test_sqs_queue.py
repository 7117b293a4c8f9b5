"""The order queue on SQS: batches, FIFO, copies, redrive policies."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiobotocore.session import get_session

from cart.model import OrderId
from checkout.ports.queue import Outgoing
from checkout.queues.sqs_queue import SqsQueue, open_sqs_queue

REGION = "eu-west-2"
TOO_LARGE = b"x" * (1024 * 1024 + 1)


@pytest.fixture
async def admin(sqs_endpoint: str) -> AsyncIterator[Any]:
    async with get_session().create_client("sqs", endpoint_url=sqs_endpoint, region_name=REGION) as client:
        yield client


async def create(admin: Any, name: str, **attributes: str) -> str:
    created = await admin.create_queue(QueueName=name, Attributes=attributes)
    url: str = created["QueueUrl"]
    return url


def message(number: int, body: bytes = b"{}") -> Outgoing:
    return Outgoing(OrderId(f"7f{number:024d}"), body)


async def test_a_rejected_message_does_not_fail_the_others(admin: Any, sqs_endpoint: str) -> None:
    url = await create(admin, "partial")

    async with open_sqs_queue(url, endpoint_url=sqs_endpoint, region=REGION) as queue:
        outcome = await queue.send([message(1), message(2, TOO_LARGE), message(3)])
        received = await queue.receive(10, 1)

    assert list(outcome) == [True, False, True]
    assert len(received) == 2


async def test_failures_of_a_batch_are_reported_for_each_message() -> None:
    class Client:
        async def send_message_batch(self, *, QueueUrl: str, Entries: list[dict[str, str]]) -> dict[str, Any]:  # noqa: N803
            failed = [{"Id": "1", "Code": "InternalError", "SenderFault": False}]
            return {"Successful": [{"Id": entry["Id"]} for entry in Entries if entry["Id"] != "1"], "Failed": failed}

    queue = SqsQueue(Client(), "https://sqs.eu-west-2.amazonaws.com/1/orders")

    assert list(await queue.send([message(1), message(2), message(3)])) == [True, False, True]


async def test_a_fifo_queue_drops_an_order_sent_twice_and_groups_by_order(admin: Any, sqs_endpoint: str) -> None:
    url = await create(admin, "twice.fifo", FifoQueue="true")

    async with open_sqs_queue(url, endpoint_url=sqs_endpoint, region=REGION) as queue:
        await queue.send([message(1), message(2)])
        assert list(await queue.send([message(1)])) == [True]
        await queue.receive(10, 1)
        rest = await queue.receive(10, 0)
        described = await admin.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])

    assert not rest
    counts = described["Attributes"]
    assert int(counts["ApproximateNumberOfMessagesNotVisible"]) == 2


async def test_without_a_redrive_policy_nothing_is_dead_lettered(admin: Any, sqs_endpoint: str) -> None:
    url = await create(admin, "endless")

    async with open_sqs_queue(url, endpoint_url=sqs_endpoint, region=REGION) as queue:
        await queue.send([message(1)])
        for _ in range(3):
            (delivery,) = await queue.receive(1, 1)
            assert not await queue.release(delivery, 0, reason="busy")


async def test_the_region_is_read_from_the_address(aws_credentials: None) -> None:
    async with open_sqs_queue("https://sqs.ap-southeast-2.amazonaws.com/123456789012/orders") as queue:
        assert queue._client.meta.region_name == "ap-southeast-2"


async def test_a_missing_region_is_an_error(aws_credentials: None) -> None:
    with pytest.raises(ValueError, match="region"):
        async with open_sqs_queue("http://127.0.0.1:9324/000000000000/orders"):
            pass


async def test_one_client_serves_many_calls_at_once(admin: Any, sqs_endpoint: str) -> None:
    url = await create(admin, "busy")

    async with open_sqs_queue(url, endpoint_url=sqs_endpoint, region=REGION) as queue:
        await asyncio.gather(*(queue.send([message(number)]) for number in range(20)))
        pools = queue._client.meta.config.max_pool_connections

    assert pools == 50
