from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from checkout.audit.finding import Bounds, Finding
from checkout.audit.remedies import run_again, show
from checkout.order_status import OrderStatus
from checkout.ports.books import Entry

_BEFORE: Final = frozenset({OrderStatus.ACCEPTED, OrderStatus.STOCK_CONFIRMED, OrderStatus.CANCELLED})
_AUTHORISED: Final = frozenset({OrderStatus.PAYMENT_AUTHORISED, OrderStatus.SHIPPING_ARRANGED})


def payment(entry: Entry, _bounds: Bounds) -> Iterator[Finding]:
    """An order has a record of its payment from `payment_authorised` on, and its money from `completed` on.

    A cancelled order that is finished keeps none. Orders without a price, and those from before there were records, have none.
    """
    order = entry.order
    if order is None or not order.total:
        return
    paid = order.payment
    remedy = show(entry.id)
    if order.status not in _BEFORE:
        if paid is None and order.workflow:
            yield Finding("payment", "order", entry.id, f"it is {order.status} without a record of its payment", remedy)
        elif paid is not None and order.status not in _AUTHORISED and not paid.is_captured:
            yield Finding("payment", "order", entry.id, f"it is {order.status}, and no money was captured", remedy)
    is_finished = entry.is_finished and entry.seen_ms is None
    if order.status is OrderStatus.CANCELLED and is_finished and paid is not None and paid.holds_money:
        remedy = run_again(order)
        yield Finding("payment", "order", entry.id, "it is cancelled, and money is authorised or captured", remedy)
