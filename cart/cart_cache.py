"""A cache of carts as last read or written: the store then sends only the version of a cart, not all its lines."""

from __future__ import annotations

from cart.model import Cart, CartId
from primitives.bounded_map import BoundedMap

# The weight of a cart without lines, in lines.
_CART_WEIGHT = 4


class CartCache(BoundedMap[CartId, Cart]):
    """Carts by id, at most `max_lines` lines in all (some 200 bytes each).

    A cached cart may be outdated: before it is used, the store compares its version and time.
    """

    __slots__ = ()

    def __init__(self, *, max_lines: int) -> None:
        super().__init__(max_lines, weigh=_weight)


def _weight(_cart_id: CartId, cart: Cart) -> int:
    return _CART_WEIGHT + len(cart.lines)
