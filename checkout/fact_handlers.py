"""The handlers of facts, by their kind: a new kind of fact is a struct in `facts.py` and a line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from cart.timestamps import unix_ms
from checkout.facts import PaymentFact, RefundRequest, ShipmentFact
from checkout.payments.facts import PaymentReports
from checkout.ports.services import Payments
from checkout.ports.stock import Stock
from checkout.refunds import Refunds
from checkout.shipping.facts import ShipmentReports
from checkout.workflow.runner import FactHandler


def fact_handlers(
    *, stock: Stock, payments: Payments, clock_ms: Callable[[], int] = unix_ms
) -> Mapping[type, FactHandler]:
    """The handlers, on these services."""
    return {
        PaymentFact: PaymentReports(clock_ms=clock_ms).apply,
        ShipmentFact: ShipmentReports(stock, clock_ms=clock_ms).apply,
        RefundRequest: Refunds(payments, clock_ms=clock_ms).apply,
    }
