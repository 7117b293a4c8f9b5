"""The life of a completed order: applying the reports of carriers and operators on its shipment."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import msgspec

from cart.timestamps import unix_ms
from checkout.facts import ShipmentFact
from checkout.order import Order
from checkout.order_status import OrderStatus, may_move
from checkout.ports.stock import Stock
from checkout.shipping.returns import ExcessReturn, is_all_back, take_back
from checkout.shipping.shipment import Shipment

RESTOCKED: Final = "the goods are back in stock"

_log = logging.getLogger(__name__)


class ShipmentReports:
    """Applies `ShipmentFact`s to orders: `checkout.workflow.runner.FactHandler`.

    A report on an order that is not completed yet waits. After that an order only moves on: of reports in any sequence, and
    of repeats, the latest status stands. An earlier status that arrives late, and any report on a cancelled order, leaves
    the history as it is; its tracking number is kept.
    """

    def __init__(self, stock: Stock, *, clock_ms: Callable[[], int] = unix_ms) -> None:
        self._stock = stock
        self._clock_ms = clock_ms

    async def apply(self, order: Order, fact: ShipmentFact) -> Order | None:
        """The order after the report; None if it waits. Raises the errors of the stock: the report is then applied later."""
        if not order.status.has_ended:
            return None
        if order.status is OrderStatus.CANCELLED:
            _log.warning("order %s is cancelled, and its shipment is reported as %s", order.number, fact.became)
            return order.revised()
        # The carrier's clock may be ahead.
        at = min(fact.at, self._clock_ms())
        status = OrderStatus(fact.became)
        order = msgspec.structs.replace(order, shipment=_with_tracking(order, fact))
        if status is OrderStatus.RETURNED:
            return await self._take_back(order, fact, at)
        if may_move(order.status, status):
            return order.moved(status, at=at)
        _log.debug("order %s is %s, and is reported as %s again or late", order.number, order.status, status)
        return order.revised()

    async def _take_back(self, order: Order, fact: ShipmentFact, at: int) -> Order:
        """The order after a return, whose goods are put into stock if the report says so and they are not there yet."""
        try:
            order, put_back = take_back(order, fact.lines, restock=fact.restock)
        except ExcessReturn as excess:
            # Two reports that passed the entrance at once.
            return order.noted(at=at, detail=f"a return is not applied: {excess}")
        if put_back:
            await self._stock.restock(order.id, put_back, report=fact.id)
        detail = _describe(fact, is_put_back=bool(put_back))
        if may_move(order.status, OrderStatus.RETURNED) and is_all_back(order):
            return order.moved(OrderStatus.RETURNED, at=at, detail=detail)
        if put_back or order.status is not OrderStatus.RETURNED:
            return order.noted(at=at, detail=detail)
        return order.revised()


def _describe(fact: ShipmentFact, *, is_put_back: bool) -> str | None:
    """The returned goods, for the history; None for a whole return whose goods stay out of stock."""
    if not fact.lines:
        return RESTOCKED if is_put_back else None
    goods = ", ".join(f"{line.quantity} of {line.sku}" for line in fact.lines)
    return f"returned: {goods}; {RESTOCKED}" if is_put_back else f"returned: {goods}"


def _with_tracking(order: Order, fact: ShipmentFact) -> Shipment | None:
    """The shipment with the tracking of the report. An order of an earlier version has none."""
    shipment = order.shipment
    if order.erased_at is not None or not (fact.carrier or fact.tracking or fact.tracking_url):
        return shipment
    if shipment is None:
        shipment = Shipment(order.number, fact.carrier or "unknown")
    return Shipment(
        shipment.reference,
        fact.carrier or shipment.carrier,
        fact.tracking or shipment.tracking_number,
        fact.tracking_url or shipment.tracking_url,
    )
