"""The contract of order queues, for each adapter and for the fake of the worker's tests."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Protocol

import msgspec
import pytest

from cart.model import OrderId
from checkout.errors import ServiceUnavailable
from checkout.ports.queue import Backlog, Delivery, OrderQueue, Outgoing
from checkout.queues.redis_queue import DEAD, EntryId, RedisQueue
from checkout.queues.sqs_queue import open_sqs_queue
from checkout.received_message import routing_of
from store.opening import StoreClient, open_store_client
from tests.sqs import aws_session
from tests.unit.checkout.fake_services import MemoryQueue
from tests.waiting import WITHIN_S

# Queues store times in milliseconds.
CLOCK_RESOLUTION_S = 0.002
VISIBILITY_S = 1.0  # the least that SQS knows
# Far fewer than a queue should have: releasing must not use them up.
MAX_RECEIVES = 4
REGION = "eu-west-2"


class AnyQueue(OrderQueue, Backlog, Protocol):
    """The protocols of each adapter."""


class Shared(msgspec.Struct):
    """One queue, as two workers have it; `dead` reads its dead letters."""

    queue: AnyQueue
    second: AnyQueue
    dead: Callable[[], Awaitable[list[bytes]]]


async def memory_queue(_request: pytest.FixtureRequest, _stack: AsyncExitStack) -> Shared:
    queue = MemoryQueue(visibility_s=VISIBILITY_S)

    async def dead() -> list[bytes]:
        await queue.receive(1, 0)
        return [body for body, _ in queue.dead]

    return Shared(queue, queue, dead)


async def redis_queue(request: pytest.FixtureRequest, stack: AsyncExitStack) -> Shared:
    store_url: str = request.getfixturevalue("store_url")

    async def client() -> StoreClient:
        opened = await open_store_client(store_url, deadline_s=5.0)
        stack.push_async_callback(opened.close)
        return opened

    store = await client()
    await store.execute("FLUSHDB")

    async def worker(name: str) -> RedisQueue:
        return RedisQueue(store, await client(), consumer=name, visibility_s=VISIBILITY_S)

    queue, second = await worker("one"), await worker("two")

    async def dead() -> list[bytes]:
        await queue.receive(1, 0)
        return [fields[1] for _, fields in await store.execute("XRANGE", DEAD, "-", "+")]

    return Shared(queue, second, dead)


_names = itertools.count(1)


async def sqs_queue(
    request: pytest.FixtureRequest, stack: AsyncExitStack, *, suffix: str = "", server: str = "sqs_endpoint"
) -> Shared:
    endpoint_url: str = request.getfixturevalue(server)
    creating = aws_session().create_client("sqs", endpoint_url=endpoint_url, region_name=REGION)
    admin = await stack.enter_async_context(creating)
    kind = {"FifoQueue": "true"} if suffix else {}

    async def create(name: str, **attributes: str) -> str:
        created = await admin.create_queue(QueueName=name + suffix, Attributes=kind | attributes)
        url: str = created["QueueUrl"]
        return url

    name = f"orders-{next(_names)}"
    dead_url = await create(f"{name}-dead")
    described = await admin.get_queue_attributes(QueueUrl=dead_url, AttributeNames=["QueueArn"])
    redrive = {"deadLetterTargetArn": described["Attributes"]["QueueArn"], "maxReceiveCount": MAX_RECEIVES}
    url = await create(name, RedrivePolicy=msgspec.json.encode(redrive).decode())

    async def worker() -> AnyQueue:
        opening = open_sqs_queue(url, endpoint_url=endpoint_url, region=REGION, visibility_s=VISIBILITY_S)
        return await stack.enter_async_context(opening)

    queue = await worker()

    async def dead() -> list[bytes]:
        await queue.receive(1, 0)
        reply = await admin.receive_message(QueueUrl=dead_url, MaxNumberOfMessages=10, VisibilityTimeout=0)
        return [message["Body"].encode() for message in reply.get("Messages", ())]

    return Shared(queue, await worker(), dead)


async def sqs_fifo_queue(request: pytest.FixtureRequest, stack: AsyncExitStack) -> Shared:
    return await sqs_queue(request, stack, suffix=".fifo")


async def fauxqs_queue(request: pytest.FixtureRequest, stack: AsyncExitStack) -> Shared:
    return await sqs_queue(request, stack, server="fauxqs_endpoint")


async def fauxqs_fifo_queue(request: pytest.FixtureRequest, stack: AsyncExitStack) -> Shared:
    return await sqs_queue(request, stack, suffix=".fifo", server="fauxqs_endpoint")


SQS = [
    pytest.param(make, marks=pytest.mark.slow) for make in (sqs_queue, sqs_fifo_queue, fauxqs_queue, fauxqs_fifo_queue)
]


@pytest.fixture(params=[memory_queue, redis_queue, *SQS], ids=lambda make: make.__name__)
async def shared(request: pytest.FixtureRequest) -> AsyncIterator[Shared]:
    async with AsyncExitStack() as stack:
        yield await request.param(request, stack)


@pytest.fixture
def queue(shared: Shared) -> OrderQueue:
    return shared.queue


def messages(*bodies: bytes) -> list[Outgoing]:
    return [Outgoing(OrderId(f"7f{index:024d}"), body, f"{index}") for index, body in enumerate(bodies)]


async def receive(queue: OrderQueue, count: int) -> list[Delivery]:
    """So many deliveries, however many calls they take."""
    received: list[Delivery] = []
    async with asyncio.timeout(WITHIN_S):
        while len(received) < count:
            received += await queue.receive(min(10, count - len(received)), 1)
    return received


def bodies(deliveries: list[Delivery]) -> list[bytes]:
    return sorted(delivery.body for delivery in deliveries)


async def test_the_body_carries_the_trace_through_every_queue(queue: OrderQueue) -> None:
    body = b'{"partitionkey":"a","traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}'
    await queue.send([Outgoing(OrderId("7f" + "0" * 24), body, "1", "a", routing_of(body)[1])])

    (delivery,) = await receive(queue, 1)

    assert delivery.body == body
    assert routing_of(delivery.body)[1] == {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}


async def test_a_message_is_received_as_it_was_sent(queue: OrderQueue) -> None:
    sent = [b'{"id":1}', '{"name":"Müller, 東京"}'.encode()]

    outcome = await queue.send(messages(*sent))
    received = await receive(queue, 2)

    assert list(outcome) == [True, True]
    assert bodies(received) == sorted(sent)
    assert {delivery.attempt for delivery in received} == {1}


async def test_an_empty_queue_gives_nothing(queue: OrderQueue) -> None:
    assert not await queue.receive(10, 0)
    assert not await queue.receive(10, 0.05)


async def test_a_waiting_receive_returns_when_a_message_is_sent(queue: OrderQueue) -> None:
    waiting = asyncio.ensure_future(receive(queue, 1))
    await asyncio.sleep(0)

    await queue.send(messages(b"now"))

    assert bodies(await waiting) == [b"now"]


async def test_an_interrupted_receive_loses_no_message(queue: OrderQueue) -> None:
    waiting = asyncio.ensure_future(queue.receive(10, 1))
    while not waiting.done():
        await queue.interrupt()
        await asyncio.sleep(0.01)
    assert await waiting == []
    await queue.send(messages(b"after"))
    assert bodies(await receive(queue, 1)) == [b"after"]


async def test_no_more_is_received_than_asked_for(queue: OrderQueue) -> None:
    await queue.send(messages(*[b"%d" % number for number in range(5)]))

    first = await queue.receive(3, 0)
    rest = await receive(queue, 5 - len(first))

    assert len(first) <= 3
    assert bodies([*first, *rest]) == [b"0", b"1", b"2", b"3", b"4"]


async def test_two_workers_share_the_messages(shared: Shared) -> None:
    await shared.queue.send(messages(*[b"%d" % number for number in range(4)]))

    first = await receive(shared.queue, 2)
    second = await receive(shared.second, 2)

    assert bodies([*first, *second]) == [b"0", b"1", b"2", b"3"]


async def test_an_acknowledged_message_is_never_delivered_again(queue: OrderQueue) -> None:
    await queue.send(messages(b"done", b"left"))
    done, left = sorted(await receive(queue, 2), key=lambda delivery: delivery.body)

    await queue.acknowledge([done])

    again = await receive(queue, 1)
    assert bodies(again) == [left.body]
    assert not await queue.receive(10, 0)


async def test_a_message_not_acknowledged_in_time_is_delivered_to_another_worker(shared: Shared) -> None:
    await shared.queue.send(messages(b"slow"))
    await receive(shared.queue, 1)

    again = await receive(shared.second, 1)

    assert bodies(again) == [b"slow"]
    assert again[0].attempt == 2


async def test_an_extended_delivery_stays_invisible_longer(queue: OrderQueue) -> None:
    await queue.send(messages(b"extended", b"left"))
    received = await receive(queue, 2)
    extended = next(delivery for delivery in received if delivery.body == b"extended")

    async with asyncio.timeout(WITHIN_S):
        again: list[Delivery] = []
        while not again:
            await queue.extend([extended], VISIBILITY_S)
            again += await queue.receive(10, 0)  # a wait would be as long as the visibility
            await asyncio.sleep(0.01)

    assert bodies(again) == [b"left"]


async def test_a_released_message_is_delivered_again_at_once(queue: OrderQueue) -> None:
    await queue.send(messages(b"failed"))
    (delivery,) = await receive(queue, 1)

    await queue.release(delivery, 0)
    (again,) = await receive(queue, 1)

    assert (again.body, again.attempt) == (b"failed", 2)


async def test_a_message_released_with_a_delay_is_delivered_later(queue: OrderQueue) -> None:
    await queue.send(messages(b"later", b"sooner"))
    sooner, later = sorted(await receive(queue, 2), key=lambda delivery: delivery.body, reverse=True)

    await queue.release(later, 1)
    await queue.release(sooner, 0)

    assert bodies(await receive(queue, 1)) == [b"sooner"]
    assert bodies(await receive(queue, 1)) == [b"later"]


async def test_no_number_of_deliveries_ends_a_message(shared: Shared) -> None:
    body = b"order"
    await shared.queue.send(messages(body))
    for _ in range(2 * MAX_RECEIVES + 1):
        (delivery,) = await receive(shared.queue, 1)
        assert delivery.body == body
        await shared.queue.release(delivery, 0)

    (last,) = await receive(shared.second, 1)
    await shared.second.acknowledge([last])
    assert not await shared.queue.receive(10, 1)
    assert not await shared.dead()
    assert await shared.queue.count_dead_letters() == 0


async def test_a_message_whose_workers_died_is_delivered_to_the_next(shared: Shared) -> None:
    await shared.queue.send(messages(b"order"))
    for _ in range(3):
        await receive(shared.queue, 1)

    (delivery,) = await receive(shared.second, 1)

    assert (delivery.body, delivery.attempt) == (b"order", 4)
    assert not await shared.dead()


async def test_a_dead_letter_is_delivered_no_more_and_counted(shared: Shared) -> None:
    await shared.queue.send(messages(b"poison", b"order"))
    received = await receive(shared.queue, 2)
    poison = next(delivery for delivery in received if delivery.body == b"poison")

    await shared.queue.dead_letter(poison, reason="it is no order")

    assert await shared.queue.count_dead_letters() == 1
    assert await until_dead(shared) == [b"poison"]
    assert bodies(await receive(shared.second, 1)) == [b"order"]


async def test_messages_about_one_order_are_delivered_each_and_a_repeat_is_none_of_them(shared: Shared) -> None:
    """An order's cancellation must not pass for a duplicate of its acceptance; sending it again may."""
    order_id = OrderId("7f" + "a" * 24)
    accepted, cancelled = Outgoing(order_id, b"same bytes", "1-0"), Outgoing(order_id, b"same bytes", "2-0")

    assert all([*await shared.queue.send([accepted]), *await shared.queue.send([cancelled])])

    first = await receive(shared.queue, 1)
    await shared.queue.acknowledge(first)
    second = await receive(shared.queue, 1)
    await shared.queue.acknowledge(second)
    assert bodies([*first, *second]) == [b"same bytes", b"same bytes"]


async def until_dead(shared: Shared) -> list[bytes]:
    async with asyncio.timeout(WITHIN_S):
        while True:
            if dead := await shared.dead():
                return dead


async def test_an_acknowledged_delivery_stays_so(shared: Shared) -> None:
    """Repeats, as after lost replies, and calls of a worker whose delivery another has finished."""
    await shared.queue.send(messages(b"done"))
    (delivery,) = await receive(shared.queue, 1)
    await shared.queue.acknowledge([delivery])

    await shared.queue.extend([delivery], 1)
    await shared.queue.release(delivery, 0)
    await shared.queue.acknowledge([delivery])

    assert not await shared.queue.receive(10, 1)
    assert not await shared.dead()


async def test_a_release_may_be_repeated(queue: OrderQueue) -> None:
    await queue.send(messages(b"order"))
    (delivery,) = await receive(queue, 1)
    await queue.release(delivery, 0)
    await queue.release(delivery, 0)

    (again,) = await receive(queue, 1)
    await queue.acknowledge([again])

    assert bodies([again]) == [b"order"]
    assert not await queue.receive(10, 1)


async def test_a_released_message_stays_invisible_for_its_delay(queue: OrderQueue) -> None:
    await queue.send(messages(b"later"))
    (delivery,) = await receive(queue, 1)
    await queue.release(delivery, 1)
    assert not await queue.receive(10, 0)
    assert bodies(await receive(queue, 1)) == [b"later"]


async def test_the_age_is_that_of_the_oldest_message(shared: Shared) -> None:
    first, second = messages(b"first", b"second")
    assert await shared.queue.oldest_age_s() is None

    await shared.queue.send([first])
    received = await receive(shared.queue, 1)
    async with asyncio.timeout(WITHIN_S):
        while (await shared.queue.oldest_age_s() or 0.0) <= 0.05:  # noqa: ASYNC110 - the age is what grows
            await asyncio.sleep(0.01)
    now = asyncio.get_running_loop().time
    before_second = now()
    await shared.queue.send([second])
    age_s = await shared.queue.oldest_age_s()
    assert age_s is not None
    assert age_s > 0

    await shared.queue.acknowledge(received)
    received = await receive(shared.queue, 1)
    age_s = await shared.queue.oldest_age_s()
    assert age_s is not None
    assert age_s <= now() - before_second + CLOCK_RESOLUTION_S

    await shared.queue.acknowledge(received)
    assert not await shared.queue.receive(1, 0)
    assert await shared.queue.oldest_age_s() is None


async def test_the_age_of_the_oldest_message_needs_no_right_clock(shared: Shared, wrong_clock: None) -> None:
    now = asyncio.get_running_loop().time
    sent_at = now()
    await shared.queue.send(messages(b"now"))
    await receive(shared.queue, 1)
    async with asyncio.timeout(WITHIN_S):
        while not (age_s := await shared.queue.oldest_age_s()):  # noqa: ASYNC110 - the age is what grows
            await asyncio.sleep(0.01)
    assert age_s <= now() - sent_at + CLOCK_RESOLUTION_S


async def test_a_batch_over_the_size_limit_is_sent_in_parts(queue: OrderQueue) -> None:
    heavy = [b"%d" % number + b"x" * 200_000 for number in range(10)]

    assert all(await queue.send(messages(*heavy)))

    assert bodies(await receive(queue, 10)) == heavy


# --- a queue that is away


@pytest.fixture(params=["redis", "sqs"])
async def absent(
    request: pytest.FixtureRequest, unused_tcp_port: int, aws_credentials: None, store: StoreClient
) -> AsyncIterator[OrderQueue]:
    if request.param == "redis":
        await store.close()
        yield RedisQueue(store, store, consumer="one")
        return
    nowhere = f"http://127.0.0.1:{unused_tcp_port}"
    async with open_sqs_queue(f"{nowhere}/1/orders", endpoint_url=nowhere, region=REGION) as queue:
        yield queue


async def test_a_queue_that_cannot_be_reached_is_unavailable(absent: OrderQueue) -> None:
    delivery = Delivery(b"", EntryId(b"1-1") if isinstance(absent, RedisQueue) else "1-1", 1)

    outcomes = await asyncio.gather(
        absent.send(messages(b"1", b"2")),
        absent.receive(10, 0),
        absent.extend([delivery], 1),
        absent.acknowledge([delivery]),
        absent.release(delivery, 0),
        absent.dead_letter(delivery, reason="odd"),
        return_exceptions=True,
    )

    assert [type(outcome) for outcome in outcomes] == [ServiceUnavailable] * 6
