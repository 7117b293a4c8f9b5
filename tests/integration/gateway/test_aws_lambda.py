"""The order worker as a function of AWS Lambda, on a store of its own and an SQS server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from cart.catalog.model import CatalogRow
from cart.catalog.redis_catalog import RedisCatalog
from cart.model import Sku
from checkout.errors import StatusConflict
from checkout.workflow.orders import LATEST
from checkout.workflow.states_language import function_call, states_language
from gateway import aws_lambda, compose
from gateway.prerequisites import CannotStart, StoreAddress, check_store
from gateway.settings import Settings
from store import open_client
from store.embedded import EmbeddedServer
from tests.integration.gateway.resilience.shopping import POLICIES, SKU, Shop
from tests.sqs import aws_session
from tests.waiting import WITHIN_S

pytestmark = pytest.mark.slow

REGION = "eu-west-2"
ORDERS = 3


class Context:
    def get_remaining_time_in_millis(self) -> int:
        return 60_000


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    server = EmbeddedServer(tmp_path / "data")
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def sqs(sqs_endpoint: str) -> AsyncIterator[Any]:
    async with aws_session().create_client("sqs", endpoint_url=sqs_endpoint, region_name=REGION) as client:
        yield client


@pytest.fixture
async def queue_url(sqs: Any) -> str:
    url: str = (await sqs.create_queue(QueueName="lambda-orders"))["QueueUrl"]
    return url


@pytest.fixture
async def shop(own_server: EmbeddedServer, tmp_path: Path, queue_url: str, sqs_endpoint: str) -> AsyncIterator[Shop]:
    """A gateway that accepts orders and works none off."""
    async with AsyncExitStack() as stack:
        operator = await open_client(own_server.url, deadline_s=5.0)
        stack.push_async_callback(operator.close)
        await RedisCatalog(operator).put([CatalogRow(Sku(SKU), "a mug", 255, "GBP", 1000)])
        settings = Settings(
            data_dir=tmp_path,
            policies=POLICIES,
            workers=1,
            role="edge",
            queue_url=queue_url,
            aws_endpoint_url=sqs_endpoint,
            aws_region=REGION,
        )
        address = StoreAddress(own_server.url, is_embedded=True)
        await check_store(settings, address)
        gateway = await compose.gateway(settings, address, stack, worker_name="s:0a")
        server = await asyncio.get_running_loop().create_server(gateway.edge.protocol, "127.0.0.1", 0)
        stack.push_async_callback(gateway.edge.drain, 0.0)
        stack.callback(server.close)
        yield Shop(gateway, server.sockets[0].getsockname()[1])


@pytest.fixture
def function(
    monkeypatch: pytest.MonkeyPatch, own_server: EmbeddedServer, tmp_path: Path, queue_url: str, sqs_endpoint: str
) -> Iterator[Any]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PEAKGATE_STORE_URL", own_server.url)
    monkeypatch.setenv("PEAKGATE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("PEAKGATE_QUEUE_URL", queue_url)
    monkeypatch.setenv("PEAKGATE_AWS_ENDPOINT_URL", sqs_endpoint)
    monkeypatch.setenv("PEAKGATE_AWS_REGION", REGION)
    yield aws_lambda.handler
    aws_lambda.close()


async def next_event(sqs: Any, queue_url: str, count: int) -> dict[str, Any]:
    """What Lambda's poller would hand over: the messages that a receive returns, with the names of events."""
    messages: list[dict[str, Any]] = []
    async with asyncio.timeout(WITHIN_S):
        while len(messages) < count:
            reply = await sqs.receive_message(
                QueueUrl=queue_url, MaxNumberOfMessages=10, WaitTimeSeconds=1, AttributeNames=["All"]
            )
            messages += reply.get("Messages", [])
    return {
        "Records": [
            {
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
                "attributes": message["Attributes"],
                "messageAttributes": {},
                "md5OfBody": message["MD5OfBody"],
                "eventSource": "aws:sqs",
                "eventSourceARN": f"arn:aws:sqs:{REGION}:123456789012:lambda-orders",
                "awsRegion": REGION,
            }
            for message in messages
        ]
    }


async def test_orders_are_completed_by_the_function(shop: Shop, function: Any, sqs: Any, queue_url: str) -> None:
    order_ids = [await shop.order(number) for number in range(ORDERS)]
    event = await next_event(sqs, queue_url, ORDERS)
    assert {record["attributes"]["MessageGroupId"] for record in event["Records"]} == {SKU}

    response = await asyncio.to_thread(function, event, Context())
    again = await asyncio.to_thread(function, event, Context())

    assert response == again == {"batchItemFailures": []}
    for order_id in order_ids:
        await shop.until_completed(order_id)
    no_order = event["Records"][0] | {"messageId": "odd", "body": "{}"}
    response = await asyncio.to_thread(function, {"Records": [no_order]}, Context())
    # There is no queue of dead letters, so the message stays.
    assert response == {"batchItemFailures": [{"itemIdentifier": "odd"}]}


async def test_the_function_runs_the_tasks_of_a_state_machine(shop: Shop, function: Any) -> None:
    order_id = await shop.order(1)
    machine = states_language(LATEST, function_call("the function"))
    name, tasks = machine["StartAt"], []
    while (state := machine["States"][name])["Type"] == "Task":
        given = {key.removesuffix(".$"): value for key, value in state["Parameters"].items()} | {"order_id": order_id}
        assert await asyncio.to_thread(function, given, Context()) == {}
        tasks.append(given)
        name = state["Next"]

    assert name == "completed"
    await shop.until_completed(order_id)
    # It is not undone after that, whatever the machine asks for.
    with pytest.raises(StatusConflict):
        await asyncio.to_thread(function, tasks[2] | {"act": "undo"}, Context())


async def test_a_function_without_a_store_says_what_it_needs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        with pytest.raises(CannotStart, match="PEAKGATE_STORE_URL and PEAKGATE_QUEUE_URL"):
            await asyncio.to_thread(aws_lambda.handler, {"Records": []}, Context())
    finally:
        await asyncio.to_thread(aws_lambda.close)
