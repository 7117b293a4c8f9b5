"""An observer of accepted and changed orders, for metrics."""

from __future__ import annotations

from typing import Protocol

from checkout.order import Order


class OrderObserver(Protocol):
    """Sees the changes of orders that this process stores. Called between awaits: it must be fast and must not raise."""

    def accepted(self, order: Order) -> None:
        """The order is stored, as durable as promised."""
        ...

    def changed(self, before: Order, after: Order) -> None:
        """The next revision of the order is stored. A change whose reply was lost is not seen."""
        ...


class UnobservedOrders:
    """An `OrderObserver` that drops all."""

    def accepted(self, order: Order) -> None:
        """See `OrderObserver.accepted`."""

    def changed(self, before: Order, after: Order) -> None:
        """See `OrderObserver.changed`."""
