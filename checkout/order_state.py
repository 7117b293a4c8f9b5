"""The members of an order that change, as the store and the archive keep them beside the order as it was accepted."""

from __future__ import annotations

import msgspec

from checkout.order import HistoryEntry, LineReturn
from checkout.order_status import CancelReason, OrderStatus
from checkout.payments.payment import Payment
from checkout.shipping.shipment import Shipment


class OrderState(msgspec.Struct, frozen=True, omit_defaults=True):
    """The members of an order that change."""

    status: OrderStatus
    updated_at: int
    history: tuple[HistoryEntry, ...]
    reason: CancelReason | None = None
    shipment: Shipment | None = None
    payment: Payment | None = None
    restocked: bool = False
    line_returns: tuple[LineReturn, ...] = ()
    revision: int = 0
    """Orders of earlier versions have none: it is the length of their history."""
