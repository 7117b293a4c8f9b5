"""External services of the order workflow: payment, carrier, notifications; and the guard around their calls."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from checkout.facts import RefundRequest
from checkout.order import Order
from checkout.payments.payment import Payment
from checkout.shipping.shipment import Shipment

_T = TypeVar("_T")


class Guard(Protocol):
    """Stops calls of a service that fails, such as a circuit breaker."""

    async def call(self, work: Callable[[], Awaitable[_T]]) -> _T:
        """Await `work()`. Raises `DependencyTripped` while the service is cut off, and for the failure that cuts it off."""
        ...


class Payments(Protocol):
    """The operations on an order's payment. Each takes effect once, also if several workers call it several times.

    Each returns the payment after it, to be stored with the order. Raises `Declined` for a final refusal, and
    `ServiceUnavailable` if it is not known whether the call took effect: the next call finds out.
    """

    async def authorise(self, order: Order) -> Payment:
        """Reserve the order's total on the shopper's means of payment."""
        ...

    async def capture(self, order: Order) -> Payment:
        """Take the reserved amount."""
        ...

    async def void(self, order: Order) -> Payment | None:
        """Release the reserved amount, or refund the captured one; None if the order has no payment.

        An authorisation or capture that arrives later has no effect.
        """
        ...

    async def refund(self, order: Order, request: RefundRequest) -> Payment:
        """Return the amount of the request, or all that is left, to the shopper. Once for each id of a request."""
        ...


class Shipping(Protocol):
    """The carrier. Each call is idempotent by order id. Raises `Declined` and `ServiceUnavailable` as `Payments` does."""

    async def arrange(self, order: Order) -> Shipment:
        """Book the order's shipment to its address; returns the booked one if it is booked already."""
        ...

    async def cancel(self, order: Order) -> None:
        """Cancel the shipment if it is booked. A booking that arrives later has no effect."""
        ...


class Notifications(Protocol):
    """Messages to the shopper. Idempotent by order id. Raises `Declined` and `ServiceUnavailable` as `Payments` does."""

    async def order_completed(self, order: Order) -> None:
        """Notify the shopper: the order is paid for and shipped."""
        ...
