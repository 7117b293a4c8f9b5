from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

import pytest

from cart.bodies import AddLine, MergeCart, NewCart, PutLine, SetLine
from cart.coupons import MARK, NO_CURRENCY, Coupon
from cart.errors import (
    CartClosed,
    CartFull,
    CartNotFound,
    Interrupted,
    InvalidBody,
    LineNotFound,
    ProductNotFound,
    QuantityLimit,
    VersionMismatch,
)
from cart.handlers import CartHandlers
from cart.ids import SKU_RULE
from cart.memory import MemoryCarts
from cart.model import CartId, Limits, Line, Product, Sku, Terms
from cart.ports import Write as PortWrite
from cart.view import CartView
from primitives.outages import may_have_run
from store import StoreUnavailable

T0 = 1_795_759_200_000


class Prices:
    """A price book whose prices the test changes."""

    def __init__(self) -> None:
        self.is_stale = False
        self.by_sku: dict[Sku, Product] = {}
        for sku, price, currency in (("MUG", 255, "GBP"), ("TRAY", 100, "GBP"), ("EURO", 80, "EUR")):
            self.set(sku, price, currency)

    def set(self, sku: str, price: int, currency: str = "GBP") -> None:
        # Another mapping, as the port asks: what one has told of a SKU it always tells.
        self.by_sku = self.by_sku | {Sku(sku): Product(Sku(sku), f"{sku} name", price, currency)}

    def offer(self, code: str, **rule: Any) -> None:
        sku = Sku(MARK + code)
        coupon = Product(sku, f"coupon {code}", 0, NO_CURRENCY, terms=Terms(coupon=Coupon(**rule)))
        self.by_sku = self.by_sku | {sku: coupon}

    def grow_stale(self, is_stale: bool = True) -> None:
        self.is_stale, self.by_sku = is_stale, dict(self.by_sku)

    @property
    def current(self) -> Mapping[Sku, Product]:
        return self.by_sku

    async def products(self, skus: Collection[Sku]) -> Mapping[Sku, Product]:
        return self.by_sku


class Clock:
    def __init__(self) -> None:
        self.now = T0

    def __call__(self) -> int:
        return self.now


class Shop:
    def __init__(self) -> None:
        self.clock, self.prices = Clock(), Prices()
        self.carts = MemoryCarts(clock_ms=self.clock)
        self.handlers = CartHandlers(
            self.carts,
            self.prices,
            max_lines=3,
            max_quantity=50,
            anonymous_ttl_s=60,
            owned_ttl_s=600,
            clock_ms=self.clock,
        )

    async def cart(self, **quantities: int) -> CartId:
        made = await self.handlers.create(NewCart())
        for sku, quantity in quantities.items():
            await self.handlers.add_line(made.cart.id, AddLine(sku, quantity))
        return made.cart.id


@pytest.fixture
def shop() -> Shop:
    return Shop()


def shown(view: CartView) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(view.to_json())
    return body


def held(view: CartView) -> dict[str, int]:
    return {line["sku"]: line["quantity"] for line in shown(view)["lines"]}


async def test_a_new_cart_is_empty_open_and_in_the_shops_currency(shop: Shop) -> None:
    cart = shown(await shop.handlers.create(NewCart()))
    assert (cart["status"], cart["version"], cart["currency"], cart["lines"]) == ("open", 1, "GBP", [])
    assert (cart["created_at"], cart["expires_at"]) == ("2026-11-27T06:00:00.000Z", "2026-11-27T06:01:00.000Z")


async def test_a_cart_can_be_made_in_another_currency(shop: Shop) -> None:
    made = await shop.handlers.create(NewCart(currency="EUR"))
    added = await shop.handlers.add_line(made.cart.id, AddLine("EURO", 2))
    assert shown(added)["total"] == {"amount": 160, "currency": "EUR"}


async def test_a_cart_of_a_signed_in_shopper_lives_longer_and_is_hidden_from_others(shop: Shop) -> None:
    made = await shop.handlers.create(NewCart(), owner="ada")
    assert shown(made)["expires_at"] == "2026-11-27T06:10:00.000Z"
    with pytest.raises(CartNotFound):
        await shop.handlers.read(made.cart.id)
    with pytest.raises(CartNotFound):
        await shop.handlers.add_line(made.cart.id, AddLine("MUG", 1), owner="bob")
    assert (await shop.handlers.add_line(made.cart.id, AddLine("MUG", 1), owner="ada")).version == 2


async def test_an_unchanged_cart_expires(shop: Shop) -> None:
    cart_id = await shop.cart(MUG=1)
    shop.clock.now += 59_999
    await shop.handlers.read(cart_id)
    shop.clock.now += 1
    with pytest.raises(CartNotFound):
        await shop.handlers.read(cart_id)


async def test_a_cart_is_marked_as_degraded_while_its_prices_are_stale(shop: Shop) -> None:
    cart_id = await shop.cart(MUG=1)
    fresh = await shop.handlers.read(cart_id)
    assert fresh.degraded == ()
    shop.prices.grow_stale()
    stale = await shop.handlers.read(cart_id)
    assert stale.degraded == ("prices",)
    assert stale.to_json() == fresh.to_json()
    assert await shop.handlers.read(cart_id) is stale, "told once"
    shop.prices.grow_stale(False)
    assert (await shop.handlers.read(cart_id)).degraded == ()


async def test_a_line_is_added_at_the_price_of_now(shop: Shop) -> None:
    cart_id = await shop.cart()
    view = await shop.handlers.add_line(cart_id, AddLine("MUG", 2))
    assert shown(view)["total"]["amount"] == 510
    assert shop.carts.by_id[cart_id].lines == (Line(Sku("MUG"), 2, 255),)


async def test_a_price_that_changes_shows_at_the_next_read_until_the_line_is_written_again(shop: Shop) -> None:
    cart_id = await shop.cart(MUG=2, TRAY=1)
    before = await shop.handlers.read(cart_id)
    shop.prices.set("MUG", 299)
    after = await shop.handlers.read(cart_id)
    assert shown(after)["lines"][0]["warnings"] == [
        {"code": "price-changed", "was": {"amount": 255, "currency": "GBP"}}
    ]
    assert shown(after)["total"]["amount"] == 2 * 299 + 100
    assert after.to_json() != before.to_json()
    assert after.version == before.version
    accepted = await shop.handlers.put_line(cart_id, "MUG", PutLine(2))
    assert "warnings" not in shown(accepted)["lines"][0]
    assert accepted.version == before.version + 1


async def test_a_product_no_longer_sold_can_be_removed_but_not_added(shop: Shop) -> None:
    cart_id = await shop.cart(MUG=2)
    del shop.prices.by_sku[Sku("MUG")]
    for write in (
        shop.handlers.add_line(cart_id, AddLine("MUG", 1)),
        shop.handlers.put_line(cart_id, "MUG", PutLine(1)),
        shop.handlers.patch_lines(cart_id, [SetLine("TRAY", 1), SetLine("MUG", 1)]),
    ):
        with pytest.raises(ProductNotFound) as refused:
            await write
        assert refused.value.sku == "MUG"
    assert held(await shop.handlers.put_line(cart_id, "MUG", PutLine(0))) == {}


async def test_putting_a_line_sets_it_or_starts_it_and_zero_removes_it(shop: Shop) -> None:
    cart_id = await shop.cart(MUG=2)
    assert held(await shop.handlers.put_line(cart_id, "MUG", PutLine(7))) == {"MUG": 7}
    assert held(await shop.handlers.put_line(cart_id, "TRAY", PutLine(1))) == {"MUG": 7, "TRAY": 1}
    assert held(await shop.handlers.put_line(cart_id, "MUG", PutLine(0))) == {"TRAY": 1}
    assert held(await shop.handlers.delete_line(cart_id, "TRAY")) == {}


@pytest.mark.parametrize("sku", ["MUG", "\x01v", "", "x" * 65, "\ud800"])
async def test_removing_an_absent_line_is_refused(shop: Shop, sku: str) -> None:
    cart_id = await shop.cart(TRAY=1)
    with pytest.raises(LineNotFound):
        await shop.handlers.delete_line(cart_id, sku)
    with pytest.raises(LineNotFound):
        await shop.handlers.put_line(cart_id, sku, PutLine(0))


async def test_a_malformed_sku_is_not_found_in_a_path_and_invalid_in_a_body(shop: Shop) -> None:
    cart_id = await shop.cart()
    with pytest.raises(ProductNotFound):
        await shop.handlers.put_line(cart_id, "\x01v", PutLine(1))
    with pytest.raises(InvalidBody) as refused:
        await shop.handlers.add_line(cart_id, AddLine("\x01v", 1))
    assert refused.value.errors == [("/sku", SKU_RULE)]


async def test_a_batch_sets_starts_and_removes_lines_and_ignores_absent_ones_to_remove(shop: Shop) -> None:
    shop.prices.set("LAMP", 1)
    cart_id = await shop.cart(MUG=2, TRAY=1)
    view = await shop.handlers.patch_lines(cart_id, [SetLine("LAMP", 5), SetLine("MUG", 0), SetLine("gone", 0)])
    assert held(view) == {"TRAY": 1, "LAMP": 5}
    assert view.version == 4


async def test_an_empty_batch_changes_nothing(shop: Shop) -> None:
    cart_id = await shop.cart(MUG=2)
    assert (await shop.handlers.patch_lines(cart_id, [])).version == 2


async def test_every_fault_of_a_batch_is_reported_and_nothing_is_written(shop: Shop) -> None:
    cart_id = await shop.cart(MUG=2)
    with pytest.raises(InvalidBody) as refused:
        await shop.handlers.patch_lines(cart_id, [SetLine("MUG", 1), SetLine("a\nb", 1), SetLine("MUG", 0)])
    assert refused.value.errors == [
        ("/1/sku", SKU_RULE),
        ("/2/sku", "is named already at /0/sku"),
    ]
    assert held(await shop.handlers.read(cart_id)) == {"MUG": 2}


async def test_a_batch_beyond_the_limits_is_refused(shop: Shop) -> None:
    cart_id = await shop.cart(MUG=2)
    many = [SetLine(str(n), 1) for n in range(4)]
    with pytest.raises(CartFull) as full:
        await shop.handlers.patch_lines(cart_id, many)
    assert full.value.limit == 3
    with pytest.raises(InvalidBody) as long:
        await shop.handlers.patch_lines(cart_id, [SetLine(str(n), 0) for n in range(4)])
    assert long.value.errors == [("", "must have at most 3 lines")]
    with pytest.raises(QuantityLimit) as much:
        await shop.handlers.patch_lines(cart_id, [SetLine("MUG", 51)])
    assert much.value.limit == 50


async def test_a_quantity_far_above_the_limit_is_refused(shop: Shop) -> None:
    cart_id = await shop.cart(MUG=2)
    for quantity in (51, 10**30):
        with pytest.raises(QuantityLimit):
            await shop.handlers.add_line(cart_id, AddLine("TRAY", quantity))
        with pytest.raises(QuantityLimit):
            await shop.handlers.put_line(cart_id, "TRAY", PutLine(quantity))
    with pytest.raises(QuantityLimit):
        await shop.handlers.add_line(cart_id, AddLine("MUG", 49))


async def test_a_product_in_another_currency_is_a_fault_with_the_pointer_of_its_line(shop: Shop) -> None:
    cart_id = await shop.cart(MUG=2)
    detail = "is not priced in GBP, the currency of the cart"
    for write, pointer in (
        (shop.handlers.add_line(cart_id, AddLine("EURO", 1)), "/sku"),
        (shop.handlers.put_line(cart_id, "EURO", PutLine(1)), "/sku"),
        (shop.handlers.patch_lines(cart_id, [SetLine("EURO", 1)]), "/0/sku"),
        (shop.handlers.patch_lines(cart_id, [SetLine("MUG", 0), SetLine("TRAY", 1), SetLine("EURO", 1)]), "/2/sku"),
    ):
        with pytest.raises(InvalidBody) as refused:
            await write
        assert refused.value.errors == [(pointer, detail)]
    assert held(await shop.handlers.read(cart_id)) == {"MUG": 2}


Write = Callable[[Shop, str, int | None], Awaitable[object]]
WRITES: dict[str, Write] = {
    "add_line": lambda shop, cart, match: shop.handlers.add_line(cart, AddLine("TRAY", 1), if_match=match),
    "put_line": lambda shop, cart, match: shop.handlers.put_line(cart, "TRAY", PutLine(1), if_match=match),
    "put_line to 0": lambda shop, cart, match: shop.handlers.put_line(cart, "MUG", PutLine(0), if_match=match),
    "delete_line": lambda shop, cart, match: shop.handlers.delete_line(cart, "MUG", if_match=match),
    "patch_lines": lambda shop, cart, match: shop.handlers.patch_lines(cart, [SetLine("MUG", 5)], if_match=match),
    "delete": lambda shop, cart, match: shop.handlers.delete(cart, if_match=match),
}
every_write = pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())


@every_write
async def test_a_write_with_if_match_needs_that_version(shop: Shop, write: Write) -> None:
    cart_id = await shop.cart(MUG=2)
    for other in (1, 3, -1):
        with pytest.raises(VersionMismatch) as refused:
            await write(shop, cart_id, other)
        assert refused.value.current_version == 2
    await write(shop, cart_id, 2)


@every_write
@pytest.mark.parametrize("cart_id", ["7f" + "a" * 24, "nonsense", "", "7f}" + "a" * 23, "\ud800", "../" * 3])
async def test_an_absent_cart_and_a_malformed_id_are_both_not_found(shop: Shop, write: Write, cart_id: str) -> None:
    with pytest.raises(CartNotFound):
        await write(shop, cart_id, None)
    with pytest.raises(CartNotFound):
        await shop.handlers.read(cart_id)
    with pytest.raises(CartNotFound):
        await shop.handlers.merge(cart_id, MergeCart(await shop.cart(), "sum"))
    with pytest.raises(CartNotFound):
        await shop.handlers.merge(await shop.cart(), MergeCart(cart_id, "sum"))


async def test_a_merged_cart_is_shown_at_current_prices(shop: Shop) -> None:
    source, target = await shop.cart(MUG=2, TRAY=1), await shop.cart(TRAY=4)
    view = await shop.handlers.merge(target, MergeCart(source, "max"), if_match=2)
    assert held(view) == {"TRAY": 4, "MUG": 2}
    assert shown(view)["total"]["amount"] == 910
    closed = shown(await shop.handlers.read(source))
    assert (closed["status"], "order_id" in closed) == ("merged", False)
    with pytest.raises(CartClosed):
        await shop.handlers.add_line(source, AddLine("MUG", 1))


async def test_a_cart_is_not_merged_into_itself(shop: Shop) -> None:
    cart_id = await shop.cart(MUG=2)
    with pytest.raises(InvalidBody) as refused:
        await shop.handlers.merge(cart_id, MergeCart(cart_id, "sum"))
    assert refused.value.errors == [("/from", "must be another cart")]


async def test_a_cart_in_another_currency_is_not_merged(shop: Shop) -> None:
    source = (await shop.handlers.create(NewCart(currency="EUR"))).cart.id
    with pytest.raises(InvalidBody) as refused:
        await shop.handlers.merge(await shop.cart(), MergeCart(source, "sum"))
    assert refused.value.errors == [("/from", "is not priced in GBP, the currency of the cart")]


async def test_a_product_that_is_sold_again_shows_at_the_next_read_from_the_same_mapping(shop: Shop) -> None:
    cart_id = await shop.cart(MUG=2)
    mug = shop.prices.by_sku[Sku("MUG")]
    shop.prices.by_sku = {}
    gone = shown(await shop.handlers.read(cart_id))["lines"][0]
    assert gone["warnings"] == [{"code": "product-unavailable"}]
    shop.prices.by_sku[Sku("MUG")] = mug
    assert "warnings" not in shown(await shop.handlers.read(cart_id))["lines"][0]


class AwayPrices(Prices):
    """A price book that caches nothing, and whose store is away while `is_away` is true."""

    def __init__(self, *, reads_may_have_run: bool) -> None:
        super().__init__()
        self.is_away = False
        self._reads_may_have_run = reads_may_have_run

    @property
    def current(self) -> Mapping[Sku, Product]:
        return {}

    async def products(self, skus: Collection[Sku]) -> Mapping[Sku, Product]:
        if self.is_away:
            raise StoreUnavailable("away", may_have_run=self._reads_may_have_run)
        return self.by_sku


@pytest.mark.parametrize("reads_may_have_run", [False, True])
async def test_a_write_that_fails_at_its_prices_says_whether_the_cart_was_changed(reads_may_have_run: bool) -> None:
    shop, prices = Shop(), AwayPrices(reads_may_have_run=reads_may_have_run)
    handlers, cart_id = CartHandlers(shop.carts, prices), await shop.cart(MUG=1)
    prices.is_away = True
    for before in (
        handlers.add_line(cart_id, AddLine("TRAY", 1)),
        handlers.put_line(cart_id, "TRAY", PutLine(1)),
        handlers.patch_lines(cart_id, [SetLine("TRAY", 1)]),
    ):
        with pytest.raises((Interrupted, StoreUnavailable)) as failed:
            await before
        assert not may_have_run(failed.value)
    assert (await shop.carts.read(cart_id)).version == 2

    await shop.carts.add_line(cart_id, Line(Sku("TRAY"), 1, 100), currency="GBP", write=write_at())
    with pytest.raises(Interrupted) as after:
        await handlers.delete_line(cart_id, "MUG")
    assert after.value.may_have_run
    # The problem names the reason of the cause.
    assert isinstance(after.value.__cause__, StoreUnavailable)
    assert [line.sku for line in (await shop.carts.read(cart_id)).lines] == ["TRAY"]


def write_at() -> PortWrite:
    return PortWrite(now=T0, limits=Limits())
