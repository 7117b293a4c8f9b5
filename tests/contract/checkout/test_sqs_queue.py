"""The order queue on SQS: batches, FIFO, copies, redrive policies."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec
import pytest

from cart.model import OrderId
from checkout.aws.errors import AwsRejected
from checkout.aws.json_client import AwsJsonClient
from checkout.errors import ServiceUnavailable
from checkout.ports.queue import Delivery, Outgoing
from checkout.queues.sqs_queue import SqsQueue, open_sqs_queue
from tests.sqs import aws_session

pytestmark = pytest.mark.slow

REGION = "eu-west-2"
TOO_LARGE = b"x" * (1024 * 1024 + 1)


@pytest.fixture
async def admin(sqs_endpoint: str) -> AsyncIterator[Any]:
    async with aws_session().create_client("sqs", endpoint_url=sqs_endpoint, region_name=REGION) as client:
        yield client


async def create(admin: Any, name: str, **attributes: str) -> str:
    created = await admin.create_queue(QueueName=name, Attributes=attributes)
    url: str = created["QueueUrl"]
    return url


def message(number: int, body: bytes = b"{}") -> Outgoing:
    return Outgoing(OrderId(f"7f{number:024d}"), body, f"7f{number:024d}:1-0")


async def test_a_rejected_message_does_not_fail_the_others(admin: Any, sqs_endpoint: str) -> None:
    url = await create(admin, "partial")

    async with open_sqs_queue(url, endpoint_url=sqs_endpoint, region=REGION) as queue:
        outcome = await queue.send([message(1), message(2, TOO_LARGE), message(3)])
        received = await queue.receive(10, 1)

    assert list(outcome) == [True, False, True]
    assert len(received) == 2


async def test_the_trace_of_a_message_is_in_its_attributes_and_received_with_it(admin: Any, sqs_endpoint: str) -> None:
    url = await create(admin, "traced")
    trace = {
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "tracestate": "congo=t61rcWkgMzE",
    }
    traced = msgspec.structs.replace(message(1), trace=trace)

    async with open_sqs_queue(url, endpoint_url=sqs_endpoint, region=REGION) as queue:
        assert await queue.send([traced, message(2, b"{}  ")]) == [True, True]
        received = {delivery.body: delivery.trace for delivery in await queue.receive(10, 1)}

    assert received == {b"{}": trace, b"{}  ": {}}


class ScriptedClient:
    """Replies to calls as a test says; `calls` has their operations and parameters."""

    def __init__(self, *replies: dict[str, Any] | Exception) -> None:
        self.calls: list[tuple[str, Any]] = []
        self._replies = iter(replies)

    async def call(self, operation: str, parameters: Mapping[str, Any], *, deadline_s: float = 5.0) -> dict[str, Any]:
        self.calls.append((operation, parameters))
        reply = next(self._replies)
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def dated_call(
        self, operation: str, parameters: Mapping[str, Any], *, deadline_s: float = 5.0
    ) -> tuple[dict[str, Any], str | None]:
        return await self.call(operation, parameters), None


STANDARD = "https://sqs.eu-west-2.amazonaws.com/1/orders"


async def test_failures_of_a_batch_are_reported_for_each_message() -> None:
    failed = [{"Id": "1", "Code": "InternalError", "SenderFault": False}]
    queue = SqsQueue(ScriptedClient({"Successful": [{"Id": "0"}, {"Id": "2"}], "Failed": failed}), STANDARD)

    assert list(await queue.send([message(1), message(2), message(3)])) == [True, False, True]


async def test_the_group_of_a_message_makes_a_standard_queue_a_fair_one() -> None:
    client = ScriptedClient({"Successful": [{"Id": "0"}, {"Id": "1"}, {"Id": "2"}]})
    sent = [message(1), message(2), message(3)]
    groups = ["85123A", "", "Größe 40"]
    await SqsQueue(client, STANDARD).send(
        [Outgoing(m.order_id, m.body, m.message_id, group) for m, group in zip(sent, groups, strict=True)]
    )

    entries = client.calls[0][1]["Entries"]
    assert [entry.get("MessageGroupId", "") for entry in entries] == [
        "85123A",
        "",
        hashlib.sha256("Größe 40".encode()).hexdigest(),
    ]


@pytest.mark.parametrize("is_call", [True, False])
async def test_a_service_that_refuses_groups_is_sent_none(is_call: bool, caplog: pytest.LogCaptureFixture) -> None:
    text = "The request include parameter MessageGroupId that is not valid for this queue type"
    refused = {"Id": "0", "Code": "InvalidParameterValue", "Message": text}
    refusal = AwsRejected("InvalidParameterValueException", text, status=400) if is_call else {"Failed": [refused]}
    client = ScriptedClient(refusal, {"Successful": [{"Id": "0"}]})
    queue, grouped = SqsQueue(client, STANDARD), Outgoing(message(1).order_id, b"{}", "1", "85123A")

    sent = await queue.send([grouped])
    if not is_call:
        assert list(sent) == [False]
        sent = await queue.send([grouped])

    assert list(sent) == [True]
    assert ["MessageGroupId" in parameters["Entries"][0] for _, parameters in client.calls] == [True, False]
    assert caplog.text.count("it is not a fair one") == 1


async def test_attributes_that_a_service_leaves_out_are_done_without() -> None:
    received = {"Messages": [{"MessageId": "m-1", "Body": "{}", "ReceiptHandle": "r"}]}
    queue = SqsQueue(ScriptedClient({}, received, received, {}), STANDARD)

    first, second, none = [await queue.receive(10, 0) for _ in range(3)]

    assert [delivery.attempt for delivery in (*first, *second, *none)] == [1, 2]
    assert await queue.oldest_age_s() is None
    assert await queue.count_dead_letters() is None


@pytest.mark.parametrize(("max_bytes", "batches"), [("262144", [1, 1, 1]), ("1048576", [3])])
async def test_the_size_limit_of_a_batch_is_that_of_the_queue(max_bytes: str, batches: list[int]) -> None:
    attributes = {"Attributes": {"MaximumMessageSize": max_bytes}}
    client = ScriptedClient(attributes, *[{"Successful": [{"Id": "0"}]}] * len(batches))

    await SqsQueue(client, STANDARD).send([message(n, b"x" * 200_000) for n in range(3)])

    sent = [parameters["Entries"] for operation, parameters in client.calls if operation == "SendMessageBatch"]
    assert [len(entries) for entries in sent] == batches


async def test_deliveries_are_extended_in_batches_and_those_no_longer_held_are_no_error() -> None:
    gone = {"Failed": [{"Id": "1", "Code": "AWS.SimpleQueueService.MessageNotInflight"}]}
    client = ScriptedClient(gone, {}, {"Failed": [{"Id": "0", "Code": "InternalError"}]})
    queue, deliveries = SqsQueue(client, STANDARD), [Delivery(b"{}", f"r-{n}", 1) for n in range(12)]

    await queue.extend(deliveries, 5)
    assert [len(parameters["Entries"]) for _, parameters in client.calls] == [10, 2]

    with pytest.raises(ServiceUnavailable, match="1 of 1 messages were not extended: InternalError"):
        await queue.extend(deliveries[:1], 5)


async def test_messages_that_are_not_deleted_are_an_error() -> None:
    client = ScriptedClient({}, {"Failed": [{"Id": "1", "Code": "InternalError"}]})
    queue, deliveries = SqsQueue(client, STANDARD), [Delivery(b"{}", f"r-{n}", 1) for n in range(12)]

    with pytest.raises(ServiceUnavailable, match="1 of 2 messages were not deleted: InternalError"):
        await queue.acknowledge(deliveries)

    assert [len(parameters["Entries"]) for _, parameters in client.calls] == [10, 2]


@pytest.mark.parametrize("act", ["release", "dead_letter"])
@pytest.mark.parametrize("is_sent", [True, False])
async def test_a_message_is_deleted_only_once_its_copy_is_sent(act: str, is_sent: bool) -> None:
    policy = {"maxReceiveCount": 100, "deadLetterTargetArn": "arn:aws:sqs:eu-west-2:1:dead"}
    attributes = {"Attributes": {"RedrivePolicy": msgspec.json.encode(policy).decode()}}
    sending: dict[str, Any] | Exception = {} if is_sent else AwsRejected("InternalError", "", status=500)
    address = [{"QueueUrl": "https://dead"}] if act == "dead_letter" else []
    client = ScriptedClient(attributes, *address, sending, {})
    queue, delivery = SqsQueue(client, STANDARD), Delivery(b"{}", "r-1", 60)

    calling = queue.release(delivery, 5) if act == "release" else queue.dead_letter(delivery, reason="x")
    if is_sent:
        await calling
    else:
        with pytest.raises(ServiceUnavailable):
            await calling

    operations = [operation for operation, _ in client.calls]
    expected = ["SendMessage", "DeleteMessageBatch"] if is_sent else ["SendMessage"]
    assert operations[1 + len(address) :] == expected


async def test_a_receive_of_a_fifo_queue_that_is_repeated_has_the_same_result() -> None:
    """Without an id of the attempt, the groups of messages whose reply is lost would be blocked."""
    client = ScriptedClient({}, {}, {})
    queue = SqsQueue(client, f"{STANDARD}.fifo")
    await queue.receive(10, 0)
    await queue.receive(10, 0)
    ids = [
        parameters["ReceiveRequestAttemptId"] for operation, parameters in client.calls if operation == "ReceiveMessage"
    ]
    assert len(set(ids)) == 2


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


async def test_without_a_redrive_policy_nothing_is_dead_lettered(
    admin: Any, sqs_endpoint: str, caplog: pytest.LogCaptureFixture
) -> None:
    url = await create(admin, "endless")

    async with open_sqs_queue(url, endpoint_url=sqs_endpoint, region=REGION) as queue:
        await queue.send([message(1)])
        (delivery,) = await queue.receive(1, 1)
        with pytest.raises(ServiceUnavailable, match="no redrive policy"):
            await queue.dead_letter(delivery, reason="odd")
        assert await queue.count_dead_letters() is None

    assert "messages that are no orders have no dead-letter queue" in caplog.text


@pytest.mark.parametrize(("most", "is_warned"), [(5, True), (1000, False)])
async def test_a_low_receive_count_is_warned_of_at_the_start(
    admin: Any, sqs_endpoint: str, caplog: pytest.LogCaptureFixture, most: int, is_warned: bool
) -> None:
    dead_url = await create(admin, f"dead-of-{most}")
    described = await admin.get_queue_attributes(QueueUrl=dead_url, AttributeNames=["QueueArn"])
    redrive = {"deadLetterTargetArn": described["Attributes"]["QueueArn"], "maxReceiveCount": most}
    url = await create(admin, f"orders-of-{most}", RedrivePolicy=msgspec.json.encode(redrive).decode())

    async with open_sqs_queue(url, endpoint_url=sqs_endpoint, region=REGION) as queue:
        await queue.receive(1, 0)

    assert (f"maxReceiveCount of the order queue is {most}" in caplog.text) == is_warned


async def test_the_region_is_read_from_the_address(aws_credentials: None) -> None:
    async with open_sqs_queue("https://sqs.ap-southeast-2.amazonaws.com/123456789012/orders") as queue:
        assert isinstance(queue._client, AwsJsonClient)
        assert queue._client.endpoint.region == "ap-southeast-2"
        assert queue._client.endpoint.url == "https://sqs.ap-southeast-2.amazonaws.com"


async def test_a_missing_region_is_an_error(aws_credentials: None) -> None:
    with pytest.raises(ValueError, match="region"):
        async with open_sqs_queue("http://127.0.0.1:9324/000000000000/orders"):
            pass


async def test_one_client_serves_many_calls_at_once(admin: Any, sqs_endpoint: str) -> None:
    url = await create(admin, "busy")

    async with open_sqs_queue(url, endpoint_url=sqs_endpoint, region=REGION) as queue:
        sent = await asyncio.gather(*(queue.send([message(number)]) for number in range(20)))

    assert [list(outcome) for outcome in sent] == [[True]] * 20
