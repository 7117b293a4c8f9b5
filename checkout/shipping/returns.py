"""Returns of an order, whole or of some lines: how many units of each SKU came back, and how many are in stock again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from cart.model import Sku
from checkout.facts import ReturnedLine, ShipmentFact
from checkout.order import LineReturn, Order
from checkout.order_status import OrderStatus
from checkout.ports.stock import StockLine


class ExcessReturn(Exception):
    """The report names more units than the order has left; the text says of which SKU."""


def take_back(order: Order, lines: Sequence[ReturnedLine], *, restock: bool) -> tuple[Order, list[StockLine]]:
    """The order with these units returned, in its status, and the units to put into stock. No lines: all of the order.

    Of an order that is returned already, lines name units that are put into stock. Raises `ExcessReturn`.
    """
    ordered = _ordered(order)
    restocked = ordered if order.restocked else Counter({each.sku: each.restocked for each in order.line_returns})
    came_back = returned_units(order)
    if lines:
        named = _sum(lines)
        put_back = named if restock else Counter()
        if order.status is OrderStatus.RETURNED and restock:
            # They came back before.
            _require_left(named, ordered, restocked)
        else:
            _require_left(named, ordered, came_back)
            came_back = came_back + named
    else:
        put_back = ordered - restocked if restock else Counter()
        came_back = ordered
    restocked = restocked + put_back
    order = msgspec.structs.replace(
        order,
        restocked=restocked == ordered,
        line_returns=()
        if restocked == ordered
        else tuple(LineReturn(sku, quantity, restocked[sku]) for sku, quantity in came_back.items()),
    )
    return order, [StockLine(sku, quantity) for sku, quantity in put_back.items()]


def with_pending_returns(order: Order) -> Order:
    """The order as its returns that are not applied yet will leave it, in its status; those with an excess are left out."""
    for fact in order.facts:
        if not isinstance(fact, ShipmentFact) or fact.became != "returned":
            continue
        try:
            order, _ = take_back(order, fact.lines, restock=fact.restock)
        except ExcessReturn:
            continue
    return order


def is_all_back(order: Order) -> bool:
    """Whether every unit of the order came back."""
    return returned_units(order) == _ordered(order)


def returned_units(order: Order) -> Counter[Sku]:
    """How many units of each SKU came back."""
    if order.status is OrderStatus.RETURNED or order.restocked:
        return _ordered(order)
    return Counter({each.sku: each.returned for each in order.line_returns})


def _ordered(order: Order) -> Counter[Sku]:
    units: Counter[Sku] = Counter()
    for line in order.lines:
        units[line.sku] += line.quantity
    return units


def _sum(lines: Sequence[ReturnedLine]) -> Counter[Sku]:
    units: Counter[Sku] = Counter()
    for line in lines:
        units[line.sku] += line.quantity
    return units


def _require_left(named: Counter[Sku], ordered: Counter[Sku], gone: Counter[Sku]) -> None:
    for sku, quantity in named.items():
        left = ordered[sku] - gone[sku]
        if quantity > left:
            raise ExcessReturn(f"{quantity} of {sku} cannot be returned: of {ordered[sku]} ordered, {left} are left")
