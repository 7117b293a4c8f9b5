from __future__ import annotations

import msgspec

from cart.cart_cache import CartCache
from cart.model import Cart, CartId, Line, Sku


def cart(name: str, line_count: int = 0) -> Cart:
    lines = tuple(Line(Sku(str(n)), 1, 1) for n in range(line_count))
    return Cart(id=CartId(name), currency="GBP", created_at=1, updated_at=1, lines=lines)


def test_the_state_put_last_is_cached() -> None:
    cache, first = CartCache(max_lines=100), cart("a", 2)
    cache.put(first.id, first)
    changed = msgspec.structs.replace(first, version=2)
    cache.put(changed.id, changed)
    assert cache.get(CartId("a")) is changed
    assert cache.get(CartId("b")) is None


def test_a_cart_in_use_is_not_evicted() -> None:
    cache = CartCache(max_lines=6 * (4 + 10))
    for name in "abcdefghijklmnop":
        cache.put(CartId(name), cart(name, 10))
        assert cache.get(CartId("a")) is not None
    assert CartId("b") not in cache


def test_lines_are_bounded_while_carts_grow_and_shrink() -> None:
    cache = CartCache(max_lines=200)
    for _ in range(50):
        cache.put(CartId("a"), cart("a", 90))
        cache.put(CartId("a"), cart("a", 1))
        cache.discard(CartId("a"))
        cache.discard(CartId("a"))
    cache.put(CartId("a"), cart("a", 40))
    cache.put(CartId("b"), cart("b", 40))
    assert CartId("a") in cache
    cache.put(CartId("c"), cart("c", 80))
    cache.put(CartId("d"), cart("d", 80))
    assert [name for name in "abcd" if CartId(name) in cache] == ["c", "d"]


def test_a_cart_longer_than_half_of_the_bound_is_not_cached() -> None:
    cache = CartCache(max_lines=200)
    cache.put(CartId("a"), cart("a", 5))
    cache.put(CartId("b"), cart("b", 97))
    assert cache.get(CartId("b")) is None
    assert cache.get(CartId("a")) is not None
