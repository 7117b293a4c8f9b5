"""The status of an order and its transitions."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class OrderStatus(StrEnum):
    """The status of an order. `completed` and `cancelled` are final."""

    ACCEPTED = "accepted"
    STOCK_CONFIRMED = "stock_confirmed"
    PAYMENT_AUTHORISED = "payment_authorised"
    SHIPPING_ARRANGED = "shipping_arranged"
    COMPLETED = "completed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether there is no transition from this status."""
        return self not in NEXT


class CancelReason(StrEnum):
    """Why an order was cancelled."""

    OUT_OF_STOCK = "out_of_stock"
    PAYMENT_DECLINED = "payment_declined"
    SHIPPING_FAILED = "shipping_failed"
    REQUESTED = "requested"


# The next status of each; every status but the last may also change to `cancelled`. No other transition exists.
NEXT: Final = {
    OrderStatus.ACCEPTED: OrderStatus.STOCK_CONFIRMED,
    OrderStatus.STOCK_CONFIRMED: OrderStatus.PAYMENT_AUTHORISED,
    OrderStatus.PAYMENT_AUTHORISED: OrderStatus.SHIPPING_ARRANGED,
    OrderStatus.SHIPPING_ARRANGED: OrderStatus.COMPLETED,
}
# No money is captured in these; in a later status the shopper can no longer cancel.
CANCELLABLE: Final = frozenset({OrderStatus.ACCEPTED, OrderStatus.STOCK_CONFIRMED, OrderStatus.PAYMENT_AUTHORISED})


def may_move(status: OrderStatus, to: OrderStatus) -> bool:
    """Whether this transition exists."""
    return status in NEXT and to in {NEXT[status], OrderStatus.CANCELLED}
