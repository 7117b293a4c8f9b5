"""Units that are held for the lines of carts, as the cart handlers ask for them and show them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest

from cart.bodies import AddLine, MergeCart, PutLine, SetLine
from cart.errors import CartNotFound, HoldNotExtendable, LineNotFound
from cart.handlers import CartHandlers
from cart.model import CartId, Sku, Terms
from cart.ports import LineHold
from store import StoreUnavailable
from tests.unit.cart.test_handlers import Prices, Shop

MUG, TRAY = Sku("MUG"), Sku("TRAY")
LIFE_MS = 600_000


class FakeHolds:
    """`CartHolds` with units for all; it fails while it has an `outage`."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self.held: dict[tuple[CartId, Sku], LineHold] = {}
        self.merged: list[tuple[CartId, CartId]] = []
        self.outage: Exception | None = None

    async def set(self, cart_id: CartId, units: Mapping[Sku, int], *, merged: CartId | None = None) -> None:
        self._may_fail()
        if merged is not None:
            self.merged.append((cart_id, merged))
        for sku, quantity in units.items():
            self.held.pop((cart_id, sku), None)
            if quantity:
                self.held[cart_id, sku] = LineHold(quantity, self._shop.clock() + LIFE_MS, is_extended=False)

    async def read(self, cart_id: CartId, skus: Sequence[Sku]) -> Mapping[Sku, LineHold]:
        self._may_fail()
        return {sku: self.held[cart_id, sku] for sku in skus if (cart_id, sku) in self.held}

    async def extend(self, cart_id: CartId, sku: Sku) -> bool:
        hold = self.held.get((cart_id, sku))
        if hold is None or hold.is_extended:
            return False
        self.held[cart_id, sku] = LineHold(hold.quantity, hold.until + LIFE_MS, is_extended=True)
        return True

    def units(self, cart_id: CartId) -> dict[Sku, int]:
        return {sku: hold.quantity for (held, sku), hold in self.held.items() if held == cart_id}

    def _may_fail(self) -> None:
        if self.outage is not None:
            raise self.outage


class Drop(Shop):
    """A shop whose mugs are held at the cart."""

    def __init__(self) -> None:
        super().__init__()
        self.holds = FakeHolds(self)
        _hold_at_cart(self.prices)
        self.handlers = CartHandlers(self.carts, self.prices, clock_ms=self.clock, holds=self.holds)


def _hold_at_cart(prices: Prices) -> None:
    mug = msgspec.structs.replace(prices.by_sku[MUG], terms=Terms(hold_at_cart=600))
    prices.by_sku = prices.by_sku | {MUG: mug}


@pytest.fixture
def drop() -> Drop:
    return Drop()


async def lines_of(drop: Drop, cart_id: CartId) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = json.loads((await drop.handlers.read(cart_id)).to_json())["lines"]
    return lines


async def test_a_line_shows_its_hold_and_only_of_products_that_are_held(drop: Drop) -> None:
    cart_id = await drop.cart(MUG=2, TRAY=1)
    mug, tray = await lines_of(drop, cart_id)
    assert mug["hold"] == {"quantity": 2, "until": "2026-11-27T06:10:00.000Z", "can_extend": True, "ends_soon": False}
    assert "hold" not in tray
    assert "warnings" not in mug
    assert drop.holds.units(cart_id) == {MUG: 2}


async def test_a_hold_follows_every_write_of_its_line(drop: Drop) -> None:
    cart_id = await drop.cart(MUG=2)
    for write, units in (
        (drop.handlers.add_line(cart_id, AddLine("MUG", 1)), 3),
        (drop.handlers.put_line(cart_id, "MUG", PutLine(5)), 5),
        (drop.handlers.patch_lines(cart_id, [SetLine("MUG", 4), SetLine("TRAY", 1)]), 4),
        (drop.handlers.patch_lines(cart_id, [SetLine("MUG", 0)]), None),
        (drop.handlers.put_line(cart_id, "MUG", PutLine(5)), 5),
        (drop.handlers.delete_line(cart_id, "MUG"), None),
    ):
        await write
        assert drop.holds.units(cart_id).get(MUG) == units


async def test_a_shopper_is_warned_in_the_last_minute_and_may_extend_once(drop: Drop) -> None:
    cart_id = await drop.cart(MUG=2)
    drop.clock.now += LIFE_MS - 59_000
    assert (await lines_of(drop, cart_id))[0]["hold"]["ends_soon"]
    extended = json.loads((await drop.handlers.extend_hold(cart_id, "MUG")).to_json())["lines"][0]["hold"]
    assert (extended["can_extend"], extended["ends_soon"]) == (False, False)
    with pytest.raises(HoldNotExtendable):
        await drop.handlers.extend_hold(cart_id, "MUG")
    with pytest.raises(LineNotFound):
        await drop.handlers.extend_hold(cart_id, "TRAY")
    with pytest.raises(CartNotFound):
        await drop.handlers.extend_hold(cart_id[::-1], "MUG")


async def test_a_merged_cart_hands_its_holds_over(drop: Drop) -> None:
    target, source = await drop.cart(MUG=1), await drop.cart(MUG=2)
    await drop.handlers.merge(target, MergeCart(source, "sum"))
    assert drop.holds.units(target) == {MUG: 3}
    assert drop.holds.merged == [(target, source)]


async def test_a_deleted_cart_frees_its_units(drop: Drop) -> None:
    cart_id = await drop.cart(MUG=2)
    await drop.handlers.delete(cart_id)
    assert drop.holds.units(cart_id) == {}


async def test_a_cart_is_written_and_read_while_units_cannot_be_held(drop: Drop) -> None:
    cart_id = await drop.cart(MUG=2)
    drop.holds.outage = StoreUnavailable("away")
    view = await drop.handlers.put_line(cart_id, "MUG", PutLine(3))
    assert view.cart.lines[0].quantity == 3
    assert "hold" not in (await lines_of(drop, cart_id))[0]
    await drop.handlers.delete(cart_id)


async def test_other_errors_are_not_hidden(drop: Drop) -> None:
    drop.holds.outage = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        await drop.cart(MUG=2)


async def test_without_products_that_are_held_nothing_is_asked_for() -> None:
    drop = Drop()
    drop.holds.outage = ZeroDivisionError()
    cart_id = await drop.cart(TRAY=2)
    first = await drop.handlers.read(cart_id)
    assert await drop.handlers.read(cart_id) is first
