from __future__ import annotations

import msgspec

from cart.known import KnownCarts
from cart.model import Cart, CartId, Line, Sku


def cart(name: str, line_count: int = 0) -> Cart:
    lines = tuple(Line(Sku(str(n)), 1, 1) for n in range(line_count))
    return Cart(id=CartId(name), currency="GBP", created_at=1, updated_at=1, lines=lines)


def test_a_cart_is_remembered_as_last_seen() -> None:
    known, seen = KnownCarts(max_lines=100), cart("a", 2)
    known.put(seen)
    changed = msgspec.structs.replace(seen, version=2)
    known.put(changed)
    assert known.get(CartId("a")) is changed
    assert known.get(CartId("b")) is None


def test_the_least_recently_used_cart_is_forgotten_first() -> None:
    known = KnownCarts(max_lines=3 * (4 + 10))
    for name in "abc":
        known.put(cart(name, 10))
    known.get(CartId("a"))
    known.put(cart("d", 10))
    assert [name for name in "abcd" if known.get(CartId(name))] == ["a", "c", "d"]


def test_memory_is_bounded_by_lines_also_when_carts_grow_shrink_and_go() -> None:
    known = KnownCarts(max_lines=100)
    for _ in range(50):
        known.put(cart("a", 90))
        known.put(cart("a", 1))
        known.forget(CartId("a"))
        known.forget(CartId("a"))
    known.put(cart("a", 40))
    known.put(cart("b", 40))
    assert known.get(CartId("a")) is not None
    known.put(cart("c", 80))
    assert [name for name in "abc" if known.get(CartId(name))] == ["c"]


def test_a_cart_too_long_to_remember_is_not() -> None:
    known = KnownCarts(max_lines=100)
    known.put(cart("a", 5))
    known.put(cart("b", 97))
    assert known.get(CartId("b")) is None
