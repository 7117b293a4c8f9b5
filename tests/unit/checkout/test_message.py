import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cart.ids import SKU_MAX_BYTES
from cart.model import Sku
from checkout.amounts import Discount, OrderLine, ShippingTax
from checkout.message import order_accepted, order_accepted_schema
from checkout.order import Order
from checkout.order_status import CancelReason, OrderStatus
from checkout.received_message import NotAnOrderMessage, group_of, order_id_of, routing_of
from primitives.tracing.spans import SERVER, Span, enter
from primitives.tracing.tracer import Tracer
from tests.unit.checkout.fake_services import MUG, NOW, an_order

SQS_BYTES = 256 * 1024


@pytest.fixture(scope="module")
def validator() -> Any:
    schema = order_accepted_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def with_lines(*lines: OrderLine) -> Order:
    return msgspec.structs.replace(an_order(), lines=lines)


def test_the_message_is_a_cloudevent_about_the_order() -> None:
    order = an_order()

    message = json.loads(order_accepted(order))

    assert message == {
        "specversion": "1.0",
        "id": order.id,
        "source": "/peakgate/checkout",
        "type": "shop.order.accepted.v1",
        "subject": order.id,
        "time": "2026-11-18T11:06:40.000Z",
        "datacontenttype": "application/json",
        "dataschema": "urn:peakgate:schema:shop.order.accepted.v1",
        "partitionkey": "85123A",
        "data": {
            "order_id": order.id,
            "number": order.number,
            "cart_id": order.cart_id,
            "currency": "GBP",
            "lines": [{"sku": "85123A", "quantity": 2, "unit_price": {"amount": 255, "currency": "GBP"}}],
            "subtotal": {"amount": 510, "currency": "GBP"},
            "discounts": [],
            "shipping": {"amount": 495, "currency": "GBP"},
            "total": {"amount": 1005, "currency": "GBP"},
        },
    }


# Members that an order or a line may lack.
OPTIONAL = {"tax", "ahead", "available_on", "traceparent", "tracestate"}


def discounted(order: Order) -> Order:
    """The order with a coupon, and with a tax that is added."""
    (line,) = order.lines
    return msgspec.structs.replace(
        order,
        lines=(msgspec.structs.replace(line, discount=100, tax=82, tax_rate="20"),),
        discounts=(Discount("SUMMER10", "summer", goods=100, shipping=order.shipping),),
        tax=ShippingTax(is_added=True, amount=0, rate="20"),
    )


def test_the_message_of_an_order_with_a_coupon_and_taxes_explains_its_total(validator: Any) -> None:
    message = json.loads(order_accepted(discounted(an_order())))
    validator.validate(message)
    data = message["data"]
    assert data["discounts"] == [{"code": "SUMMER10", "amount": {"amount": 595, "currency": "GBP"}}]
    assert data["tax"] == {"amount": {"amount": 82, "currency": "GBP"}, "included": False}
    assert data["total"]["amount"] == 510 - 595 + 495 + 82


def test_the_message_holds_nothing_about_the_shopper() -> None:
    order = an_order(token="tok_secret")

    message = order_accepted(order)

    for secret in (order.email, order.payment_token, order.shipping_address.name, order.shipping_address.postcode):
        assert secret.encode() not in message


def test_the_group_of_a_message_is_the_sku_of_the_largest_line() -> None:
    order = with_lines(
        OrderLine(Sku("CARD"), "", 3, 100), OrderLine(Sku("BOX"), "", 1, 9_900), OrderLine(MUG, "", 9, 255)
    )

    assert group_of(order_accepted(order)) == "BOX"


@pytest.mark.parametrize("message", [b"", b"\xff", b"[]", b"{}", b'{"partitionkey":7}'])
def test_other_messages_have_no_group(message: bytes) -> None:
    assert group_of(message) == ""


def test_the_message_has_the_same_bytes_in_every_status() -> None:
    order = an_order()
    cancelled = order.moved(OrderStatus.CANCELLED, at=NOW + 1, reason=CancelReason.REQUESTED)

    assert order_accepted(cancelled) == order_accepted(order)


skus = st.text(min_size=1, max_size=16).filter(str.isprintable).map(Sku)
lines = st.builds(
    OrderLine,
    sku=skus,
    name=st.text(max_size=20),
    quantity=st.integers(1, 10_000),
    unit_price=st.integers(0, 10**9),
)


@given(st.lists(lines, min_size=1, max_size=5))
def test_every_order_makes_a_message_of_the_schema(validator: Any, some: list[OrderLine]) -> None:
    validator.validate(json.loads(order_accepted(with_lines(*some))))


def test_the_schema_describes_and_requires_every_member(validator: Any) -> None:
    order = discounted(an_order())
    (line,) = order.lines
    ahead = msgspec.structs.replace(line, ahead=1, available_on="2026-12-20")
    with in_a_trace(state="a=1"):
        message = json.loads(order_accepted(msgspec.structs.replace(order, lines=(ahead,))))

    def check(value: Any, schema: dict[str, Any]) -> None:
        schema = schema | validator.schema["$defs"].get(schema.get("$ref", "").rpartition("/")[2], {})
        if isinstance(value, dict):
            assert set(schema["required"]) == set(schema["properties"]) - OPTIONAL
            assert set(schema["properties"]) == set(value)
            for name, member in value.items():
                check(member, schema["properties"][name])
        elif isinstance(value, list):
            for item in value:
                check(item, schema["items"])

    check(message, validator.schema)


@pytest.mark.parametrize(
    "change",
    [
        {"type": "shop.order.accepted.v2"},
        {"id": "not an id"},
        {"data": {}},
        {"time": "yesterday"},
    ],
)
def test_the_schema_refuses_other_messages(validator: Any, change: dict[str, Any]) -> None:
    message = json.loads(order_accepted(an_order())) | change

    assert not validator.is_valid(message)


@contextmanager
def in_a_trace(state: str) -> Iterator[Span]:
    tracer = Tracer(share=1.0, slow_s=1.0)
    root = tracer.begin("checkout", SERVER, parent=None, state=state)
    enter(root)
    try:
        yield root
    finally:
        enter(None)


def test_outside_of_a_trace_the_message_has_none() -> None:
    message = order_accepted(an_order())
    assert "traceparent" not in json.loads(message)
    assert routing_of(message) == (json.loads(message)["partitionkey"], {})


@pytest.mark.parametrize("state", ["", "congo=t61rcWkgMzE", 'a="\\'])
def test_in_a_trace_the_message_carries_the_span_that_created_it(state: str, validator: Any) -> None:
    with in_a_trace(state) as root:
        message = order_accepted(an_order())

    (create,) = root.trace.spans
    validator.validate(json.loads(message))
    trace = {"traceparent": f"00-{root.trace_id}-{create[0]:016x}-01", **({"tracestate": state} if state else {})}
    assert routing_of(message)[1] == trace
    assert (create[1], create[2]) == (root.id, "create shop.order.accepted")


@pytest.mark.parametrize("parent", ["", "00-nonsense", "00-" + "0" * 32 + "-00f067aa0ba902b7-01"])
def test_a_malformed_trace_of_a_message_is_ignored(parent: str) -> None:
    message = json.dumps(json.loads(order_accepted(an_order())) | {"traceparent": parent, "tracestate": "a=1"})
    assert routing_of(message.encode())[1] == {}


def test_later_additions_and_extension_attributes_are_within_the_schema(validator: Any) -> None:
    message = json.loads(order_accepted(an_order()))
    message["traceparent"] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    message["data"]["gift"] = True

    validator.validate(message)
    assert order_id_of(json.dumps(message).encode()) == message["data"]["order_id"]


def test_the_largest_order_fits_in_a_message_of_every_sqs_queue() -> None:
    worst = Sku('"' * SKU_MAX_BYTES)  # each takes two bytes in JSON
    order = with_lines(*[OrderLine(worst, "N" * 500, 10_000, 9_999_999_99)] * 1000)

    assert len(order_accepted(order)) < SQS_BYTES


def test_a_worker_reads_the_order_id() -> None:
    order = an_order()

    assert order_id_of(order_accepted(order)) == order.id


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"{}",
        b'{"specversion":"1.0","type":"shop.order.accepted.v1"}',
        b'{"specversion":"1.0","type":"shop.order.shipped.v1","data":{"order_id":"7faaaaaaaaaaaaaaaaaaaaaaaa"}}',
        b'{"specversion":"0.3","type":"shop.order.accepted.v1","data":{"order_id":"7faaaaaaaaaaaaaaaaaaaaaaaa"}}',
        b'{"specversion":"1.0","type":"shop.order.accepted.v1","data":{"order_id":7}}',
        b'{"specversion":"1.0","type":"shop.order.accepted.v1","data":{"order_id":"../../etc/passwd"}}',
    ],
)
def test_an_invalid_message_is_rejected(message: bytes) -> None:
    with pytest.raises(NotAnOrderMessage):
        order_id_of(message)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_rejected(message: bytes) -> None:
    with pytest.raises(NotAnOrderMessage):
        order_id_of(message)


def test_the_schema_is_shipped_with_the_package() -> None:
    shipped = resources.files("checkout").joinpath("order_accepted.schema.json")

    assert json.loads(shipped.read_bytes()) == order_accepted_schema()
