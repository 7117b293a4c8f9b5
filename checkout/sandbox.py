"""Sandbox payment, shipping and notifications, without effect in the world: for trying the shop out and for tests.

Their state is in this process's memory. After a restart, and in another worker process, the order's status decides
which calls have been made.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Final

import msgspec

from cart.model import OrderId
from checkout.errors import Declined
from checkout.order import Order

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
    `ledger` lists the latest changes; at least `max_payments` payments and entries are stored.
    """

    def __init__(self, *, remembered: int = 100_000, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self.ledger: list[LedgerEntry] = []
        self._states: dict[OrderId, PaymentState] = {}
        self._known = remembered
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
            was_taken = state is PaymentState.CAPTURED
            self._record(order, PaymentState.REFUNDED if was_taken else PaymentState.VOIDED)

    def _record(self, order: Order, became: PaymentState) -> None:
        self._states.pop(order.id, None)  # so that the newest change is last
        self._states[order.id] = became
        self.ledger.append(LedgerEntry(order.id, became, order.total, order.currency))
        if len(self._states) > self._known:
            del self._states[next(iter(self._states))]
        if len(self.ledger) > 2 * self._known:
            del self.ledger[: self._known]


class SandboxShipping:
    """A `Shipping` that books every shipment; `booked` and `cancelled` hold the order ids."""

    def __init__(self, *, remembered: int = 100_000) -> None:
        self.booked: dict[OrderId, None] = {}
        self.cancelled: dict[OrderId, None] = {}
        self._known = remembered

    async def arrange(self, order: Order) -> None:
        """See `Shipping.arrange`."""
        if order.id in self.cancelled:
            raise Declined("the shipment was cancelled")
        self._note(self.booked, order.id)

    async def cancel(self, order: Order) -> None:
        """See `Shipping.cancel`."""
        self.booked.pop(order.id, None)
        self._note(self.cancelled, order.id)

    def _note(self, orders: dict[OrderId, None], order_id: OrderId) -> None:
        orders[order_id] = None
        if len(orders) > self._known:
            del orders[next(iter(orders))]


class SandboxNotifications:
    """A `Notifications` that logs the order's number, and nothing about the shopper."""

    async def order_completed(self, order: Order) -> None:
        """See `Notifications.order_completed`."""
        _log.info("order %s is completed", order.number)
