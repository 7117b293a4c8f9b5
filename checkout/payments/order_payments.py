"""The operations on an order's payment, none of which takes effect twice."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from cart.currencies import money_text
from cart.model import OrderId
from cart.timestamps import unix_ms
from checkout.errors import Declined, DependencyTripped, ResolveLater, ServiceNotReached, ServiceUnavailable
from checkout.facts import RefundRequest
from checkout.order import Order
from checkout.order_status import OrderStatus
from checkout.payments.payment import Payment
from checkout.ports.payments import AuthorisationExpired, PaymentFailed, PaymentNotRun, PaymentProvider
from primitives.bounded_map import BoundedMap

# An order that has been in its status for longer may have been run before, by a worker that is gone.
FIRST_RUN_MS: Final = 1_000
# An authorisation that ends within this time is not relied on.
EXPIRY_MARGIN_MS: Final = 60_000
MAX_AUTHORISATIONS: Final = 2
# At the earliest; the processor makes it longer each time.
LOOK_UP_AGAIN_S: Final = 2.0
# Keys that one operation may use up, each by a failure that the service stores.
_MAX_KEYS: Final = 8
_MAX_REMEMBERED: Final = 10_000
# The id of the refund of a cancelled order.
CANCELLED: Final = "cancelled"

_Act = Callable[[str], Awaitable[Payment]]


class OrderPayments:
    """`Payments` on a payment service.

    The idempotency key of a call is derived from the order's id and the operation, so every worker repeats a call with the
    same key. That alone is not enough: keys are forgotten after a day, and a service may store a failure for a key. So the
    order's payment is looked up before an operation that may have run earlier: one of this process without a known
    outcome, or one of an order that has been in its status for longer than `FIRST_RUN_MS`. The history of the order says
    so after a crash of the worker too, and the ordinary order is never looked up.

    A key with a stored failure is given up for the next one, once a look-up has shown that the failed call had no effect.
    """

    def __init__(self, provider: PaymentProvider, *, clock_ms: Callable[[], int] = unix_ms) -> None:
        self._provider = provider
        self._clock_ms = clock_ms
        # Keys of calls without a known outcome.
        self._unresolved: BoundedMap[str, bool] = BoundedMap(_MAX_REMEMBERED)
        # Orders whose first authorisation was declined: every call with its key is, so there is nothing to void.
        self._refused: BoundedMap[OrderId, bool] = BoundedMap(_MAX_REMEMBERED)

    async def authorise(self, order: Order) -> Payment:
        """See `Payments.authorise`."""
        payment, has_looked_up = order.payment, False
        if payment is None and self._may_have_run(order, "authorise-1"):
            payment, has_looked_up = await self._look_up(order), True
        if payment is not None:
            if payment.voided:
                raise Declined("the payment was voided")
            if payment.authorised:
                self._unresolved.discard(_key(order, "authorise-1"))
                return payment
        try:
            return await self._authorise(order, 1, has_looked_up=has_looked_up)
        except Declined:
            self._refused.put(order.id, True)
            raise

    async def capture(self, order: Order) -> Payment:
        """See `Payments.capture`. An authorisation that ran out is renewed once."""
        payment = order.payment
        if payment is None or self._may_have_run(order, "capture"):
            payment = await self._latest(order, payment) or await self._authorise(order, 1)
        if payment.is_captured:
            self._unresolved.discard(_key(order, "capture"))
            return payment
        if payment.may_be_captured(at=self._soon_ms()):
            try:
                return await self._capture(order, payment)
            except AuthorisationExpired:
                pass
        elif payment.voided and payment.authorised_until is not None and self._clock_ms() < payment.authorised_until:
            raise Declined("the payment was voided at the payment service")
        return await self._capture_renewed(order, payment)

    async def void(self, order: Order) -> Payment | None:
        """See `Payments.void`."""
        payment = order.payment
        if self._refused.get(order.id) or (payment is not None and not payment.holds_money):
            return payment
        if payment is None or self._may_have_changed(order):
            payment = await self._latest(order, payment)
        if payment is None:
            payment = await self._close(order)
            if payment is None or not payment.holds_money:
                return None
        if payment.holds_money and not payment.is_captured:
            payment = await self._void(order, payment)
        if payment.refundable:  # it was captured, perhaps while it was being voided
            payment = await self._refund(order, payment, payment.refundable, CANCELLED)
        return payment

    async def refund(self, order: Order, request: RefundRequest) -> Payment:
        """See `Payments.refund`. Refunds are rare, so each begins with a look-up."""
        payment = await self._latest(order, order.payment)
        if payment is None:
            raise Declined("the payment service knows no payment of this order")
        if request.id in payment.refund_ids:
            return payment
        amount = payment.refundable if request.amount is None else request.amount
        if not 0 < amount <= payment.refundable:
            left = money_text(payment.refundable, order.currency)
            raise Declined(f"{money_text(amount, order.currency)} cannot be refunded, {left} is left")
        return await self._refund(order, payment, amount, request.id)

    # The calls

    async def _authorise(self, order: Order, number: int, *, has_looked_up: bool = False) -> Payment:
        return await self._call(
            order,
            f"authorise-{number}",
            lambda key: self._provider.authorise(order, number=number, key=key),
            lambda payment: payment.authorisations >= number and payment.authorised > 0,
            has_looked_up=has_looked_up,
        )

    async def _capture(self, order: Order, payment: Payment) -> Payment:
        operation = "capture" if payment.authorisations == 1 else f"capture-{payment.authorisations}"
        return await self._call(
            order,
            operation,
            lambda key: self._provider.capture(order, payment, key=key),
            lambda latest: latest.is_captured,
            payment=payment,
        )

    async def _capture_renewed(self, order: Order, payment: Payment) -> Payment:
        """Renew an authorisation that ran out, unless an earlier run has done so, and capture the payment."""
        renewed = await self._look_up(order)
        if renewed is None or renewed.authorisations <= payment.authorisations:
            renewed = await self._renew(order, payment)
        if renewed.is_captured:
            return renewed
        if not renewed.may_be_captured(at=self._soon_ms()):
            raise Declined("the renewed authorisation of the payment ran out")
        return await self._capture(order, renewed)

    async def _renew(self, order: Order, payment: Payment) -> Payment:
        if payment.authorisations >= MAX_AUTHORISATIONS:
            raise Declined("the renewed authorisation of the payment ran out")
        try:
            return await self._authorise(order, payment.authorisations + 1)
        except Declined as declined:
            raise Declined(f"the authorisation of the payment ran out: {declined.detail}") from declined

    def _soon_ms(self) -> int:
        return self._clock_ms() + EXPIRY_MARGIN_MS

    async def _close(self, order: Order) -> Payment | None:
        """Make sure that an authorisation that is on its way has no effect, after a look-up that found none.

        To repeat this is harmless, so a key with a stored failure is given up at once.
        """
        lag_s = self._provider.look_up_lag_s
        for number in range(1, _MAX_KEYS + 1):
            try:
                return await self._provider.close(order, key=_with_number(_key(order, "close"), number))
            except PaymentFailed as failure:
                if lag_s == 0:
                    continue
                if self._age_ms(order) < lag_s * 1000:
                    raise ResolveLater(str(failure), retry_after_s=lag_s) from failure
                return None  # the authorisation failed, and the look-up excludes that it had an effect
        raise self._failed_with_every_key()

    async def _void(self, order: Order, payment: Payment) -> Payment:
        return await self._call(
            order,
            "void",
            lambda key: self._provider.void(order, payment, key=key),
            lambda latest: latest.is_captured or not latest.holds_money,
            payment=payment,
        )

    async def _refund(self, order: Order, payment: Payment, amount: int, refund_id: str) -> Payment:
        return await self._call(
            order,
            f"refund-{refund_id}",
            lambda key: self._provider.refund(order, payment, amount, refund_id=refund_id, key=key),
            lambda latest: refund_id in latest.refund_ids,
            payment=payment,
        )

    async def _call(
        self,
        order: Order,
        operation: str,
        act: _Act,
        is_done: Callable[[Payment], bool],
        *,
        payment: Payment | None = None,
        has_looked_up: bool = False,
    ) -> Payment:
        """Make the call; a failure that the service stores is resolved by a look-up, and by another key if it had no effect."""
        first_key = _key(order, operation)
        for number in range(1, _MAX_KEYS + 1):
            self._unresolved.put(first_key, True)
            try:
                done = await act(_with_number(first_key, number))
            except PaymentFailed as failure:
                latest = None if has_looked_up and failure.is_replay else await self._latest(order, payment)
                if latest is None or not is_done(latest):
                    self._require_conclusive(order, payment, failure)
                    continue
                done = latest
            except (Declined, PaymentNotRun):
                self._unresolved.discard(first_key)
                raise
            except DependencyTripped as tripped:
                if not tripped.was_called:
                    self._unresolved.discard(first_key)
                raise
            self._unresolved.discard(first_key)
            return done
        raise self._failed_with_every_key()

    def _failed_with_every_key(self) -> ResolveLater:
        return ResolveLater(
            f"the payment service failed with {_MAX_KEYS} keys", retry_after_s=self._provider.look_up_lag_s
        )

    def _require_conclusive(self, order: Order, payment: Payment | None, failure: PaymentFailed) -> None:
        """Raise unless a look-up that found no effect excludes one."""
        lag_s = self._provider.look_up_lag_s
        if lag_s == 0 or payment is not None:
            return
        if not (failure.is_replay and self._age_ms(order) >= lag_s * 1000):
            raise ResolveLater(str(failure), retry_after_s=lag_s) from failure

    # Earlier calls

    def _may_have_run(self, order: Order, operation: str) -> bool:
        return self._unresolved.get(_key(order, operation)) is not None or self._age_ms(order) >= FIRST_RUN_MS

    def _age_ms(self, order: Order) -> int:
        """How long the order has been in its status."""
        entered_at = order.updated_at
        for entry in reversed(order.history):
            if entry.status is not order.status:
                break
            entered_at = entry.at
        return self._clock_ms() - entered_at

    def _may_have_changed(self, order: Order) -> bool:
        """Whether the payment may be in a later state than the order's record: a capture or a void may have run."""
        may_be_captured = any(entry.status is OrderStatus.SHIPPING_ARRANGED for entry in order.history)
        return may_be_captured or self._may_have_run(order, "void")

    async def _latest(self, order: Order, payment: Payment | None) -> Payment | None:
        """The payment as the service has it; the order's own record may be older."""
        found = await self._look_up(order, None if payment is None else payment.reference)
        if found is None or payment is None:
            return found or payment
        return msgspec.structs.replace(found, authorisations=max(found.authorisations, payment.authorisations))

    async def _look_up(self, order: Order, reference: str | None = None) -> Payment | None:
        """A look-up that is not answered declines no order: it changes nothing, so the order may wait for it.

        Raises `ResolveLater` after a timeout, which is too long for another try in the same run, else `ServiceNotReached`.
        """
        try:
            return await self._provider.look_up(order, reference)
        except TimeoutError as error:
            raise ResolveLater("the look-up of the payment timed out", retry_after_s=LOOK_UP_AGAIN_S) from error
        except ServiceUnavailable as error:
            raise ServiceNotReached(f"the payment is not looked up: {type(error).__name__}") from error


def _key(order: Order, operation: str) -> str:
    """The idempotency key of an operation on an order's payment."""
    return f"{order.id}:{operation}"


def _with_number(key: str, number: int) -> str:
    """The key that follows a number of keys with stored failures."""
    return key if number == 1 else f"{key}.{number}"
