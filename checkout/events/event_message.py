"""The events of orders for other systems: CloudEvents 1.0 in JSON format, one type for each status and one for refunds.

The schema of all but `shop.order.accepted.v1` is `checkout/order_event.schema.json`; `docs/events.md` describes them.
"""

from __future__ import annotations

from importlib import resources
from typing import Any, Final

import msgspec

from cart.model import Money
from cart.timestamps import rfc3339
from checkout.message import ORDER_ACCEPTED, SOURCE, order_accepted
from checkout.order import Order
from checkout.order_status import OrderStatus

REFUNDED: Final = "shop.order.refunded.v1"
# An entry of the history that changes neither status nor money, such as a renewed authorisation.
UPDATED: Final = "shop.order.updated.v1"
DATA_SCHEMA: Final = "urn:peakgate:schema:shop.order.event.v1"
ORDER_EVENT_TYPES: Final = (
    *(f"shop.order.{status.value}.v1" for status in OrderStatus),
    REFUNDED,
    UPDATED,
)


def event_type(order: Order, number: int) -> str:
    """The type of event `number` of an order."""
    entry = order.history[number - 1]
    if entry.refunded is not None:
        return REFUNDED
    if number > 1 and order.history[number - 2].status is entry.status:
        return UPDATED
    return f"shop.order.{entry.status.value}.v1"


def event_id(order: Order, number: int) -> str:
    """The id that is the same whenever this event is sent, to whichever receiver."""
    return f"{order.id}-{number}"


def order_event(order: Order, number: int) -> bytes:
    """Event `number` of an order; its bytes are the same in every later state of the order.

    It holds no name, address, e-mail address or token. The first event is the message `shop.order.accepted.v1`.
    """
    kind = event_type(order, number)
    if kind == ORDER_ACCEPTED:
        return order_accepted(order)
    entry = order.history[number - 1]
    history = order.history[:number]
    return msgspec.json.encode(
        {
            "specversion": "1.0",
            "id": event_id(order, number),
            "source": SOURCE,
            "type": kind,
            "subject": order.id,
            "time": rfc3339(entry.at),
            "datacontenttype": "application/json",
            "dataschema": DATA_SCHEMA,
            # Of CloudEvents' extension `sequence`: the events of an order are numbered without a gap.
            "sequence": str(number),
            "data": {
                "order_id": order.id,
                "number": order.number,
                "event_number": number,
                "status": entry.status.value,
                "total": Money(order.total, order.currency),
                "refunded_total": Money(sum(each.refunded or 0 for each in history), order.currency),
                **_members_of(order, number),
            },
        }
    )


def order_event_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of the whole event."""
    text = resources.files("checkout").joinpath("order_event.schema.json").read_bytes()
    schema: dict[str, Any] = msgspec.json.decode(text)
    return schema


def _members_of(order: Order, number: int) -> dict[str, Any]:
    """The members that only some events have."""
    entry = order.history[number - 1]
    if entry.refunded is not None:
        return {"refunded": Money(entry.refunded, order.currency)}
    if entry.status is OrderStatus.CANCELLED and order.reason is not None:
        return {"reason": order.reason.value}
    return {}
