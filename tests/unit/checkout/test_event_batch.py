"""The orders of one SQS event of AWS Lambda."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from checkout.errors import ServiceUnavailable
from checkout.events.batch import work_off
from checkout.order import Order
from checkout.order_status import OrderStatus
from checkout.payments.sandbox import PaymentState
from checkout.ports.queue import Delivery
from checkout.processor import Later
from tests.unit.checkout.fake_services import FakeServices, Fault, Faults, MemoryQueue, an_order, message_of
from tests.virtual_time import in_virtual_time, loop_time

STANDARD = "arn:aws:sqs:eu-west-2:123456789012:orders"


class Lambda(MemoryQueue):
    """The queue of an event: notes the calls for its messages, by receipt."""

    def __init__(self) -> None:
        super().__init__()
        self.released: dict[str, float] = {}
        self.extended: list[str] = []
        self.buried: list[str] = []
        self.is_away = False

    async def release(self, delivery: Delivery, delay_s: float) -> None:
        if self.is_away:
            raise ServiceUnavailable("away")
        self.released[delivery.receipt] = delay_s

    async def extend(self, deliveries: Sequence[Delivery], seconds: float) -> None:
        self.extended += [delivery.receipt for delivery in deliveries]

    async def dead_letter(self, delivery: Delivery, *, reason: str) -> None:
        if self.is_away:
            raise ServiceUnavailable("away")
        self.buried.append(delivery.receipt)


def event(*bodies: str, arn: str = STANDARD, groups: Sequence[str] = (), attempt: int = 1) -> dict[str, Any]:
    """An event with more members than are read, as Lambda sends it."""
    return {
        "Records": [
            {
                "messageId": f"m{number}",
                "receiptHandle": f"r{number}",
                "body": body,
                "attributes": {"ApproximateReceiveCount": str(attempt), "SentTimestamp": "1795000000000"}
                | ({"MessageGroupId": groups[number]} if groups else {}),
                "messageAttributes": {},
                "md5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3",
                "eventSource": "aws:sqs",
                "eventSourceARN": arn,
                "awsRegion": "eu-west-2",
            }
            for number, body in enumerate(bodies)
        ]
    }


def body_of(order: Order) -> str:
    return message_of(order).body.decode()


def failures(response: dict[str, Any]) -> list[str]:
    return [failure["itemIdentifier"] for failure in response["batchItemFailures"]]


@in_virtual_time
async def test_the_orders_of_an_event_are_completed_and_only_the_others_are_reported() -> None:
    services, queue = FakeServices(), Lambda()
    orders = [await services.accept() for _ in range(9)]

    response = await work_off(
        event("no order", *map(body_of, orders), body_of(an_order())),
        queue,
        services.processor().process,
        remaining_s=60,
    )

    assert {services.now(order).status for order in orders} == {OrderStatus.COMPLETED}
    assert queue.buried == ["r0"]
    # An order that is not found yet.
    assert failures(response) == ["m10"]
    assert queue.released["r10"] > 0


@in_virtual_time
async def test_an_event_without_messages_is_done() -> None:
    response = await work_off({"Records": []}, Lambda(), FakeServices().processor().process, remaining_s=60)
    assert response == {"batchItemFailures": []}


async def test_another_event_is_an_error() -> None:
    with pytest.raises(msgspec.ValidationError):
        await work_off({"detail": {}}, Lambda(), FakeServices().processor().process, remaining_s=60)


@in_virtual_time
async def test_the_same_event_again_has_no_effect() -> None:
    services, queue = FakeServices(), Lambda()
    order = await services.accept()
    twice = event(body_of(order), body_of(order))
    process = services.processor().process

    await work_off(twice, queue, process, remaining_s=60)
    response = await work_off(twice, queue, process, remaining_s=60)

    assert failures(response) == []
    assert services.ledger(order) == [PaymentState.AUTHORISED, PaymentState.CAPTURED]
    assert services.captured() == order.total


@in_virtual_time
async def test_orders_are_extended_and_cut_off_before_the_function_is_killed() -> None:
    services = FakeServices(Faults({"SandboxPayments.authorise": [Fault(delay_s=4.0)] * 99}))
    queue, order = Lambda(), await services.accept()

    response = await work_off(
        event(body_of(order)), queue, services.processor().process, remaining_s=6.5, visibility_s=6.0
    )
    await services.faults.finish()

    assert failures(response) == ["m0"]
    assert queue.extended
    assert queue.released == {"r0": 0}
    assert loop_time() < 6.5
    again = await work_off(event(body_of(order)), queue, services.processor().process, remaining_s=60)
    assert failures(again) == []
    assert services.captured() == order.total


@in_virtual_time
async def test_messages_of_a_fifo_group_stay_in_sequence() -> None:
    queue, ran = Lambda(), []
    orders = [an_order() for _ in range(5)]

    async def process(order_id: str) -> Later | None:
        ran.append(order_id)
        return Later(7.0) if order_id == orders[1].id else None

    response = await work_off(
        event(*map(body_of, orders), arn=f"{STANDARD}.fifo", groups=["a", "a", "b", "a", "b"]),
        queue,
        process,
        remaining_s=60,
    )

    # The third message of group a is behind the one that is to be delivered again.
    assert failures(response) == ["m1", "m3"]
    assert queue.released == {"r1": 7.0}
    assert set(ran) == {orders[n].id for n in (0, 1, 2, 4)}
    assert ran.index(orders[2].id) < ran.index(orders[4].id)


@in_virtual_time
async def test_while_the_queue_is_away_messages_are_reported() -> None:
    queue = Lambda()
    queue.is_away = True

    async def later(_order_id: str) -> Later | None:
        return Later(1.0)

    response = await work_off(event(body_of(an_order()), "no order"), queue, later, remaining_s=60)

    assert failures(response) == ["m0", "m1"]
