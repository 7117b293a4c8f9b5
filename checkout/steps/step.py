"""The base class of workflow steps."""

from __future__ import annotations

from abc import ABC, abstractmethod

from checkout.order import Order
from checkout.order_status import CancelReason, OrderStatus


class Step(ABC):
    """A step of the order workflow.

    A worker may die at any instruction, and another continues from the order's status. So `apply` and `undo` may be called
    again for the same order, even by two workers at once, and must be idempotent.
    """

    reaches: OrderStatus | None = None
    """The status of the order after this step; None if a later step changes it."""

    fails_as: CancelReason | None = None
    """The reason for which the order is cancelled if the step fails; None if the order continues without the step."""

    timeout_is_failure: bool = False
    """Whether a service that does not respond, after all retries, fails the step. Otherwise the order waits."""

    @abstractmethod
    async def apply(self, order: Order) -> None:
        """Take the step. Raises `Declined` if it is refused for good, another exception if the outcome is not known."""

    async def undo(self, order: Order) -> None:  # noqa: B027 - some steps have nothing to undo
        """Reverse `apply`, whether or not it was called, because the order is cancelled."""

    async def complete(self, order: Order) -> None:  # noqa: B027 - most steps store nothing
        """Delete the records that only `undo` needs, because the order is completed."""
