"""Sandbox payment, shipping and notifications, without effect in the world: for trying the shop out and for tests.

Their state is in this process's memory. After a restart, and in another worker process, the order's status decides
which calls have been made.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Final

import msgspec

from cart.model import OrderId
from checkout.errors import Declined
from checkout.order import Order
from primitives.bounded_map import BoundedMap

_log = logging.getLogger(__name__)

APPROVED: Final = "tok_ok"
DECLINED: Final = "tok_declined"
SLOW: Final = "tok_slow"
TIMEOUT: Final = "tok_timeout"
SLOW_S: Final = 2.0


class PaymentState(Enum):
    """The state of an order's payment."""

    AUTHORISED = "authorised"
    CAPTURED = "captured"
    VOIDED = "voided"
    REFUNDED = "refunded"


_OVER: Final = {PaymentState.VOIDED, PaymentState.REFUNDED}


class LedgerEntry(msgspec.Struct, frozen=True):
    """A change of a payment: `amount`, in minor units, was authorised, captured, voided or refunded."""

    order_id: OrderId
    became: PaymentState
    amount: int
    currency: str


class SandboxPayments:
    """A `Payments` that decides by the payment token.

    `tok_ok` is approved, `tok_slow` is approved after 2 s, `tok_timeout` never returns, any other token is declined.
    `ledger` lists the latest `max_payments` changes.
    """

    def __init__(
        self, *, max_payments: int = 100_000, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self.ledger: deque[LedgerEntry] = deque(maxlen=max_payments)
        self._states: BoundedMap[OrderId, PaymentState] = BoundedMap(max_payments)
        self._sleep = sleep

    async def authorise(self, order: Order) -> None:
        """See `Payments.authorise`."""
        if order.payment_token == TIMEOUT:
            await asyncio.Event().wait()
        if order.payment_token == SLOW:
            await self._sleep(SLOW_S)
        # Read after the wait: the payment may have been voided meanwhile. Nothing below awaits.
        state = self._states.get(order.id)
        if state in _OVER:
            raise Declined("the payment was voided")
        if order.payment_token not in {APPROVED, SLOW}:
            raise Declined("the payment was declined")
        if state is None:
            self._record(order, PaymentState.AUTHORISED)

    async def capture(self, order: Order) -> None:
        """See `Payments.capture`. An unknown payment was authorised before a restart, or by another process."""
        state = self._states.get(order.id)
        if state in _OVER:
            raise Declined("the payment was voided")
        if state is not PaymentState.CAPTURED:
            self._record(order, PaymentState.CAPTURED)

    async def void(self, order: Order) -> None:
        """See `Payments.void`."""
        state = self._states.get(order.id)
        if state not in _OVER:
            was_captured = state is PaymentState.CAPTURED
            self._record(order, PaymentState.REFUNDED if was_captured else PaymentState.VOIDED)

    def _record(self, order: Order, became: PaymentState) -> None:
        self._states.put(order.id, became)
        self.ledger.append(LedgerEntry(order.id, became, order.total, order.currency))


class SandboxShipping:
    """A `Shipping` that books every shipment; `booked` and `cancelled` hold the order ids."""

    def __init__(self, *, max_orders: int = 100_000) -> None:
        self.booked: BoundedMap[OrderId, bool] = BoundedMap(max_orders)
        self.cancelled: BoundedMap[OrderId, bool] = BoundedMap(max_orders)

    async def arrange(self, order: Order) -> None:
        """See `Shipping.arrange`."""
        if order.id in self.cancelled:
            raise Declined("the shipment was cancelled")
        self.booked.put(order.id, True)

    async def cancel(self, order: Order) -> None:
        """See `Shipping.cancel`."""
        self.booked.discard(order.id)
        self.cancelled.put(order.id, True)


class SandboxNotifications:
    """A `Notifications` that logs the order's number, and nothing about the shopper."""

    async def order_completed(self, order: Order) -> None:
        """See `Notifications.order_completed`."""
        _log.debug("order %s is completed", order.number)
