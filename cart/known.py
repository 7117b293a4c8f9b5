"""The carts this process has seen last: they save the store from telling a long cart again after each change."""

from __future__ import annotations

from cart.model import Cart, CartId

# The weight of a cart without lines, in lines.
_CART_WEIGHT = 4


class KnownCarts:
    """Carts as last seen, least recently used ones forgotten, at most `max_lines` lines in all (some 200 bytes each).

    Never the truth: before a cart from here is used, the store compares its version and time.
    """

    def __init__(self, *, max_lines: int) -> None:
        self._max_lines = max_lines
        self._lines = 0
        self._carts: dict[CartId, Cart] = {}

    def get(self, cart_id: CartId) -> Cart | None:
        """The cart as last seen, if it was."""
        cart = self._carts.pop(cart_id, None)
        if cart is not None:
            self._carts[cart_id] = cart  # now the most recently used
        return cart

    def put(self, cart: Cart) -> None:
        """Remember this state of the cart instead of any other."""
        self.forget(cart.id)
        self._carts[cart.id] = cart
        self._lines += _weight(cart)
        while self._lines > self._max_lines:
            self.forget(next(iter(self._carts)))

    def forget(self, cart_id: CartId) -> None:
        """Drop the cart, if it is here."""
        cart = self._carts.pop(cart_id, None)
        if cart is not None:
            self._lines -= _weight(cart)


def _weight(cart: Cart) -> int:
    return _CART_WEIGHT + len(cart.lines)
