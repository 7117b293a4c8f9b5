from collections.abc import Mapping

from cart.model import Cart, CartId, Line, Product, Sku
from cart.shown import ShownCarts
from cart.view import CartView

MUG = Sku("MUG")
PRICES = {MUG: Product(MUG, "A MUG", 255, "GBP")}
A_VIEW_S_BYTES = 500


def cart(name: str = "a", quantity: int = 1) -> Cart:
    return Cart(
        id=CartId(f"7f{name * 24}"), currency="GBP", created_at=0, updated_at=0, lines=(Line(MUG, quantity, 255),)
    )


def view_of(shown: Cart, products: Mapping[Sku, Product] = PRICES) -> CartView:
    return CartView(shown, products, expires_at=86_400_000)


def test_a_cart_that_has_not_changed_is_not_told_again() -> None:
    kept, mine = ShownCarts(max_bytes=10_000), cart()
    view = view_of(mine)
    kept.put(view, PRICES)
    assert kept.get(mine, PRICES) is view


def test_another_state_of_the_cart_is_told_anew_even_if_it_is_equal() -> None:
    kept = ShownCarts(max_bytes=10_000)
    kept.put(view_of(cart()), PRICES)
    assert kept.get(cart(), PRICES) is None


def test_another_mapping_of_prices_outdates_every_view() -> None:
    kept, mine, yours = ShownCarts(max_bytes=10_000), cart("a"), cart("b")
    kept.put(view_of(mine), PRICES)
    changed = dict(PRICES)
    assert kept.get(mine, changed) is None
    kept.put(view_of(yours, changed), changed)
    assert kept.get(mine, changed) is None
    assert kept.get(yours, changed) is not None


def test_what_is_kept_is_bounded() -> None:
    kept = ShownCarts(max_bytes=3 * A_VIEW_S_BYTES)
    carts = [cart(name) for name in "abcdefgh"]
    for each in carts:
        kept.put(view_of(each), PRICES)
    held = [view for each in carts if (view := kept.get(each, PRICES)) is not None]
    assert 1 <= len(held) <= 4
    assert sum(len(view.to_json()) for view in held) <= 3 * A_VIEW_S_BYTES


def test_a_view_replaced_over_and_over_does_not_fill_what_is_kept() -> None:
    kept, other = ShownCarts(max_bytes=3 * A_VIEW_S_BYTES), cart("b")
    kept.put(view_of(other), PRICES)
    for quantity in range(1, 50):
        kept.put(view_of(cart("a", quantity)), PRICES)
    assert kept.get(other, PRICES) is not None
