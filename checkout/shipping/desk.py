"""The reports of operators on shipments: where a carrier sends no webhooks, or a parcel comes back to the counter."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Annotated, Final

import msgspec

from cart.model import OrderId
from cart.timestamps import unix_ms
from checkout.errors import OrderNotFound
from checkout.fact_intake import FactIntake
from checkout.facts import ReturnedLine, ShipmentFact, ShipmentStatus
from checkout.order import Order
from checkout.order_status import OrderStatus, may_move
from checkout.ports.orders import Orders
from checkout.shipping.returns import ExcessReturn, take_back, with_pending_returns

# They are named in an entry of the history.
MAX_LINES: Final = 50


class CannotMark(Exception):
    """The order is not marked; the text says why."""


class ShipmentMark(msgspec.Struct, frozen=True, kw_only=True):
    """The report of an operator; `restock` goes with `returned`: the goods are put back into stock.

    `lines` are the units that came back, all of the order if there are none. They have a `return_id`, the operator's name of
    this return: two returns of the same units differ in it, and a repeat does not.
    """

    status: ShipmentStatus
    carrier: str | None = None
    tracking: str | None = None
    tracking_url: str | None = None
    restock: bool = False
    lines: Annotated[tuple[ReturnedLine, ...], msgspec.Meta(max_length=MAX_LINES)] = ()
    return_id: Annotated[str, msgspec.Meta(min_length=1, max_length=200)] | None = None

    def fault(self) -> str | None:
        """Why it is no report, None if it is one."""
        if self.restock and self.status != "returned":
            return "only the goods of a returned order are put back into stock"
        if self.lines and self.status != "returned":
            return "only a return names lines"
        if any(line.quantity < 1 for line in self.lines):
            return "the quantity of a returned line is at least 1"
        if len(self.lines) > MAX_LINES:
            return f"a return names {MAX_LINES} lines at most"
        if bool(self.lines) != bool(self.return_id):
            return "a return of lines has a return_id, and no other report has"
        if self.tracking_url is not None and not self.tracking_url.startswith(("https://", "http://")):
            return "a tracking page begins with https:// or http://"
        return None

    def fact_id(self) -> str:
        """An id made of the report, so that two operators, or a command that is given twice, have one effect."""
        content = self.return_id.encode() if self.return_id else msgspec.json.encode(self)
        prefix = "return" if self.return_id else self.status
        return f"desk:{prefix}:{hashlib.sha256(content).hexdigest()[:16]}"


class ShipmentDesk:
    """Appends the reports of operators to orders; a worker applies them when its message arrives, within seconds."""

    def __init__(self, orders: Orders, intake: FactIntake, *, clock_ms: Callable[[], int] = unix_ms) -> None:
        self._orders = orders
        self._intake = intake
        self._clock_ms = clock_ms

    async def mark(self, order_id: OrderId, mark: ShipmentMark) -> Order:
        """Report on the order's shipment; returns the order as it was. The same report again has no effect.

        An order that is not completed yet takes the report, and is marked once it is completed. Raises `CannotMark`, and the
        errors of `FactIntake.append`.
        """
        if (fault := mark.fault()) is not None:
            raise CannotMark(fault)
        order = await self._orders.read(order_id)
        if order is None:
            raise OrderNotFound
        if order.status is OrderStatus.CANCELLED:
            raise CannotMark("the order is cancelled")
        puts_back = mark.restock and not order.restocked
        if order.status.has_ended and not (may_move(order.status, OrderStatus(mark.status)) or puts_back):
            raise CannotMark(f"the order is {order.status} already")
        fact_id = mark.fact_id()
        if mark.lines and all(fact.id != fact_id for fact in order.facts):
            _require_left(order, mark)
        fact = ShipmentFact(
            id=fact_id,
            at=self._clock_ms(),
            became=mark.status,
            carrier=mark.carrier,
            tracking=mark.tracking,
            tracking_url=mark.tracking_url,
            restock=mark.restock,
            lines=mark.lines,
        )
        await self._intake.append(order_id, fact)
        return order


def _require_left(order: Order, mark: ShipmentMark) -> None:
    try:
        take_back(with_pending_returns(order), mark.lines, restock=mark.restock)
    except ExcessReturn as excess:
        raise CannotMark(str(excess)) from excess
