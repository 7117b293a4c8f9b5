"""The base class of workflow steps, and the services that they call."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from checkout.low_stock import LowStock
from checkout.order import Order
from checkout.ports.order_index import OrderIndex
from checkout.ports.services import Notifications, Payments, Shipping
from checkout.ports.stock import Stock


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The services that steps call."""

    index: OrderIndex
    stock: Stock
    payments: Payments
    shipping: Shipping
    notifications: Notifications
    # None where nobody is warned.
    low_stock: LowStock | None = None


class Step(ABC):
    """The acts of a step of the order workflow; the row of the workflow's table says when they run.

    A worker may die at any instruction, and another continues from the order's status. So `apply` and `undo` may be called
    again for the same order, even by two workers at once, and must be idempotent.
    """

    @abstractmethod
    async def apply(self, order: Order) -> Order | None:
        """Take the step; returns the order with an addition, such as its shipment, None without one.

        The addition is stored with the next transition. Raises `Declined` if the step is refused for good, another
        exception if the outcome is not known.
        """

    async def undo(self, order: Order) -> Order | None:  # noqa: B027 - some steps have nothing to undo
        """Reverse `apply`, whether or not it was called, because the order is cancelled.

        Returns the order at its next revision if there is something to record, None otherwise.
        """

    async def complete(self, order: Order) -> None:  # noqa: B027 - most steps store nothing
        """Delete the records that only `undo` needs, because the order is completed."""
