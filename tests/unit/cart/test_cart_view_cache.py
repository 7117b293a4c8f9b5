from collections.abc import Mapping

from cart.cart_view_cache import CartViewCache
from cart.model import Cart, CartId, Line, Product, Sku
from cart.view import CartView

MUG = Sku("MUG")
PRICES = {MUG: Product(MUG, "A MUG", 255, "GBP")}
VIEW_BYTES = 500


def cart(name: str = "a", quantity: int = 1) -> Cart:
    return Cart(
        id=CartId(f"7f{name * 24}"), currency="GBP", created_at=0, updated_at=0, lines=(Line(MUG, quantity, 255),)
    )


def view_of(a_cart: Cart, products: Mapping[Sku, Product] = PRICES) -> CartView:
    return CartView(a_cart, products, expires_at=86_400_000, now=0)


def test_the_view_of_an_unchanged_cart_is_cached() -> None:
    cache, mine = CartViewCache(max_bytes=10_000), cart()
    view = view_of(mine)
    cache.store(view, PRICES)
    assert cache.view_of(mine, PRICES) is view


def test_an_equal_cart_of_another_read_has_no_cached_view() -> None:
    cache = CartViewCache(max_bytes=10_000)
    cache.store(view_of(cart()), PRICES)
    assert cache.view_of(cart(), PRICES) is None


def test_another_mapping_of_prices_outdates_every_view() -> None:
    cache, mine, yours = CartViewCache(max_bytes=10_000), cart("a"), cart("b")
    cache.store(view_of(mine), PRICES)
    changed = dict(PRICES)
    assert cache.view_of(mine, changed) is None
    cache.store(view_of(yours, changed), changed)
    assert cache.view_of(mine, changed) is None
    assert cache.view_of(yours, changed) is not None


def test_the_bytes_of_cached_views_are_bounded() -> None:
    cache = CartViewCache(max_bytes=3 * VIEW_BYTES)
    carts = [cart(name) for name in "abcdefgh"]
    for each in carts:
        cache.store(view_of(each), PRICES)
    cached = [view for each in carts if (view := cache.view_of(each, PRICES)) is not None]
    assert 1 <= len(cached) <= 4
    assert sum(len(view.to_json()) for view in cached) <= 3 * VIEW_BYTES


def test_a_view_that_is_replaced_does_not_evict_others() -> None:
    cache, other = CartViewCache(max_bytes=3 * VIEW_BYTES), cart("b")
    cache.store(view_of(other), PRICES)
    for quantity in range(1, 50):
        cache.store(view_of(cart("a", quantity)), PRICES)
    assert cache.view_of(other, PRICES) is not None
