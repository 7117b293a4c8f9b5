"""Messages of accepted orders as they are received: the order that one is about, and its group in a fair queue."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from cart.ids import parse_order_id
from cart.model import OrderId
from checkout.message import ORDER_ACCEPTED
from primitives.tracing.context import carried_state, parse_traceparent


class NotAnOrderMessage(Exception):
    """The bytes are not a `shop.order.accepted.v1` message; `detail` contains none of them."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class _Data(msgspec.Struct):
    order_id: str


class _Envelope(msgspec.Struct):
    specversion: str
    type: str
    data: _Data


class _Routed(msgspec.Struct):
    partitionkey: str = ""
    traceparent: str = ""
    tracestate: str = ""


_decode: Final = msgspec.json.Decoder(_Envelope).decode
_decode_routing: Final = msgspec.json.Decoder(_Routed).decode


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


def group_of(message: bytes) -> str:
    """The group of a message in a fair queue, the SKU of the order's largest line; "" if it has none.

    It is the extension attribute `partitionkey` of CloudEvents
    (https://github.com/cloudevents/spec/blob/main/cloudevents/extensions/partitioning.md).
    """
    return routing_of(message)[0]


def routing_of(message: bytes) -> tuple[str, Mapping[str, str]]:
    """The group of a message, and the fields of its trace (`traceparent` and `tracestate`), none of one without."""
    try:
        routed = _decode_routing(message)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "", {}
    if parse_traceparent(routed.traceparent) is None:
        return routed.partitionkey, {}
    trace = {"traceparent": routed.traceparent}
    if state := carried_state(routed.tracestate):
        trace["tracestate"] = state
    return routed.partitionkey, trace
