"""The rules by which a cart changes. Each change returns another `Cart`; one that changes nothing returns the same.

The scripts of the Redis adapter follow the same rules, and property tests compare them. The module is compiled, which a
method of a struct cannot be.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cart.errors import CartFull, LineNotFound, QuantityLimit
from cart.model import Cart, CartId, Limits, Line, Sku, Status, Strategy


def add_line(cart: Cart, line: Line, *, now: int, limits: Limits) -> Cart:
    """Add to the line of that SKU, or start it; the line takes the price newly quoted.

    Raises `QuantityLimit` or `CartFull`.
    """
    lines, sku = cart.lines, line.sku
    for index, line_before in enumerate(lines):
        if line_before.sku == sku:
            line = Line(sku, line_before.quantity + line.quantity, line.quoted)
            lines = (*lines[:index], line, *lines[index + 1 :])
            break
    else:
        lines = (*lines, line)
    if line.quantity > limits.max_quantity:
        raise QuantityLimit(limits.max_quantity)
    if len(lines) > max(limits.max_lines, len(cart.lines)):
        raise CartFull(limits.max_lines)
    return _with_lines(cart, lines, now)


def set_lines(cart: Cart, lines: Iterable[Line], *, now: int, limits: Limits) -> Cart:
    """Set these lines, all or none; quantity 0 removes a line, and an absent one to be removed is passed over.

    SKUs must differ from each other. Raises `QuantityLimit` or `CartFull`; a cart above a limit that was lowered since
    may change and shrink, but not grow.
    """
    changed = {line.sku: line for line in cart.lines}
    for line in lines:
        line_before = changed.get(line.sku)
        if line.quantity > max(limits.max_quantity, line_before.quantity if line_before is not None else 0):
            raise QuantityLimit(limits.max_quantity)
        if line.quantity:
            changed[line.sku] = line
        else:
            changed.pop(line.sku, None)
    if len(changed) > max(limits.max_lines, len(cart.lines)):
        raise CartFull(limits.max_lines)
    return _with_lines(cart, tuple(changed.values()), now)


def remove_line(cart: Cart, sku: Sku, *, now: int) -> Cart:
    """Remove the line of that SKU. Raises `LineNotFound`."""
    rest = tuple(line for line in cart.lines if line.sku != sku)
    if len(rest) == len(cart.lines):
        raise LineNotFound(sku)
    return _with_lines(cart, rest, now)


def merge_lines(cart: Cart, lines: Sequence[Line], strategy: Strategy, *, now: int, limits: Limits) -> Cart:
    """Take in the lines of another cart.

    A SKU in both has the position and the quoted price of this cart, and its quantity becomes the sum of both, the larger
    one, or stays, by `strategy`. Raises `QuantityLimit` or `CartFull`.
    """
    present = {line.sku: line for line in cart.lines}
    merged = [_merged(present.get(line.sku), line, strategy) for line in lines]
    return set_lines(cart, merged, now=now, limits=limits)


def close_into(cart: Cart, target: CartId, *, now: int) -> Cart:
    """This cart as merged into another; its lines stay as a record."""
    return _changed(cart, cart.lines, now, status="merged", merged_into=target)


def _with_lines(cart: Cart, lines: tuple[Line, ...], now: int) -> Cart:
    return cart if lines == cart.lines else _changed(cart, lines, now, cart.status, cart.merged_into)


def _changed(cart: Cart, lines: tuple[Line, ...], now: int, status: Status, merged_into: CartId | None) -> Cart:
    return Cart(
        id=cart.id,
        currency=cart.currency,
        created_at=cart.created_at,
        # The clock of another machine may be behind: a cart's time never runs backwards.
        updated_at=max(now, cart.updated_at),
        version=cart.version + 1,
        lines=lines,
        status=status,
        owner=cart.owner,
        order_id=cart.order_id,
        merged_into=merged_into,
    )


def _merged(present: Line | None, line: Line, strategy: Strategy) -> Line:
    if present is None:
        return line
    if strategy == "sum":
        return Line(line.sku, present.quantity + line.quantity, present.quoted)
    if strategy == "max":
        return Line(line.sku, max(present.quantity, line.quantity), present.quoted)
    return present
