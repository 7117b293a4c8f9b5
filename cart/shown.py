"""The views of carts that this process has told last: a cart that has not changed, at prices that have not, is not told again."""

from __future__ import annotations

from collections.abc import Mapping

from cart.model import Cart, CartId, Product, Sku
from cart.view import CartView


class ShownCarts:
    """Views by cart, all at the prices of one mapping (see `PriceBook.products`): another mapping outdates them all.

    At most `max_bytes` of JSON are kept; when they are full, all are forgotten, and those still looked at come back.
    """

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._views: dict[CartId, CartView] = {}
        self._products: Mapping[Sku, Product] | None = None

    def get(self, cart: Cart, products: Mapping[Sku, Product]) -> CartView | None:
        """The view of this very state of the cart at these prices, if it was told."""
        if products is not self._products:
            return None
        view = self._views.get(cart.id)
        return view if view is not None and view.cart is cart else None

    def put(self, view: CartView, products: Mapping[Sku, Product]) -> None:
        """Keep a view that was told at these prices."""
        size = len(view.to_json())
        if products is not self._products or self._bytes + size > self._max_bytes:
            self._products = products
            self._views = {}
            self._bytes = 0
        replaced = self._views.get(view.cart.id)
        self._bytes += size - (len(replaced.to_json()) if replaced is not None else 0)
        self._views[view.cart.id] = view
