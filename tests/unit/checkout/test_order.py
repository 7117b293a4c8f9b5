from __future__ import annotations

import itertools
import json
from typing import Any

import msgspec
import pytest

from cart.ids import new_cart_id, order_id_for
from cart.model import CartId, OrderId, Sku
from checkout.amounts import OrderLine
from checkout.order import Address, HistoryEntry, Order
from checkout.order_number import order_number
from checkout.order_status import CANCELLABLE, NEXT, CancelReason, OrderStatus, may_move, may_reach
from checkout.request import CheckoutRequest
from checkout.shipping.shipment import Shipment
from checkout.stored import decode_order, encode_order, encode_state

NOW = 1_795_000_000_000
BODY: dict[str, Any] = {
    "cart_id": "7fabcdefghijklmnopqrstuvwx",
    "email": "ada@example.com",
    "shipping_address": {
        "name": "Ada Lovelace",
        "line1": "12 St James's Square",
        "city": "London",
        "postcode": "SW1Y 4JH",
        "country": "GB",
    },
    "payment": {"token": "tok_ok"},
}


def an_order() -> Order:
    cart_id = CartId("7fabcdefghijklmnopqrstuvwx")
    return Order(
        id=order_id_for(cart_id, 3),
        cart_id=cart_id,
        currency="GBP",
        lines=(OrderLine(Sku("MUG"), "Mug", 2, 255), OrderLine(Sku("BOX"), "Box", 1, 1000)),
        shipping_method="standard",
        shipping=495,
        email="ada@example.com",
        shipping_address=Address("Ada Lovelace", "12 St James's Square", "London", "SW1Y 4JH", "GB"),
        payment_token="tok_secret",
        created_at=NOW,
        updated_at=NOW,
        history=(HistoryEntry(OrderStatus.ACCEPTED, NOW),),
    )


def decoded(**changes: Any) -> CheckoutRequest:
    return msgspec.json.decode(json.dumps(BODY | changes), type=CheckoutRequest)


# Orders


def test_the_total_of_an_order_is_that_of_its_lines_and_shipping() -> None:
    order = an_order()
    assert [line.total for line in order.lines] == [510, 1000]
    assert (order.amounts.subtotal, order.total) == (1510, 2005)


def test_only_these_transitions_exist() -> None:
    existing = {
        (here.value, to.value) for here, to in itertools.product(OrderStatus, OrderStatus) if may_move(here, to)
    }
    assert existing == {
        ("accepted", "stock_confirmed"),
        ("stock_confirmed", "payment_authorised"),
        ("payment_authorised", "shipping_arranged"),
        ("shipping_arranged", "completed"),
        ("accepted", "cancelled"),
        ("stock_confirmed", "cancelled"),
        ("payment_authorised", "cancelled"),
        ("shipping_arranged", "cancelled"),
        ("completed", "shipped"),
        ("completed", "delivered"),
        ("completed", "returned"),
        ("shipped", "delivered"),
        ("shipped", "returned"),
        ("delivered", "returned"),
    }
    ended = {"completed", "cancelled", "shipped", "delivered", "returned"}
    assert {status.value for status in OrderStatus if status.has_ended} == ended
    assert NEXT.keys() >= CANCELLABLE


def test_a_status_is_reached_over_others_and_never_left_for_an_earlier_one() -> None:
    workflow = ["accepted", "stock_confirmed", "payment_authorised", "shipping_arranged", "completed"]
    path = [*workflow, "shipped", "delivered", "returned"]
    reached = {
        (here.value, to.value) for here, to in itertools.product(OrderStatus, OrderStatus) if may_reach(here, to)
    }
    forward = set(itertools.combinations(path, 2))
    assert reached == forward | {(status, "cancelled") for status in workflow[:-1]}


def test_a_transition_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="accepted cannot become completed"):
        an_order().moved(OrderStatus.COMPLETED, at=NOW)


def test_only_a_cancelled_order_has_a_reason() -> None:
    with pytest.raises(ValueError, match="reason"):
        an_order().moved(OrderStatus.CANCELLED, at=NOW)
    with pytest.raises(ValueError, match="reason"):
        an_order().moved(OrderStatus.STOCK_CONFIRMED, at=NOW, reason=CancelReason.REQUESTED)


def test_a_transition_is_recorded_in_the_history() -> None:
    order = an_order().moved(OrderStatus.STOCK_CONFIRMED, at=NOW + 5)
    order = order.moved(OrderStatus.CANCELLED, at=NOW + 9, reason=CancelReason.PAYMENT_DECLINED, detail="no funds")
    body = json.loads(order.to_json())
    assert body["status"] == "cancelled"
    assert body["reason"] == "payment_declined"
    assert body["updated_at"] == body["history"][-1]["at"]
    assert [(entry["status"], entry.get("detail")) for entry in body["history"]] == [
        ("accepted", None),
        ("stock_confirmed", None),
        ("cancelled", "no funds"),
    ]


def test_each_change_is_the_next_revision_and_a_refund_an_entry_of_the_history() -> None:
    order = an_order().moved(OrderStatus.STOCK_CONFIRMED, at=NOW + 5)
    assert (order.revision, order.revised().revision) == (2, 3)
    order = order.noted(at=NOW + 7, refunded=300, detail="a broken cup").noted(at=NOW + 9, refunded=100)
    assert (order.revision, order.status, order.refunded) == (4, OrderStatus.STOCK_CONFIRMED, 400)
    assert [entry.refunded for entry in order.history] == [None, None, 300, 100]


def test_the_time_of_an_order_never_runs_backwards() -> None:
    assert an_order().moved(OrderStatus.STOCK_CONFIRMED, at=NOW - 60_000).updated_at == NOW


def test_an_order_as_accepted_is_the_same_in_every_status() -> None:
    order = an_order()
    cancelled = order.moved(OrderStatus.CANCELLED, at=NOW + 1, reason=CancelReason.REQUESTED)
    assert cancelled.as_accepted() == order
    assert cancelled.as_accepted().to_json() == order.to_json()


def test_neither_json_nor_logs_show_the_means_of_payment() -> None:
    order = an_order()
    assert b"tok_secret" not in order.to_json()
    assert "tok_secret" not in repr(order)
    assert "tok_ok" not in repr(decoded())
    assert "tok_ok" not in repr(decoded().payment)


def with_shipment(order: Order) -> Order:
    return msgspec.structs.replace(order, shipment=Shipment("shp_1", "Royal Mail", "AB123456789GB"))


def test_the_owner_of_an_order_sees_its_shipment() -> None:
    order = with_shipment(msgspec.structs.replace(an_order(), owner="ada"))
    assert json.loads(order.to_json())["shipment"] == {
        "reference": "shp_1",
        "carrier": "Royal Mail",
        "tracking_number": "AB123456789GB",
    }


def test_the_owner_of_an_order_sees_each_refund_and_their_sum() -> None:
    order = an_order()
    assert "refunded" not in json.loads(order.to_json())
    order = order.noted(at=NOW + 1, refunded=500, detail="one was broken").noted(at=NOW + 2, refunded=5)
    body = json.loads(order.to_json())
    assert body["refunded"] == {"amount": 505, "currency": "GBP"}
    assert body["history"][1]["refunded"] == {"amount": 500, "currency": "GBP"}
    assert [entry["status"] for entry in body["history"]] == ["accepted"] * 3


def test_neither_an_anonymous_nor_a_cancelled_order_shows_a_shipment() -> None:
    anonymous = with_shipment(an_order())
    cancelled = msgspec.structs.replace(anonymous, owner="ada").moved(
        OrderStatus.CANCELLED, at=NOW, reason=CancelReason.REQUESTED
    )
    for order in (anonymous, cancelled):
        assert "shipment" not in json.loads(order.to_json())


def test_a_shipment_is_stored_with_the_members_that_change() -> None:
    accepted = an_order()
    booked = with_shipment(accepted.moved(OrderStatus.STOCK_CONFIRMED, at=NOW + 5))
    assert decode_order(encode_order(accepted), encode_state(booked)) == booked
    assert booked.as_accepted() == accepted


def test_a_number_is_short_and_has_no_letters_that_are_mistaken_for_others() -> None:
    numbers = {order_number(OrderId(new_cart_id())) for _ in range(2000)}
    assert len(numbers) == 2000
    assert {len(number) for number in numbers} == {11}
    assert not set("".join(numbers)) & set("0O1ILUSZB")
    assert order_number(OrderId("7fabcdefghijklmnopqrstuvwx")) == order_number(OrderId("7fabcdefghijklmnopqrstuvwx"))


# Bodies


def test_a_valid_body_has_no_faults() -> None:
    assert decoded().faults() == []
    assert decoded(shipping_method=None, expected_total=None) == decoded()


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        (("shipping_address", "line2"), "c/o Charles Babbage"),
        (("shipping_address", "postcode"), ""),
        (("shipping_address", "country"), "de"),
        (("shipping_address", "name"), "\u5c71\u7530\u3000\u592a\u90ce"),
        (("email",), "gr\u00fc\u00dfe@b\u00fccher.example"),
        (("email",), "root@localhost"),
    ],
)
def test_addresses_of_other_countries_are_accepted(pointer: tuple[str, ...], value: str) -> None:
    assert changed(pointer, value).faults() == []


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        (("shipping_address", "name"), " "),
        (("shipping_address", "line1"), "a\nb"),
        (("shipping_address", "line2"), "\u2028"),
        (("shipping_address", "city"), "\u00a0"),
        (("shipping_address", "postcode"), "\t"),
        (("payment", "token"), "tok\u0000"),
        (("shipping_address", "country"), "GBR"),
        (("shipping_address", "country"), "G1"),
        (("shipping_address", "country"), "GB\n"),
        (("shipping_address", "country"), "UK"),
        (("shipping_address", "country"), "ZZ"),
        (("shipping_address", "country"), ""),
        (("email",), "nobody"),
        (("email",), "a@b@c"),
        (("email",), "a b@example.com"),
        (("email",), "ada@example..com"),
        (("email",), "ada@example.com\r\nBcc: eve@example.com"),
    ],
)
def test_faults_of_the_contents_are_named_by_pointer(pointer: tuple[str, ...], value: str) -> None:
    assert ["/" + "/".join(pointer)] == list(dict(changed(pointer, value).faults()))


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        (("cart_id",), None),
        (("cart_id",), "x" * 65),
        (("email",), 7),
        (("email",), "a" * 251 + "@b.c"),
        (("shipping_address",), []),
        (("shipping_address", "name"), ""),
        (("shipping_address", "line1"), "x" * 201),
        (("shipping_address", "planet"), "Earth"),
        (("payment", "token"), ""),
        (("payment", "card"), "4111"),
        (("expected_total",), {"amount": -1, "currency": "GBP"}),
        (("expected_total",), {"amount": 1.5, "currency": "GBP"}),
        (("expected_total",), {"amount": 10**30, "currency": "GBP"}),
        (("expected_total",), {"amount": 1}),
        (("coupon",), "FREE"),
    ],
)
def test_a_body_of_another_shape_is_not_decoded(pointer: tuple[str, ...], value: object) -> None:
    with pytest.raises(msgspec.ValidationError):
        changed(pointer, value)


def test_equal_bodies_have_one_fingerprint_and_others_another() -> None:
    assert decoded().fingerprint(bytes.hex) == msgspec.json.decode(
        json.dumps(BODY, indent=3), type=CheckoutRequest
    ).fingerprint(bytes.hex)
    others = [
        changed(("email",), "eve@example.com"),
        changed(("payment", "token"), "tok_other"),
        changed(("shipping_address", "line2"), "x"),
        changed(("expected_total",), {"amount": 1, "currency": "GBP"}),
    ]
    assert len({request.fingerprint(bytes.hex) for request in [decoded(), *others]}) == 5


def changed(pointer: tuple[str, ...], value: object) -> CheckoutRequest:
    body = json.loads(json.dumps(BODY))
    inner = body
    for name in pointer[:-1]:
        inner = inner[name]
    inner[pointer[-1]] = value
    return msgspec.json.decode(json.dumps(body), type=CheckoutRequest)
