"""The events of orders against their JSON Schema."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import msgspec
import pytest

from checkout.events.event_message import (
    ORDER_EVENT_TYPES,
    REFUNDED,
    UPDATED,
    event_type,
    order_event,
    order_event_schema,
)
from checkout.message import ORDER_ACCEPTED, order_accepted
from checkout.order import Order
from checkout.order_status import AFTERWARDS, NEXT, CancelReason, OrderStatus
from tests.unit.checkout.fake_services import an_order


def delivered() -> Order:
    order = an_order()
    for status in (*NEXT.values(), OrderStatus.SHIPPED, OrderStatus.DELIVERED):
        order = order.moved(status, at=order.updated_at + 1_000)
    order = order.noted(at=order.updated_at + 1, refunded=100)
    return order.noted(at=order.updated_at + 1, refunded=55, detail="to Ada")


def events(order: Order) -> list[dict[str, Any]]:
    return [json.loads(order_event(order, number + 1)) for number in range(len(order.history))]


def test_every_event_is_as_its_schema_says() -> None:
    jsonschema.Draft202012Validator.check_schema(order_event_schema())
    validator = jsonschema.Draft202012Validator(order_event_schema())
    order = delivered()
    cancelled = an_order().moved(OrderStatus.CANCELLED, at=2, reason=CancelReason.REQUESTED)
    noted = an_order().noted(at=2, detail="renewed")
    returned = delivered().moved(OrderStatus.RETURNED, at=order.updated_at)
    for each in (order, cancelled, noted, returned):
        for event in events(each)[1:]:
            validator.validate(event)


def test_the_first_event_is_the_order_message() -> None:
    order = delivered()
    assert order_event(order, 1) == order_accepted(order)


def test_the_types_follow_the_history() -> None:
    order = delivered()
    types = [event_type(order, number + 1) for number in range(len(order.history))]
    statuses = ["accepted", "stock_confirmed", "payment_authorised", "shipping_arranged", "completed"]
    expected = [f"shop.order.{status}.v1" for status in (*statuses, "shipped", "delivered", "refunded", "refunded")]
    assert types == expected
    assert event_type(an_order().noted(at=2), 2) == UPDATED
    assert {*expected, UPDATED} <= set(ORDER_EVENT_TYPES)
    assert len(ORDER_EVENT_TYPES) == len(OrderStatus) + 2


def test_a_refund_has_its_amount_and_the_sum_of_all_so_far() -> None:
    first, second = events(delivered())[-2:]
    assert first["type"] == REFUNDED
    assert first["data"]["refunded"]["amount"] == 100
    assert first["data"]["refunded_total"]["amount"] == 100
    assert second["data"]["refunded_total"]["amount"] == 155


def test_an_event_has_the_same_bytes_in_every_later_state() -> None:
    order = delivered()
    earlier = msgspec.structs.replace(order, status=OrderStatus.COMPLETED, history=order.history[:5])
    assert order_event(order, 5) == order_event(earlier, 5)


def test_no_event_holds_personal_data() -> None:
    order = delivered()
    cancelled = an_order().moved(OrderStatus.CANCELLED, at=2, reason=CancelReason.PAYMENT_DECLINED, detail="of Ada")
    text = json.dumps([*events(order), *events(cancelled)])
    for secret in (order.email, order.payment_token, order.shipping_address.name, order.shipping_address.line1, "Ada"):
        assert secret not in text


def test_the_schema_names_every_type_and_status() -> None:
    schema = order_event_schema()["properties"]
    assert set(schema["type"]["enum"]) == set(ORDER_EVENT_TYPES) - {ORDER_ACCEPTED}
    assert set(schema["data"]["properties"]["status"]["enum"]) == {status.value for status in OrderStatus}


@pytest.mark.parametrize("status", list(AFTERWARDS))
def test_every_status_after_the_workflow_has_a_type(status: OrderStatus) -> None:
    assert f"shop.order.{status.value}.v1" in ORDER_EVENT_TYPES
