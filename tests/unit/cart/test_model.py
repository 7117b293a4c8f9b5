from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cart import changes
from cart.ids import new_cart_id, order_id_for, parse_cart_id, parse_order_id, parse_sku, partition_of
from cart.model import Cart, CartId, Limits, Line, Sku
from cart.timestamps import rfc3339, unix_ms

CART_ID = CartId("7f" + "a2" * 12)


def test_a_cart_id_is_its_partition_and_120_random_bits() -> None:
    cart_id = new_cart_id(lambda count: bytes(range(127, 127 + count)))
    assert cart_id == "7f" + base64.b32encode(bytes(range(128, 143))).decode().lower()
    assert partition_of(cart_id) == "7f"
    assert parse_cart_id(cart_id) == cart_id


def test_every_random_bit_changes_the_cart_id() -> None:
    drawn = [bytes(16)] + [(1 << bit).to_bytes(16) for bit in range(128)]
    assert len({new_cart_id(lambda _, raw=raw: raw) for raw in drawn}) == 129  # type: ignore[misc]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "7f",
        "7f" + "a" * 23,
        "7f" + "a" * 25,
        "7g" + "a" * 24,
        "7F" + "a" * 24,
        "7f" + "1" * 24,
        "7f" + "a" * 24 + "\n",
        " 7f" + "a" * 23,
        "7f}" + "a" * 23,
        "٧f" + "a" * 24,
        "\ud800" * 26,
    ],
)
def test_a_malformed_cart_id_parses_to_none(text: str) -> None:
    assert parse_cart_id(text) is None
    assert parse_order_id(text) is None


def test_an_order_id_follows_from_the_cart_and_its_version() -> None:
    order_id = order_id_for(CART_ID, 3)
    # Pinned: orders that exist must be found again by whatever version of the program comes later.
    assert order_id == "7fowcrqbybynj2r6i2idi5725x"
    assert partition_of(order_id) == partition_of(CART_ID)
    assert parse_order_id(order_id) == order_id
    assert order_id_for(CART_ID, 4) != order_id
    assert order_id_for(CartId("7f" + "b2" * 12), 3) != order_id


@pytest.mark.parametrize(
    "text", ["85123A", "BANK CHARGES", "gift_0001_40", "é", "💡", "x" * 64, "é" * 32, "{a}", "a/b%"]
)
def test_a_sku_is_anything_printable(text: str) -> None:
    assert parse_sku(text) == text


@pytest.mark.parametrize("text", ["", "x" * 65, "é" * 33, "a\nb", "\x01v", "\x7f", "a\u2028b", "a\ud800b", "\u200b"])
def test_unprintable_or_long_text_is_not_a_sku(text: str) -> None:
    assert parse_sku(text) is None


@given(st.integers(0, 4_102_444_800_000))
def test_times_are_written_in_utc_with_milliseconds(at_ms: int) -> None:
    expected = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at_ms)
    assert rfc3339(at_ms) == expected.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def test_a_time_is_written_as_the_api_promises() -> None:
    assert rfc3339(1_795_759_200_000) == "2026-11-27T06:00:00.000Z"


def test_the_clock_gives_milliseconds_since_1970() -> None:
    assert 1_700_000_000_000 < unix_ms() < 5_000_000_000_000


@pytest.mark.parametrize(
    "broken",
    [{"max_lines": 0}, {"max_quantity": 0}, {"max_quantity": 1 << 20}, {"owned_ttl_ms": 0}, {"anonymous_ttl_ms": 0}],
)
def test_invalid_limits_are_refused(broken: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="limit"):
        Limits(**broken)


def test_a_change_does_not_modify_the_cart_before_it() -> None:
    cart = Cart(id=CART_ID, currency="GBP", created_at=1, updated_at=1)
    changed = changes.add_line(cart, Line(Sku("85123A"), 2, 255), now=5, limits=Limits())
    assert (cart.lines, cart.version) == ((), 1)
    assert (changed.skus, changed.item_count, changed.version, changed.updated_at) == (["85123A"], 2, 2, 5)
