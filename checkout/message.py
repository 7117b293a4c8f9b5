"""The message of an accepted order, for this worker and for those of other teams.

A CloudEvents 1.0 event in JSON format (https://github.com/cloudevents/spec/tree/v1.0.2). The schema of its data is
`order_accepted.schema.json`; `docs/order-message.md` describes it.
"""

from __future__ import annotations

from importlib import resources
from typing import Any, Final

import msgspec

from cart.ids import parse_order_id
from cart.model import Money, OrderId
from cart.timestamps import rfc3339
from checkout.order import Order

ORDER_ACCEPTED: Final = "shop.order.accepted.v1"
SOURCE: Final = "/peakgate/checkout"
DATA_SCHEMA: Final = "urn:peakgate:schema:shop.order.accepted.v1"


class NotAnOrderMessage(Exception):
    """The bytes are not a `shop.order.accepted.v1` message; `detail` contains none of them."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


def order_accepted(order: Order) -> bytes:
    """The message of an accepted order; its bytes are the same in every later status.

    It contains no token, address or email; a worker that needs them reads the order. It contains no names and line
    totals, so that 1,000 lines of the longest SKUs fit in 256 KiB, the limit of an SQS message.
    """

    def money(amount: int) -> Money:
        return Money(amount, order.currency)

    return msgspec.json.encode(
        {
            "specversion": "1.0",
            # An order is accepted once, so its id identifies duplicates of the message.
            "id": order.id,
            "source": SOURCE,
            "type": ORDER_ACCEPTED,
            "subject": order.id,
            "time": rfc3339(order.created_at),
            "datacontenttype": "application/json",
            "dataschema": DATA_SCHEMA,
            "data": {
                "order_id": order.id,
                "number": order.number,
                "cart_id": order.cart_id,
                "currency": order.currency,
                "lines": [
                    {"sku": line.sku, "quantity": line.quantity, "unit_price": money(line.unit_price)}
                    for line in order.lines
                ],
                "subtotal": money(order.subtotal),
                "discounts": [],
                "shipping": money(order.shipping),
                "total": money(order.total),
            },
        }
    )


class _Data(msgspec.Struct):
    order_id: str


class _Envelope(msgspec.Struct):
    specversion: str
    type: str
    data: _Data


_decode: Final = msgspec.json.Decoder(_Envelope).decode


def order_id_of(message: bytes) -> OrderId:
    """The id of a message's order. Raises `NotAnOrderMessage`."""
    try:
        envelope = _decode(message)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NotAnOrderMessage(str(error)) from error
    if envelope.specversion != "1.0" or envelope.type != ORDER_ACCEPTED:
        raise NotAnOrderMessage("not a CloudEvents 1.0 event of type shop.order.accepted.v1")
    order_id = parse_order_id(envelope.data.order_id)
    if order_id is None:
        raise NotAnOrderMessage("`data.order_id` is not an order id")
    return order_id


def order_accepted_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of the whole message."""
    text = resources.files("checkout").joinpath("order_accepted.schema.json").read_bytes()
    schema: dict[str, Any] = msgspec.json.decode(text)
    return schema
