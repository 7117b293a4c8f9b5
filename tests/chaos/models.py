"""What carts and stock are, one operation at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from tests.chaos.history import UNKNOWN, Operation

Lines = tuple[tuple[str, int], ...]


def lines_of(quantities: Mapping[str, int]) -> Lines:
    """Lines in the order of their SKUs."""
    return tuple(sorted(quantities.items()))


class Cart(NamedTuple):
    """The lines of a cart; the order it became has the same."""

    lines: Lines = ()
    is_ordered: bool = False


CLOSED = "closed"
MISSING = "missing"


def cart_after(cart: Cart, operation: Operation) -> Cart | None:
    """`add` and `set` have a SKU and a quantity, `remove` a SKU, `read` and `order` nothing. Results are `Lines`.

    The result of a change of an ordered cart is `CLOSED`, of removing a line that is not there `MISSING`. An order of an empty cart has no lines, and leaves it open.
    """
    if operation.name == "read":
        return cart if operation.result in (cart.lines, UNKNOWN) else None
    if cart.is_ordered:
        return cart if operation.result in (CLOSED, UNKNOWN) else None
    if operation.name == "remove" and operation.argument not in dict(cart.lines):
        return cart if operation.result in (MISSING, UNKNOWN) else None
    lines = _changed(cart.lines, operation)
    if operation.result not in (lines, UNKNOWN):
        return None
    return Cart(lines, is_ordered=operation.name == "order" and lines != ())


def _changed(lines: Lines, operation: Operation) -> Lines:
    quantities = dict(lines)
    if operation.name == "add":
        sku, quantity = operation.argument
        quantities[sku] = quantities.get(sku, 0) + quantity
    elif operation.name == "set":
        sku, quantity = operation.argument
        quantities[sku] = quantity
    elif operation.name == "remove":
        del quantities[operation.argument]
    return lines_of(quantities)


def stock_after(available: int, operation: Operation) -> int | None:
    """`take` has a number of units; its result is whether they were there. `give_back` has a number."""
    if operation.name == "give_back":
        return available + int(operation.argument)
    units = int(operation.argument)
    if operation.result is False:
        return available if available < units else None
    return available - units if available >= units else None
