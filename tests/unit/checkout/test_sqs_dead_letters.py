"""Dead letters on SQS: a kill at any call, letters that die again, and moves by SQS itself."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest

from checkout.aws.errors import AwsRejected
from checkout.dead_letter_desk import DeadLetterDesk
from checkout.errors import ServiceUnavailable
from checkout.ports.dead_letters import LookIsUnsafe
from checkout.ports.queue import Outgoing
from checkout.queues.sqs_dead_letters import SqsDeadLetters
from tests.unit.checkout.fake_services import Killed
from tests.virtual_time import in_virtual_time, loop_time

URL = "https://sqs.eu-west-2.amazonaws.com/1/orders"
DEAD_ARN = "arn:aws:sqs:eu-west-2:1:dead"
VISIBILITY_S = 60


class FakeSqs:
    """The dead-letter queue: `visible_at` of each letter, by its id. `moves` has the states of a move task, if SQS has them."""

    def __init__(self, count: int, *, moves: Sequence[Mapping[str, Any]] | None = None) -> None:
        self.bodies = {f"m{number}": f"body {number}" for number in range(count)}
        self.visible_at = dict.fromkeys(self.bodies, 0.0)
        self.own_policy = ""
        self.killed_at: int | None = None
        self.calls: list[str] = []
        self.started: list[Mapping[str, Any]] = []
        self._moves = None if moves is None else iter(moves)

    async def call(self, operation: str, parameters: Mapping[str, Any], *, deadline_s: float = 5.0) -> dict[str, Any]:
        self.calls.append(operation)
        if len(self.calls) == self.killed_at:
            raise Killed
        reply: dict[str, Any] = getattr(self, f"_{operation}")(parameters)
        return reply

    async def dated_call(
        self, operation: str, parameters: Mapping[str, Any], *, deadline_s: float = 5.0
    ) -> tuple[dict[str, Any], str | None]:
        return await self.call(operation, parameters), None

    def bury(self, letter_id: str, body: str) -> None:
        self.bodies[letter_id], self.visible_at[letter_id] = body, 0.0

    def _GetQueueUrl(self, _parameters: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"QueueUrl": "https://dead"}

    def _GetQueueAttributes(self, parameters: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802
        if parameters["QueueUrl"] == URL:
            policy = msgspec.json.encode({"deadLetterTargetArn": DEAD_ARN, "maxReceiveCount": 1000}).decode()
            return {"Attributes": {"QueueArn": "arn:aws:sqs:eu-west-2:1:orders", "RedrivePolicy": policy}}
        hidden = sum(at > loop_time() for at in self.visible_at.values())
        counts = {"ApproximateNumberOfMessages": str(len(self.bodies) - hidden)}
        return {
            "Attributes": {
                **counts,
                "ApproximateNumberOfMessagesNotVisible": str(hidden),
                "QueueArn": DEAD_ARN,
                "RedrivePolicy": self.own_policy,
            }
        }

    def _ReceiveMessage(self, parameters: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802
        visible = (letter_id for letter_id, at in self.visible_at.items() if at <= loop_time())
        received = list(itertools.islice(visible, parameters["MaxNumberOfMessages"]))
        for letter_id in received:
            self.visible_at[letter_id] = loop_time() + parameters["VisibilityTimeout"]
        return {
            "Messages": [
                {"MessageId": letter_id, "ReceiptHandle": letter_id, "Body": self.bodies[letter_id]}
                for letter_id in received
            ]
        }

    def _DeleteMessageBatch(self, parameters: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802
        for entry in parameters["Entries"]:
            self.bodies.pop(entry["ReceiptHandle"], None)
            self.visible_at.pop(entry["ReceiptHandle"], None)
        return {}

    def _ChangeMessageVisibilityBatch(self, parameters: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802
        for entry in parameters["Entries"]:
            self.visible_at[entry["ReceiptHandle"]] = loop_time() + entry["VisibilityTimeout"]
        return {}

    def _ListMessageMoveTasks(self, _parameters: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802
        if self._moves is None:
            raise AwsRejected("UnsupportedOperation", "", status=400)
        task = next(self._moves)
        return {"Results": [task] if task else []}

    def _StartMessageMoveTask(self, parameters: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802
        self.started.append(parameters)
        return {"TaskHandle": "task"}


class Queue:
    """The order queue; `dies_again` buries each message again under another id, as workers do."""

    def __init__(self, sqs: FakeSqs, *, dies_again: bool = False) -> None:
        self.sent: Counter[bytes] = Counter()
        self.ids: Counter[str] = Counter()
        self.refuses = False
        self._sqs = sqs
        self._dies_again = dies_again

    async def send(self, messages: Sequence[Outgoing]) -> Sequence[bool]:
        await self._sqs.call("GetQueueUrl", {})  # a call that a process may die in, too
        for message in messages if not self.refuses else ():
            self.sent[message.body] += 1
            self.ids[message.message_id] += 1
            if self._dies_again:
                self._sqs.bury(f"again {message.message_id}", message.body.decode())
        return [not self.refuses] * len(messages)


def letters(sqs: FakeSqs, queue: Queue) -> SqsDeadLetters:
    return SqsDeadLetters(sqs, queue, URL, visibility_s=VISIBILITY_S, clock=loop_time)


def desk(sqs: FakeSqs, queue: Queue) -> DeadLetterDesk:
    return DeadLetterDesk(letters(sqs, queue), clock=loop_time)


@pytest.mark.parametrize("call", range(1, 23))
@in_virtual_time
async def test_a_redrive_that_is_killed_at_any_call_is_finished_by_another(call: int) -> None:
    sqs = FakeSqs(25)
    queue = Queue(sqs)
    sqs.killed_at = call
    with pytest.raises(Killed):
        await desk(sqs, queue).run("redrive", rate=50.0)
    await desk(sqs, queue).run("redrive", rate=50.0)

    assert not sqs.bodies
    assert set(queue.sent) == {f"body {number}".encode() for number in range(25)}
    # Letters that were sent and not deleted are sent again, under the id that lets a FIFO queue drop them.
    assert max(queue.sent.values()) <= 2
    assert len(queue.ids) == 25


@in_virtual_time
async def test_letters_that_die_again_are_left_to_another_run() -> None:
    sqs = FakeSqs(30)
    queue = Queue(sqs, dies_again=True)

    assert await desk(sqs, queue).run("redrive", rate=None) == 30

    assert set(queue.sent.values()) == {1}
    assert len(sqs.bodies) == 30
    assert all(at <= loop_time() for at in sqs.visible_at.values())


@in_virtual_time
async def test_a_letter_with_the_same_content_as_another_is_left() -> None:
    sqs = FakeSqs(2)
    sqs.bury("twin", "body 1")
    queue = Queue(sqs)
    assert await desk(sqs, queue).run("redrive", rate=None) == 2
    assert len(sqs.bodies) == 1
    assert await desk(sqs, queue).run("redrive", rate=None) == 1


@in_virtual_time
async def test_a_letter_that_sqs_shows_to_two_receives_at_once_is_sent_and_counted_once() -> None:
    class ShowsTwice(FakeSqs):
        def _ReceiveMessage(self, parameters: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802
            reply = super()._ReceiveMessage(parameters)
            if self.calls.count("ReceiveMessage") == 1:
                self.visible_at |= dict.fromkeys(self.visible_at, 0.0)
            return reply

    class Slow(Queue):
        async def send(self, messages: Sequence[Outgoing]) -> Sequence[bool]:
            await asyncio.sleep(0.1)
            return await super().send(messages)

    sqs = ShowsTwice(8)
    queue = Slow(sqs)
    assert await desk(sqs, queue).run("redrive", rate=None) == 8
    assert not sqs.bodies
    assert set(queue.sent.values()) == {1}


@in_virtual_time
async def test_a_letter_that_sqs_shows_again_after_its_deletion_is_not_sent_again() -> None:
    class ShowsAgain(FakeSqs):
        def _DeleteMessageBatch(self, parameters: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802
            if self.calls.count("DeleteMessageBatch") > 1:
                return super()._DeleteMessageBatch(parameters)
            for entry in parameters["Entries"]:
                self.visible_at[entry["ReceiptHandle"]] = 0.0
            return {}

    sqs = ShowsAgain(12)
    queue = Queue(sqs)
    await desk(sqs, queue).run("redrive", rate=None)
    assert not sqs.bodies
    assert set(queue.sent.values()) == {1}


@in_virtual_time
async def test_letters_that_are_not_deleted_are_an_error_and_stay_dead() -> None:
    class KeepsOne(FakeSqs):
        def _DeleteMessageBatch(self, parameters: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802
            kept, *others = parameters["Entries"]
            super()._DeleteMessageBatch({"Entries": others})
            return {"Failed": [{"Id": kept["Id"], "Code": "InternalError"}]}

    sqs = KeepsOne(3)
    with pytest.raises(ServiceUnavailable, match="1 dead letters were not deleted: InternalError"):
        await desk(sqs, Queue(sqs)).run("redrive", rate=None)
    assert len(sqs.bodies) == 1


@in_virtual_time
async def test_a_queue_that_refuses_letters_keeps_them_dead() -> None:
    sqs = FakeSqs(5)
    queue = Queue(sqs)
    queue.refuses = True
    with pytest.raises(ServiceUnavailable, match="refuses"):
        await desk(sqs, queue).run("redrive", rate=None)
    assert len(sqs.bodies) == 5


@in_virtual_time
async def test_letters_of_other_ids_are_shown_again_when_some_were_found() -> None:
    sqs = FakeSqs(25)
    queue = Queue(sqs)
    assert await desk(sqs, queue).run("drop", ids=["m24", "no such"], rate=None) == 1
    assert len(sqs.bodies) == 24
    assert all(at <= loop_time() for at in sqs.visible_at.values())


@in_virtual_time
async def test_a_dead_letter_queue_with_a_policy_of_its_own_is_not_looked_at() -> None:
    sqs = FakeSqs(3)
    sqs.own_policy = '{"deadLetterTargetArn": "arn:aws:sqs:eu-west-2:1:grave", "maxReceiveCount": 3}'
    queue = Queue(sqs)
    for look in (desk(sqs, queue).page(), desk(sqs, queue).find("m1"), desk(sqs, queue).run("drop", ids=["m1"])):
        with pytest.raises(LookIsUnsafe, match="maxReceiveCount 3"):
            await look
    assert "ReceiveMessage" not in sqs.calls
    assert await desk(sqs, queue).run("redrive", rate=None) == 3


@in_virtual_time
async def test_sqs_moves_letters_by_itself_where_it_can() -> None:
    moves = [
        {},
        {"Status": "RUNNING", "ApproximateNumberOfMessagesMoved": 300, "ApproximateNumberOfMessagesToMove": 1000},
        {"Status": "RUNNING", "ApproximateNumberOfMessagesMoved": 300, "ApproximateNumberOfMessagesToMove": 1000},
        {"Status": "COMPLETED", "ApproximateNumberOfMessagesMoved": 1000, "ApproximateNumberOfMessagesToMove": 1000},
    ]
    sqs = FakeSqs(0, moves=moves)
    seen: list[tuple[int, int | None]] = []

    done = await desk(sqs, Queue(sqs)).run(
        "redrive", rate=2000.0, progress=lambda now: seen.append((now.done, now.total))
    )

    assert done == 1000
    (started,) = sqs.started
    assert started["MaxNumberOfMessagesPerSecond"] == 500
    assert seen[-1] == (1000, 1000)
    assert "ReceiveMessage" not in sqs.calls


@in_virtual_time
async def test_a_move_that_runs_is_followed_and_not_started_twice() -> None:
    running = {"Status": "RUNNING", "ApproximateNumberOfMessagesMoved": 10, "ApproximateNumberOfMessagesToMove": 20}
    sqs = FakeSqs(0, moves=[running, {**running, "Status": "COMPLETED", "ApproximateNumberOfMessagesMoved": 20}])
    assert await desk(sqs, Queue(sqs)).run("redrive") == 20
    assert sqs.started == []


@in_virtual_time
async def test_a_move_that_failed_is_an_error() -> None:
    failed = {"Status": "FAILED", "FailureReason": "AccessDenied"}
    sqs = FakeSqs(0, moves=[{}, failed])
    with pytest.raises(ServiceUnavailable, match="AccessDenied"):
        await desk(sqs, Queue(sqs)).run("redrive")


@in_virtual_time
async def test_a_queue_without_a_dead_letter_queue_says_so() -> None:
    class NoPolicy(FakeSqs):
        def _GetQueueAttributes(self, parameters: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802
            return {"Attributes": {"QueueArn": "arn"}}

    sqs = NoPolicy(0)
    with pytest.raises(ServiceUnavailable, match="no redrive policy"):
        await desk(sqs, Queue(sqs)).count()
