"""What every step of the workflow is."""

from __future__ import annotations

from abc import ABC, abstractmethod

from checkout.order import CancelReason, Order, OrderStatus


class Step(ABC):
    """One thing that must happen to an order.

    A worker may be killed at any instruction and another one goes on from the order's status, so `apply` and `undo` may
    come again for the same order, also at the same time from two workers, and each must take effect once.
    """

    reaches: OrderStatus | None = None
    """What the order becomes when the step is done; None if it stays what it is until a later step."""

    fails_as: CancelReason | None = None
    """Why the order is cancelled when the step fails for good; None if the order goes on without it."""

    timeout_is_failure: bool = False
    """Whether no answer, after all retries, is a failure for good. If not, the order waits and is tried again later."""

    @abstractmethod
    async def apply(self, order: Order) -> None:
        """Make it happen. Raises `Declined` when it never will, anything else when that is not known."""

    async def undo(self, order: Order) -> None:  # noqa: B027  a step may leave nothing to undo
        """The order is cancelled: make it as if `apply` had never been called, whether it was or not."""

    async def complete(self, order: Order) -> None:  # noqa: B027  most remember nothing
        """The order is completed: forget what only `undo` would need."""
