"""The status of an order and its transitions."""

from __future__ import annotations

from enum import StrEnum
from functools import cache
from typing import Final


class OrderStatus(StrEnum):
    """The status of an order.

    A worker completes or cancels it; carriers and operators report the statuses after `completed`.
    """

    ACCEPTED = "accepted"
    STOCK_CONFIRMED = "stock_confirmed"
    PAYMENT_AUTHORISED = "payment_authorised"
    SHIPPING_ARRANGED = "shipping_arranged"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    SHIPPED = "shipped"
    DELIVERED = "delivered"
    RETURNED = "returned"

    @property
    def has_ended(self) -> bool:
        """Whether the workflow is at its end: the order is completed or a later status, or cancelled."""
        return self not in NEXT


class CancelReason(StrEnum):
    """Why an order was cancelled."""

    OUT_OF_STOCK = "out_of_stock"
    PAYMENT_DECLINED = "payment_declined"
    SHIPPING_FAILED = "shipping_failed"
    REQUESTED = "requested"
    NOT_PROCESSED = "not_processed"
    """Its processing failed before any payment was asked for."""


# The next status of each in the workflow; each of these may also change to `cancelled`.
NEXT: Final = {
    OrderStatus.ACCEPTED: OrderStatus.STOCK_CONFIRMED,
    OrderStatus.STOCK_CONFIRMED: OrderStatus.PAYMENT_AUTHORISED,
    OrderStatus.PAYMENT_AUTHORISED: OrderStatus.SHIPPING_ARRANGED,
    OrderStatus.SHIPPING_ARRANGED: OrderStatus.COMPLETED,
}
# The statuses after the workflow. No other transition exists.
AFTERWARDS: Final = {
    OrderStatus.COMPLETED: frozenset({OrderStatus.SHIPPED, OrderStatus.DELIVERED, OrderStatus.RETURNED}),
    OrderStatus.SHIPPED: frozenset({OrderStatus.DELIVERED, OrderStatus.RETURNED}),
    OrderStatus.DELIVERED: frozenset({OrderStatus.RETURNED}),
}
# No money is captured in these; in a later status the shopper can no longer cancel.
CANCELLABLE: Final = frozenset({OrderStatus.ACCEPTED, OrderStatus.STOCK_CONFIRMED, OrderStatus.PAYMENT_AUTHORISED})


@cache
def may_reach(status: OrderStatus, later: OrderStatus) -> bool:
    """Whether an order in this status may come to a `later` one, which it does not have yet, over any others."""
    successors = {NEXT[status], OrderStatus.CANCELLED} if status in NEXT else AFTERWARDS.get(status, frozenset())
    return later in successors or any(may_reach(each, later) for each in successors)


def may_move(status: OrderStatus, to: OrderStatus) -> bool:
    """Whether this transition exists."""
    if status in NEXT:
        return to in {NEXT[status], OrderStatus.CANCELLED}
    return to in AFTERWARDS.get(status, ())
