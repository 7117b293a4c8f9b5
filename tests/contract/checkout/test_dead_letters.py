"""The contract of dead letters, for the queue on Redis and for that on SQS, standard and FIFO."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import msgspec
import pytest

from checkout.aws.json_client import open_json_client
from checkout.dead_letter_desk import DeadLetterDesk, RunProgress
from checkout.ports.dead_letters import DeadLetters
from checkout.ports.queue import OrderQueue, Outgoing
from checkout.queues.redis_dead_letters import RedisDeadLetters
from checkout.queues.redis_queue import DEAD, RedisQueue
from checkout.queues.sqs_dead_letters import SqsDeadLetters
from checkout.queues.sqs_queue import SqsQueue
from store.opening import StoreClient, open_store_client
from tests.unit.checkout.fake_services import MemoryQueue, an_order, message_of
from tests.unit.checkout.memory_dead_letters import MemoryDeadLetters
from tests.waiting import WITHIN_S

REGION = "eu-west-2"
RATE = None  # as fast as the queue takes them


class Shared(msgspec.Struct):
    """A queue and its dead letters; `bury` makes dead letters of messages."""

    queue: OrderQueue
    letters: DeadLetters
    bury: Callable[[list[Outgoing]], Awaitable[None]]


async def memory_letters(_request: pytest.FixtureRequest, _stack: AsyncExitStack) -> Shared:
    queue = MemoryQueue()

    async def bury(messages: list[Outgoing]) -> None:
        queue.dead += [(message.body, "odd") for message in messages]

    return Shared(queue, MemoryDeadLetters(queue), bury)


async def redis_letters(request: pytest.FixtureRequest, stack: AsyncExitStack) -> Shared:
    async def client() -> StoreClient:
        opened = await open_store_client(request.getfixturevalue("store_url"), deadline_s=5.0)
        stack.push_async_callback(opened.close)
        return opened

    store = await client()
    await store.execute("FLUSHDB")

    async def bury(messages: list[Outgoing]) -> None:
        for message in messages:
            await store.execute("XADD", DEAD, "*", "body", message.body, "attempts", 3, "reason", "odd")

    return Shared(RedisQueue(store, await client(), consumer="one"), RedisDeadLetters(store), bury)


_names = itertools.count(1)


async def sqs_letters(request: pytest.FixtureRequest, stack: AsyncExitStack, suffix: str = "") -> Shared:
    endpoint_url: str = request.getfixturevalue("sqs_endpoint")
    client = await stack.enter_async_context(open_json_client("sqs", endpoint_url=endpoint_url, region=REGION))
    kind = {"FifoQueue": "true"} if suffix else {}

    async def create(name: str, **attributes: str) -> str:
        created = await client.call("CreateQueue", {"QueueName": name + suffix, "Attributes": kind | attributes})
        return str(created["QueueUrl"])

    name = f"letters-{next(_names)}"
    dead_url = await create(f"{name}-dead")
    described = await client.call("GetQueueAttributes", {"QueueUrl": dead_url, "AttributeNames": ["QueueArn"]})
    redrive = {"deadLetterTargetArn": described["Attributes"]["QueueArn"], "maxReceiveCount": 1000}
    url = await create(name, RedrivePolicy=msgspec.json.encode(redrive).decode())
    queue = SqsQueue(client, url)

    async def bury(messages: list[Outgoing]) -> None:
        reason = {"reason": {"DataType": "String", "StringValue": "odd"}}
        for message in messages:
            parameters = {"QueueUrl": dead_url, "MessageBody": message.body.decode(), "MessageAttributes": reason}
            if suffix:
                parameters |= {"MessageGroupId": message.order_id, "MessageDeduplicationId": message.message_id}
            await client.call("SendMessage", parameters)

    # The server answers from one place, so a look need not wait.
    return Shared(queue, SqsDeadLetters(client, queue, url, poll_s=0), bury)


async def sqs_fifo_letters(request: pytest.FixtureRequest, stack: AsyncExitStack) -> Shared:
    return await sqs_letters(request, stack, suffix=".fifo")


SQS = [pytest.param(make, marks=pytest.mark.slow) for make in (sqs_letters, sqs_fifo_letters)]


@pytest.fixture(params=[memory_letters, redis_letters, *SQS], ids=lambda make: make.__name__)
async def shared(request: pytest.FixtureRequest) -> AsyncIterator[Shared]:
    async with AsyncExitStack() as stack:
        yield await request.param(request, stack)


def some(count: int) -> list[Outgoing]:
    return [message_of(an_order()) for _ in range(count)]


def bodies(messages: list[Outgoing]) -> list[bytes]:
    return sorted(message.body for message in messages)


async def drain(queue: OrderQueue, count: int) -> list[bytes]:
    """Receive and acknowledge so many messages."""
    received: list[bytes] = []
    async with asyncio.timeout(WITHIN_S):
        while len(received) < count:
            deliveries = await queue.receive(10, 1)
            received += [delivery.body for delivery in deliveries]
            if deliveries:
                await queue.acknowledge(deliveries)
    return sorted(received)


async def test_letters_are_listed_and_found_without_their_content(shared: Shared) -> None:
    order = an_order()
    await shared.bury([message_of(order), Outgoing(order.id, b'{"email":"ada@example.com"}', "2")])
    desk = DeadLetterDesk(shared.letters)

    page = await desk.page(limit=10)
    ours, odd = sorted(page.letters, key=lambda letter: letter.fault or "")

    assert (ours.order_id, ours.number, ours.fault) == (order.id, order.number, None)
    assert odd.order_id is None
    assert odd.fault
    assert odd.size == 27
    assert "ada@" not in repr(page)
    assert "ada@" not in msgspec.json.encode(page).decode()
    assert await desk.find(odd.id) == odd
    assert await desk.find("0-1") is None
    assert await desk.count() == 2


async def test_looking_takes_no_letter_away(shared: Shared) -> None:
    await shared.bury(some(3))
    desk = DeadLetterDesk(shared.letters)

    looks = [await desk.page(limit=10) for _ in range(5)]

    assert [{letter.id for letter in look.letters} for look in looks] == [{each.id for each in looks[0].letters}] * 5
    assert len(looks[0].letters) == 3


async def test_all_are_redriven_and_none_is_left(shared: Shared) -> None:
    messages = some(23)
    await shared.bury(messages)
    seen: list[RunProgress] = []

    done = await DeadLetterDesk(shared.letters).run("redrive", rate=RATE, progress=seen.append)

    assert done == 23
    assert await drain(shared.queue, 23) == bodies(messages)
    assert await shared.letters.count() == 0
    assert seen[0].done == 0
    assert seen[-1].done == 23
    assert await DeadLetterDesk(shared.letters).run("redrive", rate=RATE) == 0


async def test_some_are_redriven_by_their_ids(shared: Shared) -> None:
    messages = some(4)
    await shared.bury(messages)
    desk = DeadLetterDesk(shared.letters)
    chosen = [each for each in (await desk.page(limit=10)).letters if each.order_id == messages[1].order_id]

    ids = [*(each.id for each in chosen), "1-1", "no id"]
    assert await desk.run("redrive", ids=ids, rate=RATE) == 1
    assert await desk.run("redrive", ids=ids, rate=RATE) == 0

    assert await drain(shared.queue, 1) == [messages[1].body]
    assert await shared.letters.count() == 3


async def test_dropped_letters_are_gone_and_not_in_the_queue(shared: Shared) -> None:
    messages = some(12)
    await shared.bury(messages)
    desk = DeadLetterDesk(shared.letters)
    (first, *_) = (await desk.page(limit=1)).letters

    assert await desk.run("drop", ids=[first.id], rate=RATE) == 1
    assert await shared.letters.count() == 11
    assert await desk.run("drop", rate=RATE) == 11

    assert await shared.letters.count() == 0
    assert await shared.queue.receive(10, 0) == []


@pytest.mark.parametrize("steps", [0, 1, 2])
async def test_a_run_that_was_cut_off_is_continued_by_another(shared: Shared, steps: int) -> None:
    messages = some(25)
    await shared.bury(messages)
    run = await shared.letters.begin("redrive")
    moved = sum([await run.step(10) or 0 for _ in range(steps)])

    done = await DeadLetterDesk(shared.letters).run("redrive", rate=RATE)

    assert moved + done == 25
    assert await drain(shared.queue, 25) == bodies(messages)
    assert await shared.letters.count() == 0


async def test_two_operators_at_once_move_each_letter_once(shared: Shared) -> None:
    messages = some(40)
    await shared.bury(messages)
    desks = [DeadLetterDesk(shared.letters) for _ in range(2)]

    done = await asyncio.gather(*(desk.run("redrive", rate=RATE) for desk in desks))

    # One that SQS shows again is moved again, which the queue drops as a duplicate.
    assert sum(done) >= 40
    assert await drain(shared.queue, 40) == bodies(messages)


async def test_pages_follow_each_other_where_the_queue_has_an_order(shared: Shared) -> None:
    await shared.bury(some(5))
    found: list[str] = []
    cursor = None
    while True:
        page = await shared.letters.page(limit=2, cursor=cursor)
        found += [letter.id for letter in page.letters]
        if page.cursor is None:
            break
        cursor = page.cursor
    assert len(found) == len(set(found))
    assert len(found) == 5 or not isinstance(shared.letters, RedisDeadLetters)


async def test_a_cursor_of_another_list_is_refused(shared: Shared) -> None:
    with pytest.raises(ValueError, match="cursor"):
        await shared.letters.page(limit=2, cursor="7f:123")
