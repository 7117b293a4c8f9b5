"""A sandbox of payments, without effect in the world: for trying the shop out and for tests.

Its state is in this process's memory. After a restart, and in another worker process, the order's record of its payment
decides which calls have been made.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Final

import msgspec

from cart.model import DAY_MS, OrderId
from cart.timestamps import unix_ms
from checkout.errors import Declined
from checkout.order import Order
from checkout.payments.payment import Payment
from checkout.ports.payments import AuthorisationExpired
from primitives.bounded_map import BoundedMap

APPROVED: Final = "tok_ok"
DECLINED: Final = "tok_declined"
SLOW: Final = "tok_slow"
TIMEOUT: Final = "tok_timeout"
LOST: Final = "tok_lost"
CAPTURE_TIMEOUT: Final = "tok_capture_timeout"
EXPIRES: Final = "tok_expires"
SLOW_S: Final = 2.0
# As long as cards usually allow.
AUTHORISED_MS: Final = 7 * DAY_MS

_APPROVED: Final = frozenset({APPROVED, SLOW, LOST, CAPTURE_TIMEOUT, EXPIRES})


class PaymentState(Enum):
    """The state of an order's payment."""

    AUTHORISED = "authorised"
    CAPTURED = "captured"
    VOIDED = "voided"
    REFUNDED = "refunded"


class LedgerEntry(msgspec.Struct, frozen=True):
    """A change of a payment: `amount`, in minor units, was authorised, captured, voided or refunded."""

    order_id: OrderId
    became: PaymentState
    amount: int
    currency: str


class SandboxPayments:
    """A `PaymentProvider` that decides by the payment token.

    `tok_ok` is approved, `tok_slow` is approved after 2 s, `tok_timeout` never responds, `tok_lost` is approved and never
    responds, `tok_capture_timeout` is approved and never responds to the capture, the first authorisation of `tok_expires`
    has run out at once; any other token is declined. `ledger` lists the latest `max_payments` changes.
    """

    key_life_s: float = float("inf")
    look_up_lag_s: float = 0.0

    def __init__(
        self,
        *,
        max_payments: int = 100_000,
        clock_ms: Callable[[], int] = unix_ms,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.ledger: deque[LedgerEntry] = deque(maxlen=max_payments)
        self._payments: BoundedMap[OrderId, Payment] = BoundedMap(max_payments)
        self._clock_ms = clock_ms
        self._sleep = sleep

    async def authorise(self, order: Order, *, number: int, key: str) -> Payment:  # noqa: ARG002 - orders are the keys
        """See `PaymentProvider.authorise`. The order id and the number are the key."""
        if order.payment_token == TIMEOUT:
            await asyncio.Event().wait()
        if order.payment_token == SLOW:
            await self._sleep(SLOW_S)
        # Read after the wait: the payment may have been voided meanwhile. Nothing below awaits, but for a lost response.
        payment = self._payments.get(order.id)
        if payment is None or (payment.authorised and payment.authorisations < number):
            if order.payment_token not in _APPROVED:
                raise Declined("the payment was declined")
            until = 0 if order.payment_token == EXPIRES and number == 1 else self._clock_ms() + AUTHORISED_MS
            payment = Payment(
                reference=f"sandbox-{order.id}-{number}",
                authorised=order.total,
                authorised_until=until,
                authorisations=number,
            )
            self._record(order, payment, PaymentState.AUTHORISED, order.total)
            if order.payment_token == LOST:
                await asyncio.Event().wait()
        if payment.voided or payment.refunded:
            raise Declined("the payment was voided")
        return payment

    async def capture(self, order: Order, payment: Payment, *, key: str) -> Payment:  # noqa: ARG002 - orders are the keys
        """See `PaymentProvider.capture`. An unknown payment was authorised before a restart, or by another process."""
        if order.payment_token == CAPTURE_TIMEOUT:
            await asyncio.Event().wait()
        payment = self._payments.get(order.id) or payment
        if payment.voided or payment.refunded:
            raise Declined("the payment was voided")
        if payment.is_captured:
            return payment
        if not payment.may_be_captured(at=self._clock_ms()):
            raise AuthorisationExpired("the authorisation ran out")
        captured = msgspec.structs.replace(payment, captured=payment.authorised)
        return self._record(order, captured, PaymentState.CAPTURED, payment.authorised)

    async def void(self, order: Order, payment: Payment, *, key: str) -> Payment:  # noqa: ARG002 - orders are the keys
        """See `PaymentProvider.void`."""
        payment = self._payments.get(order.id) or payment
        if payment.voided or payment.is_captured:
            return payment
        return self._record(order, msgspec.structs.replace(payment, voided=True), PaymentState.VOIDED, order.total)

    async def close(self, order: Order, *, key: str) -> Payment | None:
        """See `PaymentProvider.close`."""
        return await self.void(order, Payment(reference=f"sandbox-{order.id}"), key=key)

    async def refund(self, order: Order, payment: Payment, amount: int, *, refund_id: str, key: str) -> Payment:  # noqa: ARG002 - orders are the keys
        """See `PaymentProvider.refund`."""
        payment = self._payments.get(order.id) or payment
        if refund_id in payment.refund_ids:
            return payment
        if amount > payment.refundable:
            raise Declined(f"{amount} cannot be refunded, {payment.refundable} is left")
        refunded = msgspec.structs.replace(
            payment, refunded=payment.refunded + amount, refund_ids=(*payment.refund_ids, refund_id)
        )
        return self._record(order, refunded, PaymentState.REFUNDED, amount)

    async def look_up(self, order: Order, reference: str | None) -> Payment | None:  # noqa: ARG002 - one payment an order
        """See `PaymentProvider.look_up`."""
        return self._payments.get(order.id)

    def _record(self, order: Order, payment: Payment, became: PaymentState, amount: int) -> Payment:
        self._payments.put(order.id, payment)
        self.ledger.append(LedgerEntry(order.id, became, amount, order.currency))
        return payment
