"""The order queue on Amazon SQS, standard or FIFO, or on a service with its protocol.

The queue dead-letters by itself: give it a redrive policy (for example `maxReceiveCount` 5). Importing this module
imports aiobotocore, which is slow.
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
from typing import Any, Final

import msgspec
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError, ClientError

from checkout.errors import ServiceUnavailable
from checkout.ports.queue import Delivery, Outgoing

_log = logging.getLogger(__name__)

BATCH: Final = 10
# The size limit of a batch; newer queues take 1 MiB.
BATCH_BYTES: Final = 256 * 1024
MAX_POLL_S: Final = 20
MAX_VISIBILITY_S: Final = 12 * 3600
MAX_DELAY_S: Final = 900
# At this receive count a deferred message is replaced by a copy, whose count starts again.
COPY_AT_ATTEMPT: Final = 3
CALL_DEADLINE_S: Final = 5.0
_REGION = re.compile(r"//sqs\.([a-z0-9-]+)\.")
# The receipt is no longer valid: the message was deleted, or delivered again after its visibility ended.
_INVALID_RECEIPT: Final = ("MessageNotInflight", "ReceiptHandleIsInvalid", "InvalidParameterValue")


@asynccontextmanager
async def open_sqs_queue(
    queue_url: str, *, endpoint_url: str | None = None, region: str | None = None, visibility_s: float = 30.0
) -> AsyncIterator[SqsQueue]:
    """The queue at `queue_url`, over one client that is closed at the end.

    `region` defaults to that of the address, then to that of the AWS configuration. Credentials come from the standard
    AWS chain (environment, profile, container or instance role). No call is made yet.
    Raises `ValueError` if there is no region or the address is not that of a queue.
    """
    config = AioConfig(
        max_pool_connections=50,
        connect_timeout=2,
        read_timeout=MAX_POLL_S + CALL_DEADLINE_S,
        retries={"mode": "standard", "total_max_attempts": 3},
        tcp_keepalive=True,
    )
    found = _REGION.search(queue_url)
    opening = get_session().create_client(
        "sqs", region_name=region or (found and found[1]), endpoint_url=endpoint_url, config=config
    )
    async with AsyncExitStack() as stack:
        try:
            client = await stack.enter_async_context(opening)
        except (BotoCoreError, ValueError) as error:
            raise ValueError(f"cannot use the queue {queue_url}: {error}") from error
        yield SqsQueue(client, queue_url, visibility_s=visibility_s)


class SqsQueue:
    """An `OrderQueue` and its `Backlog` on SQS; see `open_sqs_queue`.

    On a FIFO queue (its address ends in `.fifo`), group and deduplication ids are the order id: messages of an order are
    delivered in sequence, and duplicates within five minutes are dropped.
    """

    def __init__(
        self, client: Any, queue_url: str, *, visibility_s: float = 30.0, now: Callable[[], float] = time.time
    ) -> None:
        self._now = now
        # When the oldest message of the latest receive was sent, in Unix seconds; None if it was empty.
        self._head_sent_at: float | None = None
        self._client = client
        self._queue_url = queue_url
        self._is_fifo = queue_url.endswith(".fifo")
        self._visibility_s = visibility_s
        self._max_receives: float | None = None

    async def send(self, messages: Sequence[Outgoing]) -> Sequence[bool]:
        """See `OrderQueue.send`. Sent in one batch, or in several if one would exceed the size limit."""
        parts = list(_parts(messages))
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
        poll_s = min(math.ceil(wait_s), MAX_POLL_S)
        reply = await _reply(
            self._client.receive_message(
                QueueUrl=self._queue_url,
                MaxNumberOfMessages=min(limit, BATCH),
                WaitTimeSeconds=poll_s,
                VisibilityTimeout=_visibility(self._visibility_s),
                MessageSystemAttributeNames=["ApproximateReceiveCount", "SentTimestamp"],
            ),
            poll_s + CALL_DEADLINE_S,
        )
        messages = reply.get("Messages", ())
        sent_ms = (int(message["Attributes"]["SentTimestamp"]) for message in messages)
        self._head_sent_at = min(sent_ms) / 1000 if messages else None
        return [
            Delivery(
                body=message["Body"].encode(),
                receipt=message["ReceiptHandle"],
                attempt=int(message["Attributes"]["ApproximateReceiveCount"]),
            )
            for message in messages
        ]

    async def interrupt(self) -> None:
        """See `OrderQueue.interrupt`. SQS cannot interrupt a receive: it returns after its wait."""

    async def extend(self, delivery: Delivery, seconds: float) -> None:
        """See `OrderQueue.extend`."""
        await self._change_visibility(delivery, seconds)

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """See `OrderQueue.acknowledge`."""
        batches = [deliveries[start : start + BATCH] for start in range(0, len(deliveries), BATCH)]
        await asyncio.gather(*(self._delete(batch) for batch in batches))

    async def release(self, delivery: Delivery, delay_s: float, *, reason: str) -> bool:
        """See `OrderQueue.release`. SQS moves a dead letter at its next receive, without the reason."""
        is_last = delivery.attempt >= await self._max_receives_of_queue()
        if is_last:
            _log.error("an order used up its deliveries; SQS dead-letters it: %s", reason)
        await self._change_visibility(delivery, 0 if is_last else delay_s)
        return is_last

    async def defer(self, delivery: Delivery, delay_s: float) -> None:
        """See `OrderQueue.defer`. SQS counts every receive, so before they are used up a copy replaces the message.

        The copy is sent first: if the process dies in between, both are delivered, and steps are idempotent.
        """
        if delivery.attempt < min(COPY_AT_ATTEMPT, await self._max_receives_of_queue()):
            await self._change_visibility(delivery, delay_s)
            return
        copying = self._client.send_message(
            QueueUrl=self._queue_url, MessageBody=delivery.body.decode(), **self._copy_options(delivery, delay_s)
        )
        await _reply(copying)
        await self._delete([delivery])

    def _copy_options(self, delivery: Delivery, delay_s: float) -> dict[str, Any]:
        """The options that delay the copy of a message and distinguish it from a duplicate."""
        if not self._is_fifo:
            return {"DelaySeconds": min(math.ceil(delay_s), MAX_DELAY_S)}
        # FIFO queues have no delay for one message: the copy is received at once, and deferred by its visibility.
        group = hashlib.sha256(delivery.body).hexdigest()
        return {"MessageGroupId": group, "MessageDeduplicationId": secrets.token_hex(16)}

    async def oldest_age_s(self) -> float | None:
        """See `Backlog.oldest_age_s`: that of the oldest message of the latest receive in this process.

        SQS publishes it to CloudWatch only, minutes later. A process that receives nothing does not know it.
        """
        return None if self._head_sent_at is None else max(0.0, self._now() - self._head_sent_at)

    async def _send_part(self, part: Sequence[Outgoing]) -> list[bool]:
        entries = [self._entry(str(index), message) for index, message in enumerate(part)]
        reply = await _reply(self._client.send_message_batch(QueueUrl=self._queue_url, Entries=entries))
        for failed in reply.get("Failed", ()):
            _log.warning(
                "SQS refused an order; a later sweep sends it: %s %s", failed["Code"], failed.get("Message", "")
            )
        sent = {entry["Id"] for entry in reply.get("Successful", ())}
        return [str(index) in sent for index in range(len(part))]

    def _entry(self, entry_id: str, message: Outgoing) -> dict[str, str]:
        entry = {"Id": entry_id, "MessageBody": message.body.decode()}
        if self._is_fifo:
            entry |= {"MessageGroupId": message.order_id, "MessageDeduplicationId": message.order_id}
        return entry

    async def _delete(self, batch: Sequence[Delivery]) -> None:
        entries = [{"Id": str(index), "ReceiptHandle": delivery.receipt} for index, delivery in enumerate(batch)]
        reply = await _reply(self._client.delete_message_batch(QueueUrl=self._queue_url, Entries=entries))
        if failed := reply.get("Failed"):
            raise ServiceUnavailable(f"{len(failed)} of {len(batch)} messages were not deleted: {failed[0]['Code']}")

    async def _change_visibility(self, delivery: Delivery, seconds: float) -> None:
        change = self._client.change_message_visibility(
            QueueUrl=self._queue_url, ReceiptHandle=delivery.receipt, VisibilityTimeout=_visibility(seconds)
        )
        await _reply(change, ignore_invalid_receipt=True)

    async def _max_receives_of_queue(self) -> float:
        """The `maxReceiveCount` of the queue, read once when first needed; infinite if it has none."""
        if self._max_receives is None:
            reading = self._client.get_queue_attributes(QueueUrl=self._queue_url, AttributeNames=["RedrivePolicy"])
            try:
                reply = await _reply(reading)
            except ServiceUnavailable as error:  # without this permission only the count of dead letters is wrong
                _log.warning("reading the queue's redrive policy failed; dead letters are not counted: %s", error)
                return math.inf
            policy = msgspec.json.decode(reply.get("Attributes", {}).get("RedrivePolicy", "{}"))
            self._max_receives = float(policy.get("maxReceiveCount", math.inf))
        return self._max_receives


def _parts(messages: Sequence[Outgoing]) -> Iterator[list[Outgoing]]:
    """Split into batches within the limits; a message over the size limit is a batch of its own."""
    part: list[Outgoing] = []
    size = 0
    for message in messages:
        if part and (len(part) == BATCH or size + len(message.body) > BATCH_BYTES):
            yield part
            part, size = [], 0
        part.append(message)
        size += len(message.body)
    if part:
        yield part


def _visibility(seconds: float) -> int:
    return min(math.ceil(seconds), MAX_VISIBILITY_S)


async def _reply(
    call: Awaitable[Mapping[str, Any]], deadline_s: float = CALL_DEADLINE_S, *, ignore_invalid_receipt: bool = False
) -> Mapping[str, Any]:
    try:
        async with asyncio.timeout(deadline_s):
            return await call
    except ClientError as error:
        if ignore_invalid_receipt and error.response["Error"]["Code"].endswith(_INVALID_RECEIPT):
            return {}
        raise ServiceUnavailable(str(error)) from error
    except (BotoCoreError, TimeoutError) as error:
        raise ServiceUnavailable(f"{type(error).__name__}: {error}") from error
