"""The dead letters of an order queue on Amazon SQS: those in the queue that its redrive policy names.

SQS has no look without a receive: a letter that was looked at is hidden for a moment, and its receives are counted. Letters
are moved by SQS itself (`StartMessageMoveTask`) where the endpoint has that, else received, sent and deleted. Importing this
module imports aiobotocore, which is slow.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import msgspec

from cart.model import OrderId
from checkout.aws.errors import AwsError, AwsRejected
from checkout.aws.json_client import open_json_client
from checkout.errors import ServiceUnavailable
from checkout.ports.dead_letters import Act, DeadLetter, DeadLetterPage, DeadLetterRun, LookIsUnsafe
from checkout.ports.queue import OrderSink, Outgoing
from checkout.queues.sqs_queue import BATCH, SqsClient, SqsQueue, region_of
from checkout.received_message import NotAnOrderMessage, group_of, order_id_of

_log = logging.getLogger(__name__)

# A letter that is looked at or moved is hidden from others for so long, if the process dies.
VISIBILITY_S: Final = 60
# SQS asks all its servers only if it may wait.
POLL_S: Final = 1
# Letters that are looked at to find some by their ids. SQS hides 20,000 of a FIFO queue at most.
MAX_SCAN: Final = 10_000
# The most that SQS moves in a second by itself.
MAX_MOVE_RATE: Final = 500
_COUNTS: Final = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")


class _Queues(msgspec.Struct, frozen=True):
    """The names of both queues, and what limits looks at the dead letters."""

    queue_arn: str
    dead_url: str
    dead_arn: str
    max_receives: int | None


class SqsDeadLetters:
    """`DeadLetters` of a queue on SQS; `queue` sends to it."""

    def __init__(
        self,
        client: SqsClient,
        queue: OrderSink,
        queue_url: str,
        *,
        visibility_s: int = VISIBILITY_S,
        poll_s: int = POLL_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._queue = queue
        self._queue_url = queue_url
        self._visibility_s = visibility_s
        self._poll_s = poll_s
        self._clock = clock
        self._queues: _Queues | None = None

    async def count(self) -> int:
        """See `DeadLetters.count`; those that are hidden count too."""
        visible, hidden = await self._counts()
        return visible + hidden

    async def page(self, *, limit: int, cursor: str | None = None) -> DeadLetterPage:
        """See `DeadLetters.page`."""
        if cursor is not None:
            raise ValueError("dead letters on SQS have no pages, and so no cursor")
        await self._check_looks()
        return DeadLetterPage(await self._look(limit, lambda _: False), None)

    async def find(self, letter_id: str) -> DeadLetter | None:
        """See `DeadLetters.find`. Looks at 10,000 letters at most."""
        await self._check_looks()
        seen = await self._look(MAX_SCAN, lambda letter: letter.id == letter_id)
        return next((letter for letter in seen if letter.id == letter_id), None)

    async def begin(self, act: Act, *, ids: Collection[str] | None = None, rate: float | None = None) -> DeadLetterRun:
        """See `DeadLetters.begin`."""
        if ids is not None:
            await self._check_looks()
            return _Run(self, act, total=len(set(ids)), ids=set(ids), clock=self._clock)
        if act == "redrive" and (task := await self._move_task(rate)) is not None:
            return task
        return _Run(self, act, total=await self.count(), clock=self._clock)

    # For runs

    @property
    def visibility_s(self) -> int:
        """For how long a letter that was received is hidden."""
        return self._visibility_s

    async def receive(self, limit: int) -> list[_Received]:
        """Some letters, up to ten, which are hidden from now on."""
        reply = await self._call(
            "ReceiveMessage",
            {
                "QueueUrl": (await self._names()).dead_url,
                "MaxNumberOfMessages": min(limit, BATCH),
                "WaitTimeSeconds": self._poll_s,
                "VisibilityTimeout": self._visibility_s,
                "MessageSystemAttributeNames": ["SentTimestamp"],
                "MessageAttributeNames": ["reason"],
            },
        )
        return [_Received(_letter(message), message["ReceiptHandle"]) for message in reply.get("Messages") or ()]

    async def send(self, letters: Sequence[DeadLetter]) -> Sequence[bool]:
        """Send letters to the order queue; for each, whether it has it."""
        return await self._queue.send([_outgoing(letter) for letter in letters])

    async def delete(self, received: Sequence[_Received]) -> None:
        """Delete letters from the dead ones."""
        entries = [{"Id": str(n), "ReceiptHandle": each.receipt} for n, each in enumerate(received)]
        parameters = {"QueueUrl": (await self._names()).dead_url, "Entries": entries}
        if failed := (await self._call("DeleteMessageBatch", parameters)).get("Failed"):
            raise ServiceUnavailable(f"{len(failed)} dead letters were not deleted: {failed[0].get('Code')}")

    async def show_again(self, received: Sequence[_Received]) -> None:
        """Let others see these again; where that fails, their visibility ends by itself."""
        url = (await self._names()).dead_url
        for start in range(0, len(received), BATCH):
            entries = [
                {"Id": str(n), "ReceiptHandle": each.receipt, "VisibilityTimeout": 0}
                for n, each in enumerate(received[start : start + BATCH])
            ]
            await self._call("ChangeMessageVisibilityBatch", {"QueueUrl": url, "Entries": entries})

    async def hidden(self) -> int:
        """The number of letters that somebody has received, and neither deleted nor shown again."""
        return (await self._counts())[1]

    async def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Call SQS. Raises `ServiceUnavailable`."""
        return await self._call(operation, parameters)

    # Looking

    async def _look(self, limit: int, is_found: Callable[[DeadLetter], bool]) -> list[DeadLetter]:
        """Up to `limit` letters, or fewer once one is found; all of them are shown again."""
        seen: dict[str, _Received] = {}
        try:
            while len(seen) < limit and (received := await self.receive(limit - len(seen))):
                seen |= {each.letter.id: each for each in received}
                if any(is_found(each.letter) for each in received):
                    break
        finally:
            await asyncio.shield(self.show_again(list(seen.values())))
        return sorted((each.letter for each in seen.values()), key=lambda letter: letter.at)

    async def _check_looks(self) -> None:
        """Raise `LookIsUnsafe` if a look may move a letter on."""
        most = (await self._names()).max_receives
        if most is not None:
            raise LookIsUnsafe(
                f"the dead-letter queue has a redrive policy of its own (maxReceiveCount {most}), so each look brings its "
                "letters closer to the next queue; remove that policy, or redrive all letters without a look"
            )

    async def _counts(self) -> tuple[int, int]:
        """The letters that are visible and those that are hidden."""
        parameters = {"QueueUrl": (await self._names()).dead_url, "AttributeNames": list(_COUNTS)}
        attributes = (await self._call("GetQueueAttributes", parameters)).get("Attributes") or {}
        visible, hidden = (int(attributes.get(name) or 0) for name in _COUNTS)
        return visible, hidden

    async def _names(self) -> _Queues:
        if self._queues is None:
            self._queues = await self._read_names()
        return self._queues

    async def _read_names(self) -> _Queues:
        attributes = await self._attributes(self._queue_url)
        policy = msgspec.json.decode(attributes.get("RedrivePolicy") or "{}")
        dead_arn = policy.get("deadLetterTargetArn")
        if dead_arn is None:
            raise ServiceUnavailable("the order queue has no redrive policy that names a queue of dead letters")
        *_, account, name = dead_arn.split(":")
        reply = await self._call("GetQueueUrl", {"QueueName": name, "QueueOwnerAWSAccountId": account})
        of_dead = await self._attributes(str(reply["QueueUrl"]))
        own = msgspec.json.decode(of_dead.get("RedrivePolicy") or "{}")
        most = own.get("maxReceiveCount")
        return _Queues(
            str(attributes.get("QueueArn", "")), str(reply["QueueUrl"]), dead_arn, None if most is None else int(most)
        )

    async def _attributes(self, url: str) -> Mapping[str, Any]:
        parameters = {"QueueUrl": url, "AttributeNames": ["QueueArn", "RedrivePolicy"]}
        return (await self._call("GetQueueAttributes", parameters)).get("Attributes") or {}

    # Moving by SQS itself

    async def _move_task(self, rate: float | None) -> _MoveTask | None:
        """A task of SQS that moves all letters: the one that runs, or another; None where the endpoint has no such tasks."""
        names = await self._names()
        try:
            running = await _running_task(self._client, names.dead_arn)
            if running is None:
                parameters: dict[str, Any] = {"SourceArn": names.dead_arn, "DestinationArn": names.queue_arn}
                if rate is not None:
                    parameters["MaxNumberOfMessagesPerSecond"] = max(1, min(MAX_MOVE_RATE, int(rate)))
                await self._client.call("StartMessageMoveTask", parameters)
        except AwsRejected as error:  # not there, or not permitted
            _log.info("SQS moves no dead letters by itself (%s): they are received and sent", error.code)
            return None
        except AwsError as error:
            raise ServiceUnavailable(str(error)) from error
        return _MoveTask(self, names.dead_arn, total=await self.count())

    async def _call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        return await _reply(self._client.call(operation, parameters))


class _Received(msgspec.Struct, frozen=True):
    """A letter that was received, with the handle of the receive."""

    letter: DeadLetter
    receipt: str


class _Run:
    """See `DeadLetterRun`: receives letters, sends them, deletes them, ten at a time and several tens at once."""

    is_paced = False

    def __init__(
        self,
        letters: SqsDeadLetters,
        act: Act,
        *,
        total: int,
        clock: Callable[[], float],
        ids: set[str] | None = None,
    ) -> None:
        self.total: int | None = total
        self._letters = letters
        self._act: Act = act
        self._ids = ids
        self._clock = clock
        # By the digest of their content, the letters that were sent: what has the same is dead again, or a duplicate.
        self._sent: dict[bytes, str] = {}
        self._others: list[_Received] = []
        self._in_progress: set[str] = set()
        self._waiting_since: float | None = None

    async def step(self, limit: int) -> int | None:
        """See `DeadLetterRun.step`."""
        while not self._is_finished():
            received, done = await self._batches(limit)
            if done:
                return done
            if not received and not await self._may_come():
                break
            if not received:
                return 0
        await self._show_others()
        return None

    async def _batches(self, limit: int) -> tuple[int, int]:
        """Act on up to `limit` letters; returns how many were received, and on how many it acted."""
        sizes = [min(BATCH, limit - start) for start in range(0, limit, BATCH)]
        outcomes = await asyncio.gather(*map(self._batch, sizes), return_exceptions=True)
        counts = []
        for outcome in outcomes:  # raises after all have ended
            if isinstance(outcome, BaseException):
                raise outcome
            counts.append(outcome)
        received = sum(count for count, _ in counts)
        if received:
            self._waiting_since = None
        return received, sum(done for _, done in counts)

    def _is_finished(self) -> bool:
        return len(self._others) >= MAX_SCAN or (self._ids is not None and not self._ids)

    async def _batch(self, limit: int) -> tuple[int, int]:
        received = await self._letters.receive(limit)
        # SQS may show a letter to two receives at once: it is the other's.
        own = [each for each in received if each.letter.id not in self._in_progress]
        ids = {each.letter.id for each in own}
        self._in_progress |= ids
        try:
            done = await self._act_on(own)
        finally:
            self._in_progress -= ids
        return len(received), len(done)

    async def _act_on(self, received: Sequence[_Received]) -> Sequence[_Received]:
        """Move or drop the letters that were chosen; returns them."""
        chosen: list[_Received] = []
        for each in received:
            (chosen if self._is_chosen(each.letter) else self._others).append(each)
        if chosen and self._act == "redrive":
            chosen = await self._send(chosen)
        if chosen:
            await self._letters.delete(chosen)
            if self._ids is not None:
                self._ids -= {each.letter.id for each in chosen}
        return chosen

    def _is_chosen(self, letter: DeadLetter) -> bool:
        if self._ids is not None:
            return letter.id in self._ids
        # The same letter once more, because its deletion failed, is deleted.
        return self._sent.get(_digest(letter), letter.id) == letter.id

    async def _send(self, received: Sequence[_Received]) -> list[_Received]:
        """Send those that were not sent yet; returns the letters that the queue has."""
        unsent = [each for each in received if _digest(each.letter) not in self._sent]
        unique = {_digest(each.letter): each for each in unsent}
        sent = list(unique.values())
        are_sent = await self._letters.send([each.letter for each in sent]) if sent else ()
        self._sent |= {
            _digest(each.letter): each.letter.id for each, is_sent in zip(sent, are_sent, strict=True) if is_sent
        }
        done = [each for each in received if self._sent.get(_digest(each.letter)) == each.letter.id]
        if received and not done and not self._sent:
            raise ServiceUnavailable("the order queue refuses the dead letters")
        self._others += [each for each in received if each not in done]
        return done

    async def _may_come(self) -> bool:
        """Whether letters that somebody else has received, perhaps a process that was killed, may be visible soon."""
        if await self._letters.hidden() <= len(self._others):
            return False
        now = self._clock()
        if self._waiting_since is None:
            self._waiting_since = now
        return now - self._waiting_since <= self._letters.visibility_s

    async def _show_others(self) -> None:
        others, self._others = self._others, []
        await self._letters.show_again(others)


class _MoveTask:
    """See `DeadLetterRun`: a task that SQS carries out, and that goes on without this process."""

    is_paced = True

    def __init__(self, letters: SqsDeadLetters, dead_arn: str, *, total: int) -> None:
        self.total: int | None = total
        self._letters = letters
        self._dead_arn = dead_arn
        self._moved = 0
        self._is_over = False

    async def step(self, limit: int) -> int | None:  # noqa: ARG002 - SQS decides
        """See `DeadLetterRun.step`: the letters that were moved since the last step."""
        if self._is_over:
            return None
        reply = await self._letters.call("ListMessageMoveTasks", {"SourceArn": self._dead_arn, "MaxResults": 1})
        task: Mapping[str, Any] = next(iter(reply.get("Results") or ()), {})
        status, moved = task.get("Status"), int(task.get("ApproximateNumberOfMessagesMoved") or 0)
        self.total = int(task.get("ApproximateNumberOfMessagesToMove") or 0) or self.total
        if status in {"FAILED", "CANCELLED"}:
            raise ServiceUnavailable(f"SQS has ended the move: {task.get('FailureReason') or status.lower()}")
        self._is_over = status != "RUNNING"
        count, self._moved = moved - self._moved, moved
        return count if count or not self._is_over else None


async def _running_task(client: SqsClient, dead_arn: str) -> Mapping[str, Any] | None:
    reply = await client.call("ListMessageMoveTasks", {"SourceArn": dead_arn, "MaxResults": 1})
    tasks: Sequence[Mapping[str, Any]] = reply.get("Results") or ()
    return next((task for task in tasks if task.get("Status") == "RUNNING"), None)


@asynccontextmanager
async def open_sqs_dead_letters(
    queue_url: str, *, endpoint_url: str | None = None, region: str | None = None
) -> AsyncIterator[SqsDeadLetters]:
    """The dead letters of the order queue at `queue_url`; arguments and errors as of `open_sqs_queue`."""
    async with AsyncExitStack() as stack:
        opening = open_json_client("sqs", endpoint_url=endpoint_url, region=region or region_of(queue_url))
        try:
            client = await stack.enter_async_context(opening)
        except ValueError as error:
            raise ValueError(f"cannot use the queue {queue_url}: {error}") from error
        yield SqsDeadLetters(client, SqsQueue(client, queue_url), queue_url)


def _letter(message: Mapping[str, Any]) -> DeadLetter:
    reason = ((message.get("MessageAttributes") or {}).get("reason") or {}).get("StringValue")
    return DeadLetter(
        id=message["MessageId"],
        body=message["Body"].encode(),
        at=int((message.get("Attributes") or {}).get("SentTimestamp") or 0),
        reason=reason,
    )


def _outgoing(letter: DeadLetter) -> Outgoing:
    """The message of a letter. A FIFO queue drops it if it is sent again within five minutes."""
    try:
        order_id = order_id_of(letter.body)
    except NotAnOrderMessage:
        order_id = OrderId(hashlib.sha256(letter.body).hexdigest())
    return Outgoing(order_id, letter.body, f"redrive:{letter.id}", group=group_of(letter.body))


def _digest(letter: DeadLetter) -> bytes:
    return hashlib.sha256(letter.body).digest()[:16]


async def _reply(call: Awaitable[dict[str, Any]]) -> dict[str, Any]:
    try:
        return await call
    except AwsError as error:
        raise ServiceUnavailable(str(error)) from error
