"""External services of the order workflow: payment, carrier, notifications; and the guard around their calls."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from checkout.order import Order

_T = TypeVar("_T")


class Guard(Protocol):
    """Stops calls of a service that fails, such as a circuit breaker."""

    async def call(self, work: Callable[[], Awaitable[_T]]) -> _T:
        """Await `work()`. Raises `DependencyTripped` while the service is cut off, and for the failure that cuts it off."""
        ...


class Payments(Protocol):
    """The payment service. Each call is idempotent by order id.

    Raises `Declined` for a final refusal, and `ServiceUnavailable` if it is not known whether the call took effect.
    """

    async def authorise(self, order: Order) -> None:
        """Reserve the order's total on the shopper's means of payment."""
        ...

    async def capture(self, order: Order) -> None:
        """Take the reserved amount."""
        ...

    async def void(self, order: Order) -> None:
        """Release the reserved amount, or refund the captured one.

        An authorisation or capture that arrives later has no effect.
        """
        ...


class Shipping(Protocol):
    """The carrier. Each call is idempotent by order id. Raises `Declined` and `ServiceUnavailable` as `Payments` does."""

    async def arrange(self, order: Order) -> None:
        """Book the order's shipment to its address."""
        ...

    async def cancel(self, order: Order) -> None:
        """Cancel the shipment if it is booked. A booking that arrives later has no effect."""
        ...


class Notifications(Protocol):
    """Messages to the shopper. Idempotent by order id. Raises `Declined` and `ServiceUnavailable` as `Payments` does."""

    async def order_completed(self, order: Order) -> None:
        """Notify the shopper: the order is paid for and shipped."""
        ...
