"""A cache of rendered carts: a cart is rendered again only when it or a price has changed."""

from __future__ import annotations

from collections.abc import Mapping

from cart.model import Cart, CartId, Product, Sku
from cart.view import CartView
from primitives.bounded_map import BoundedMap


class CartViewCache(BoundedMap[CartId, CartView]):
    """Views by cart, all at the prices of one mapping (see `PriceBook.products`); at most `max_bytes` of JSON.

    `view_of` and `store` check the prices; `get` and `put` do not.
    """

    __slots__ = ("_products",)

    def __init__(self, *, max_bytes: int) -> None:
        super().__init__(max_bytes, weigh=_size)
        self._products: Mapping[Sku, Product] | None = None

    def view_of(self, cart: Cart, products: Mapping[Sku, Product]) -> CartView | None:
        """The view of this very state of the cart at these prices; None where it is not cached."""
        if products is not self._products:
            return None
        # Most hits are in the young generation: this saves a call for each read of a cart.
        view = self._young.get(cart.id)
        if view is None:
            view = self.get(cart.id)
        return view if view is not None and view.cart is cart else None

    def store(self, view: CartView, products: Mapping[Sku, Product]) -> None:
        """Cache a view that was rendered at these prices; other prices outdate all views before."""
        if products is not self._products:
            self.clear()
            self._products = products
        self.put(view.cart.id, view)


def _size(_cart_id: CartId, view: CartView) -> int:
    return len(view.to_json())
