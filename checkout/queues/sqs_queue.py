"""The order queue on Amazon SQS, standard or FIFO, or on a service with its protocol.

Its redrive policy names the queue of dead letters. SQS counts every receive, also of workers that died, so
`maxReceiveCount` is only a safety net: 1000, the maximum, is best. Importing this module imports aiobotocore, which is slow.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import re
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from email.utils import parsedate_to_datetime
from typing import Any, Final, Protocol, TypeVar

import msgspec

from checkout.aws.errors import AwsError, AwsRejected
from checkout.aws.json_client import DEADLINE_S, open_json_client
from checkout.errors import ServiceUnavailable
from checkout.ports.queue import Delivery, Outgoing
from checkout.received_message import group_of, routing_of
from primitives.bounded_map import BoundedMap

_log = logging.getLogger(__name__)

BATCH: Final = 10
# The size limit of a batch of every queue.
BATCH_BYTES: Final = 256 * 1024
# That of a queue whose `MaximumMessageSize` is as large.
LARGE_BATCH_BYTES: Final = 1024 * 1024
MAX_POLL_S: Final = 20
MAX_VISIBILITY_S: Final = 12 * 3600
MAX_DELAY_S: Final = 900
# With less, deaths of workers could dead-letter a good order.
MIN_MAX_RECEIVES: Final = 100
# Between two attempts to read the attributes of the queue.
ATTRIBUTES_EVERY_S: Final = 60.0
# Messages whose receives are counted here, where the endpoint does not count them.
MAX_COUNTED: Final = 10_000
_REGION = re.compile(r"//sqs\.([a-z0-9-]+)\.")
# The characters of a message group id.
_GROUP = re.compile(r"[!-~]{1,128}")
# The receipt is no longer valid: the message was deleted, or delivered again after its visibility ended.
_INVALID_RECEIPT: Final = ("MessageNotInflight", "ReceiptHandleIsInvalid", "InvalidParameterValue")
_INVALID_PARAMETER: Final = ("InvalidParameterValue", "InvalidParameterCombination", "UnsupportedOperation")
_COUNTS: Final = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)
_ATTRIBUTES: Final = ("RedrivePolicy", "MaximumMessageSize")
# W3C Trace Context.
_TRACE_FIELDS: Final = ("traceparent", "tracestate")
T = TypeVar("T")


class SqsClient(Protocol):
    """The part of `checkout.aws.json_client.AwsJsonClient` that the queue needs; both raise `AwsError`."""

    async def call(
        self, operation: str, parameters: Mapping[str, Any], *, deadline_s: float = DEADLINE_S
    ) -> dict[str, Any]:
        """The response."""
        ...

    async def dated_call(
        self, operation: str, parameters: Mapping[str, Any], *, deadline_s: float = DEADLINE_S
    ) -> tuple[dict[str, Any], str | None]:
        """The response and its `Date`."""
        ...


@asynccontextmanager
async def open_sqs_queue(
    queue_url: str, *, endpoint_url: str | None = None, region: str | None = None, visibility_s: float = 30.0
) -> AsyncIterator[SqsQueue]:
    """The queue at `queue_url`, over one client that is closed at the end.

    `region` defaults to that of the address, then to that of the AWS configuration. Credentials come from the standard
    AWS chain (environment, profile, container or instance role). No call is made yet.
    Raises `ValueError` if there is no region or the address is not that of a queue.
    """
    async with AsyncExitStack() as stack:
        opening = open_json_client("sqs", endpoint_url=endpoint_url, region=region or region_of(queue_url))
        try:
            client = await stack.enter_async_context(opening)
        except ValueError as error:
            raise ValueError(f"cannot use the queue {queue_url}: {error}") from error
        yield SqsQueue(client, queue_url, visibility_s=visibility_s)


def region_of(queue_url: str) -> str | None:
    """The Region in the address of a queue, if there is one."""
    found = _REGION.search(queue_url)
    return found[1] if found else None


class SqsQueue:
    """An `OrderQueue` and its `Backlog` on SQS; see `open_sqs_queue`.

    On a FIFO queue (its address ends in `.fifo`) the group id is the order id, and the deduplication id that of the message:
    messages of an order are delivered in sequence, and duplicates within five minutes are dropped.

    On a standard queue the group id is that of the message (`Outgoing.group`), which makes the queue a fair one: a group with
    a backlog does not delay the others. A service that refuses a group there is sent none from then on.

    Attributes that a service does not report are done without: deliveries are then counted in this process.
    """

    def __init__(
        self,
        client: SqsClient,
        queue_url: str,
        *,
        visibility_s: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        # When the oldest message of the latest receive was sent, on our clock; None if it was empty.
        self._head_sent_at: float | None = None
        self._client = client
        self._queue_url = queue_url
        self._is_fifo = queue_url.endswith(".fifo")
        self._visibility_s = visibility_s
        self._takes_groups = True
        self._attributes: _QueueAttributes | None = None
        self._read_attributes_at = -math.inf
        self._receives = BoundedMap[str, int](MAX_COUNTED)

    async def send(self, messages: Sequence[Outgoing]) -> Sequence[bool]:
        """See `OrderQueue.send`. Sent in one batch, or in several if one would exceed the size limit."""
        parts = list(_parts(messages, await self._batch_bytes(messages)))
        outcomes = await asyncio.gather(*(self._send_part(part) for part in parts), return_exceptions=True)
        errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        if errors and len(errors) == len(parts):
            raise errors[0]
        sent: list[bool] = []
        for part, outcome in zip(parts, outcomes, strict=True):
            sent += [False] * len(part) if isinstance(outcome, BaseException) else outcome
        return sent

    async def receive(self, limit: int, wait_s: float) -> Sequence[Delivery]:
        """See `OrderQueue.receive`. Waits whole seconds, rounded up, 20 at most."""
        await self._queue_attributes()  # so that its warning is logged at the start
        poll_s = min(math.ceil(wait_s), MAX_POLL_S)
        parameters = {
            "QueueUrl": self._queue_url,
            "MaxNumberOfMessages": min(limit, BATCH),
            "WaitTimeSeconds": poll_s,
            "VisibilityTimeout": _visibility(self._visibility_s),
            "MessageSystemAttributeNames": ["ApproximateReceiveCount", "SentTimestamp"],
            "MessageAttributeNames": list(_TRACE_FIELDS),
        }
        if self._is_fifo:
            # A call that is made again after a lost reply returns the same messages, else their groups would be blocked.
            parameters["ReceiveRequestAttemptId"] = secrets.token_hex(16)
        receiving = self._client.dated_call("ReceiveMessage", parameters, deadline_s=poll_s + DEADLINE_S)
        reply, date = await _reply(receiving)
        messages = reply.get("Messages") or ()
        self._head_sent_at = self._oldest_sent_at(messages, date)
        return [
            Delivery(message["Body"].encode(), message["ReceiptHandle"], self._attempt_of(message), _trace_of(message))
            for message in messages
        ]

    def _oldest_sent_at(self, messages: Sequence[Mapping[str, Any]], date: str | None) -> float | None:
        sent = [_attribute(message, "SentTimestamp") for message in messages]
        oldest_ms = min((int(at) for at in sent if at), default=None)
        return None if oldest_ms is None else self._clock() - _age_s(date, oldest_ms / 1000)

    def _attempt_of(self, message: Mapping[str, Any]) -> int:
        if reported := _attribute(message, "ApproximateReceiveCount"):
            return int(reported)
        name = str(message.get("MessageId", ""))
        count = (self._receives.get(name) or 0) + 1
        self._receives.put(name, count)
        return count

    async def interrupt(self) -> None:
        """See `OrderQueue.interrupt`. SQS cannot interrupt a receive: it returns after its wait."""

    async def extend(self, deliveries: Sequence[Delivery], seconds: float) -> None:
        """See `OrderQueue.extend`."""
        batches = [deliveries[start : start + BATCH] for start in range(0, len(deliveries), BATCH)]
        await _all([self._extend_batch(batch, seconds) for batch in batches])

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """See `OrderQueue.acknowledge`."""
        batches = [deliveries[start : start + BATCH] for start in range(0, len(deliveries), BATCH)]
        await _all([self._delete(batch) for batch in batches])

    async def release(self, delivery: Delivery, delay_s: float) -> None:
        """See `OrderQueue.release`. SQS counts every receive, so before half of them are used up a copy replaces the message.

        The copy is sent first: if the process dies in between, both are delivered, and one of them finds the order done.
        """
        attributes = await self._queue_attributes()
        if delivery.attempt < attributes.max_receives / 2:
            await self._change_visibility(delivery, delay_s)
            return
        await self._send_copy(self._queue_url, delivery, delay_s)
        await self._delete([delivery])

    async def dead_letter(self, delivery: Delivery, *, reason: str) -> None:
        """See `OrderQueue.dead_letter`. The reason is an attribute of the message."""
        dead_url = await self._dead_letter_url()
        await self._send_copy(dead_url, delivery, 0, {"reason": {"DataType": "String", "StringValue": reason or "?"}})
        await self._delete([delivery])

    async def count_messages(self) -> int | None:
        """See `QueueGauge.count_messages`; approximately, and with those that are delayed or received."""
        parameters = {"QueueUrl": self._queue_url, "AttributeNames": list(_COUNTS)}
        reply = await self._call("GetQueueAttributes", parameters)
        counts = [_attribute(reply, name) for name in _COUNTS]
        return sum(int(count or 0) for count in counts) if any(counts) else None

    async def count_dead_letters(self) -> int | None:
        """See `Backlog.count_dead_letters`. Not known without a redrive policy, or without permission."""
        name = "ApproximateNumberOfMessages"
        try:
            dead_url = await self._dead_letter_url()
            reading = self._client.call("GetQueueAttributes", {"QueueUrl": dead_url, "AttributeNames": [name]})
            count = _attribute(await _reply(reading), name)
        except ServiceUnavailable:
            return None
        return int(count) if count else None

    async def _send_copy(
        self, queue_url: str, delivery: Delivery, delay_s: float, attributes: Mapping[str, Any] | None = None
    ) -> None:
        parameters: dict[str, Any] = {"QueueUrl": queue_url, "MessageBody": delivery.body.decode(errors="replace")}
        if attributes := {**_texts(routing_of(delivery.body)[1] or delivery.trace), **(attributes or {})}:
            parameters["MessageAttributes"] = attributes
        if self._is_fifo:
            # FIFO queues have no delay for one message: the copy is received at once, and deferred by its visibility.
            parameters["MessageGroupId"] = hashlib.sha256(delivery.body).hexdigest()
            # Distinguishes it from a duplicate.
            parameters["MessageDeduplicationId"] = secrets.token_hex(16)
        else:
            parameters["DelaySeconds"] = min(math.ceil(delay_s), MAX_DELAY_S)
            parameters |= self._fair_group(group_of(delivery.body))
        await self._call("SendMessage", parameters)

    async def oldest_age_s(self) -> float | None:
        """See `Backlog.oldest_age_s`: that of the oldest message of the latest receive in this process.

        SQS publishes it to CloudWatch only, minutes later. A process that receives nothing does not know it.
        """
        return None if self._head_sent_at is None else self._clock() - self._head_sent_at

    async def _batch_bytes(self, messages: Sequence[Outgoing]) -> int:
        """The size limit of a batch; the queue is asked for it only if one batch may not be enough."""
        if sum([_size_of(message) for message in messages]) <= BATCH_BYTES:
            return BATCH_BYTES
        attributes = await self._queue_attributes()
        return LARGE_BATCH_BYTES if attributes.max_message_bytes >= LARGE_BATCH_BYTES else BATCH_BYTES

    async def _send_part(self, part: Sequence[Outgoing]) -> list[bool]:
        entries = [self._entry(str(index), message) for index, message in enumerate(part)]
        try:
            reply = await self._client.call("SendMessageBatch", {"QueueUrl": self._queue_url, "Entries": entries})
        except AwsRejected as error:
            if self._gives_up_groups(error.code, error.message):
                return await self._send_part(part)
            raise ServiceUnavailable(str(error)) from error
        except AwsError as error:
            raise ServiceUnavailable(str(error)) from error
        for failed in reply.get("Failed") or ():
            code, text = str(failed.get("Code", "")), str(failed.get("Message", ""))
            if not self._gives_up_groups(code, text):
                _log.warning("SQS refused an order; it is sent again: %s %s", code, text)
        sent = {entry["Id"] for entry in reply.get("Successful") or ()}
        return [str(index) in sent for index in range(len(part))]

    def _gives_up_groups(self, code: str, text: str) -> bool:
        """Whether something was refused because of its group; then no more groups are sent."""
        if self._is_fifo or not (_is(code, _INVALID_PARAMETER) and "MessageGroupId" in text):
            return False
        if self._takes_groups:
            _log.warning("the order queue takes no MessageGroupId on a standard queue: it is not a fair one")
        had_groups, self._takes_groups = self._takes_groups, False
        return had_groups

    def _entry(self, entry_id: str, message: Outgoing) -> dict[str, Any]:
        entry: dict[str, Any] = {"Id": entry_id, "MessageBody": message.body.decode()}
        if message.trace:
            entry["MessageAttributes"] = _texts(message.trace)
        if self._is_fifo:
            entry["MessageGroupId"] = message.order_id
            entry["MessageDeduplicationId"] = message.message_id
        else:
            entry |= self._fair_group(message.group)
        return entry

    def _fair_group(self, group: str) -> dict[str, str]:
        """The parameter that makes a standard queue a fair one."""
        if not group or not self._takes_groups:
            return {}
        # Other characters than those of ASCII are not allowed.
        return {"MessageGroupId": group if _GROUP.fullmatch(group) else hashlib.sha256(group.encode()).hexdigest()}

    async def _delete(self, batch: Sequence[Delivery]) -> None:
        entries = [{"Id": str(index), "ReceiptHandle": delivery.receipt} for index, delivery in enumerate(batch)]
        reply = await self._call("DeleteMessageBatch", {"QueueUrl": self._queue_url, "Entries": entries})
        if failed := reply.get("Failed"):
            raise ServiceUnavailable(
                f"{len(failed)} of {len(batch)} messages were not deleted: {failed[0].get('Code')}"
            )

    async def _extend_batch(self, batch: Sequence[Delivery], seconds: float) -> None:
        entries = [
            {"Id": str(index), "ReceiptHandle": delivery.receipt, "VisibilityTimeout": _visibility(seconds)}
            for index, delivery in enumerate(batch)
        ]
        reply = await self._call("ChangeMessageVisibilityBatch", {"QueueUrl": self._queue_url, "Entries": entries})
        codes = [str(failed.get("Code", "")) for failed in reply.get("Failed") or ()]
        if missed := [code for code in codes if not _is(code, _INVALID_RECEIPT)]:
            raise ServiceUnavailable(f"{len(missed)} of {len(batch)} messages were not extended: {missed[0]}")

    async def _change_visibility(self, delivery: Delivery, seconds: float) -> None:
        parameters = {
            "QueueUrl": self._queue_url,
            "ReceiptHandle": delivery.receipt,
            "VisibilityTimeout": _visibility(seconds),
        }
        await _reply(self._ignoring_invalid_receipt("ChangeMessageVisibility", parameters))

    async def _ignoring_invalid_receipt(self, operation: str, parameters: Mapping[str, Any]) -> None:
        try:
            await self._client.call(operation, parameters)
        except AwsRejected as error:
            if not _is(error.code, _INVALID_RECEIPT):
                raise

    async def _call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        return await _reply(self._client.call(operation, parameters))

    async def _queue_attributes(self) -> _QueueAttributes:
        """The attributes of the queue, read once when first needed; the defaults for a while if that fails."""
        if self._attributes is not None:
            return self._attributes
        if self._clock() < self._read_attributes_at:
            return _QueueAttributes()
        self._read_attributes_at = self._clock() + ATTRIBUTES_EVERY_S
        try:
            parameters = {"QueueUrl": self._queue_url, "AttributeNames": list(_ATTRIBUTES)}
            reply = await self._call("GetQueueAttributes", parameters)
        except ServiceUnavailable as error:  # perhaps without this permission; receiving has its own errors
            _log.warning("reading the attributes of the queue failed: %s", error)
            return _QueueAttributes()
        self._attributes = _QueueAttributes.of(reply)
        self._attributes.warn()
        return self._attributes

    async def _dead_letter_url(self) -> str:
        """The queue of dead letters. Raises `ServiceUnavailable` if there is none."""
        attributes = await self._queue_attributes()
        if attributes.dead_letter_arn is None:
            raise ServiceUnavailable("the queue has no redrive policy that names a queue of dead letters")
        if attributes.dead_letter_url is None:
            *_, account, name = attributes.dead_letter_arn.split(":")
            reply = await self._call("GetQueueUrl", {"QueueName": name, "QueueOwnerAWSAccountId": account})
            attributes.dead_letter_url = str(reply["QueueUrl"])
        return attributes.dead_letter_url


class _QueueAttributes(msgspec.Struct):
    """The redrive policy of a queue and its size limit; the URL of its dead letters is read when it is first needed."""

    max_receives: float = math.inf
    dead_letter_arn: str | None = None
    dead_letter_url: str | None = None
    max_message_bytes: int = BATCH_BYTES

    @classmethod
    def of(cls, reply: Mapping[str, Any]) -> _QueueAttributes:
        """Those in a reply of `GetQueueAttributes`."""
        policy = msgspec.json.decode(_attribute(reply, "RedrivePolicy") or "{}")
        return cls(
            float(policy.get("maxReceiveCount", math.inf)),
            policy.get("deadLetterTargetArn"),
            max_message_bytes=int(_attribute(reply, "MaximumMessageSize") or BATCH_BYTES),
        )

    def warn(self) -> None:
        """Warn of an unsafe redrive policy."""
        if self.dead_letter_arn is None:
            _log.warning("the order queue has no redrive policy: messages that are no orders have no dead-letter queue")
        elif self.max_receives < MIN_MAX_RECEIVES:
            _log.warning(
                "maxReceiveCount of the order queue is %d: deaths of workers may dead-letter good orders; set it to 1000",
                self.max_receives,
            )


def _parts(messages: Sequence[Outgoing], limit_bytes: int) -> Iterator[list[Outgoing]]:
    """Split into batches within the limits; a message over the size limit is a batch of its own."""
    part: list[Outgoing] = []
    size = 0
    for message in messages:
        message_bytes = _size_of(message)
        if part and (len(part) == BATCH or size + message_bytes > limit_bytes):
            yield part
            part, size = [], 0
        part.append(message)
        size += message_bytes
    if part:
        yield part


def _size_of(message: Outgoing) -> int:
    """The bytes that SQS counts: the body, and the names, types and values of the attributes."""
    return len(message.body) + sum(len(name) + len("String") + len(value) for name, value in message.trace.items())


def _texts(values: Mapping[str, str]) -> dict[str, Any]:
    """Attributes of a message that are text."""
    return {name: {"DataType": "String", "StringValue": value} for name, value in values.items()}


def _trace_of(message: Mapping[str, Any]) -> dict[str, str]:
    """The trace in the attributes of a message; other teams may send such."""
    attributes = message.get("MessageAttributes") or {}
    return {name: str(attributes[name].get("StringValue", "")) for name in _TRACE_FIELDS if name in attributes}


def _attribute(reply: Mapping[str, Any], name: str) -> str | None:
    """An attribute in a reply or of a message; None where the service leaves it out."""
    value = (reply.get("Attributes") or {}).get(name)
    return None if value is None else str(value)


def _age_s(date: str | None, sent_at: float) -> float:
    """The age of a message by the clock of SQS, which sent the time of its reply too, in seconds; 0 if it did not."""
    try:
        replied_at = parsedate_to_datetime(date or "").timestamp()
    except ValueError:
        return 0.0
    return max(0.0, replied_at - sent_at)


def _visibility(seconds: float) -> int:
    return min(math.ceil(seconds), MAX_VISIBILITY_S)


def _is(code: str, names: tuple[str, ...]) -> bool:
    """Whether an error is one of these; services with the protocol of SQS put words before and after its name."""
    return code.removesuffix("Exception").endswith(names)


async def _all(calls: Sequence[Awaitable[None]]) -> None:
    """Make all calls; raises the first error after all have ended."""
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome


async def _reply(call: Awaitable[T]) -> T:
    try:
        return await call
    except AwsError as error:
        raise ServiceUnavailable(str(error)) from error
