"""The contract of `Carts`, for both adapters."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from cart.bodies import SetLine
from cart.catalog.memory import MemoryCatalog
from cart.catalog.model import CatalogRow
from cart.errors import (
    CartClosed,
    CartFull,
    CartNotFound,
    ForeignCurrency,
    InvalidBody,
    LineNotFound,
    QuantityLimit,
    Refusal,
    VersionMismatch,
)
from cart.handlers import CartHandlers
from cart.ids import new_cart_id
from cart.model import Cart, CartId, Limits, Line, OrderId, Sku, Strategy
from cart.ports import SEVERAL_CURRENCIES, Carts, Write

if TYPE_CHECKING:
    from .conftest import Adapter

T0 = 1_795_759_200_000  # 2026-11-27T06:00:00Z
LIMITS = Limits(max_lines=5, max_quantity=100)
MUG, TRAY, LAMP = Sku("85123A"), Sku("BANK CHARGES"), Sku("lämpchen 💡")

Call = Callable[[Carts, CartId, Write], Awaitable[object]]
WRITES: dict[str, Call] = {
    "add_line": lambda carts, cart_id, write: carts.add_line(cart_id, Line(LAMP, 1, 5), currency="GBP", write=write),
    "set_lines": lambda carts, cart_id, write: carts.set_lines(
        cart_id, [Line(LAMP, 1, 5)], currency="GBP", write=write
    ),
    "remove_line": lambda carts, cart_id, write: carts.remove_line(cart_id, MUG, write=write),
    "delete": lambda carts, cart_id, write: carts.delete(cart_id, write=write),
}
every_write = pytest.mark.parametrize("call", WRITES.values(), ids=WRITES.keys())


def at(
    now: int = T0 + 1000, *, if_match: int | None = None, owner: str | None = None, limits: Limits = LIMITS
) -> Write:
    return Write(now=now, limits=limits, if_match=if_match, owner=owner)


def lines(*pairs: tuple[Sku, int], quoted: int = 255) -> list[Line]:
    return [Line(sku, quantity, quoted) for sku, quantity in pairs]


async def made(
    carts: Carts, *held: tuple[Sku, int], owner: str | None = None, currency: str = "GBP", quoted: int = 255
) -> Cart:
    """A cart with these lines."""
    cart = Cart(id=new_cart_id(), currency=currency, created_at=T0, updated_at=T0, owner=owner)
    await carts.create(cart, limits=LIMITS)
    if not held:
        return cart
    return await carts.set_lines(cart.id, lines(*held, quoted=quoted), currency=currency, write=at(T0, owner=owner))


def held_by(cart: Cart) -> list[tuple[Sku, int]]:
    return [(line.sku, line.quantity) for line in cart.lines]


async def test_a_new_cart_is_read_back_as_it_was_made(carts: Carts) -> None:
    cart = await made(carts)
    assert await carts.read(cart.id) == cart
    assert cart.version == 1


async def test_a_written_cart_is_read_back_as_the_write_returned_it(carts: Carts) -> None:
    cart = await made(carts, (MUG, 2), (TRAY, 100), (LAMP, 1))
    assert held_by(cart) == [(MUG, 2), (TRAY, 100), (LAMP, 1)]
    assert await carts.read(cart.id) == cart


@every_write
async def test_an_unknown_cart_is_not_found(carts: Carts, call: Call) -> None:
    with pytest.raises(CartNotFound):
        await call(carts, new_cart_id(), at())
    with pytest.raises(CartNotFound):
        await carts.read(new_cart_id())


@every_write
async def test_an_owned_cart_is_found_by_its_owner_only(carts: Carts, call: Call) -> None:
    cart = await made(carts, (MUG, 1), owner="ada")
    for stranger in (None, "bob"):
        with pytest.raises(CartNotFound):
            await call(carts, cart.id, at(owner=stranger))
        with pytest.raises(CartNotFound):
            await carts.read(cart.id, owner=stranger)
    assert await carts.read(cart.id, owner="ada") == cart
    await call(carts, cart.id, at(owner="ada"))


async def test_a_cart_cached_for_its_owner_is_not_shown_to_others(carts: Carts) -> None:
    cart = await made(carts, (MUG, 1), owner="ada")
    for stranger in (None, "bob", "", "ad", "ada "):
        assert await carts.read(cart.id, owner="ada") == cart
        with pytest.raises(CartNotFound):
            await carts.read(cart.id, owner=stranger)


async def test_a_finished_merge_is_repeated_to_the_owner_only(carts: Carts) -> None:
    source, target = await made(carts, (MUG, 1)), await made(carts, owner="ada")
    merged = await carts.merge(target.id, source.id, "sum", write=at(owner="ada"))
    for stranger in (None, "bob"):
        with pytest.raises(CartNotFound):
            await carts.merge(target.id, source.id, "sum", write=at(owner=stranger))
    assert await carts.merge(target.id, source.id, "sum", write=at(owner="ada")) == merged


async def test_an_owner_may_give_the_lines_of_a_cart_to_one_without_an_owner(carts: Carts) -> None:
    source, target = await made(carts, (MUG, 1), owner="ada"), await made(carts)
    merged = await carts.merge(target.id, source.id, "sum", write=at(owner="ada"))
    assert (held_by(merged), merged.owner) == ([(MUG, 1)], None)
    with pytest.raises(CartNotFound):
        await carts.read(source.id)


async def test_a_cart_without_an_owner_is_open_to_every_client_with_its_id(carts: Carts) -> None:
    cart = await made(carts, (MUG, 1))
    assert await carts.read(cart.id, owner="ada") == cart


async def test_adding_the_same_sku_again_adds_up_in_its_position_at_the_new_price(carts: Carts) -> None:
    cart = await made(carts, (MUG, 2), (TRAY, 1))
    cart = await carts.add_line(cart.id, Line(MUG, 3, 299), currency="GBP", write=at())
    assert cart.lines == (Line(MUG, 5, 299), Line(TRAY, 1, 255))


async def test_a_line_removed_and_added_again_goes_to_the_end(carts: Carts) -> None:
    cart = await made(carts, (MUG, 2), (TRAY, 1))
    await carts.remove_line(cart.id, MUG, write=at())
    cart = await carts.add_line(cart.id, Line(MUG, 1, 255), currency="GBP", write=at())
    assert held_by(cart) == [(TRAY, 1), (MUG, 1)]
    assert await carts.read(cart.id) == cart


async def test_a_change_raises_the_version_by_one_and_sets_the_time(carts: Carts) -> None:
    cart = await made(carts, (MUG, 2))
    changed = await carts.add_line(cart.id, Line(MUG, 1, 255), currency="GBP", write=at(T0 + 77))
    assert (changed.version, changed.updated_at, changed.created_at) == (cart.version + 1, T0 + 77, T0)


async def test_a_slow_clock_does_not_turn_the_time_of_a_cart_back(carts: Carts) -> None:
    cart = await made(carts, (MUG, 2))
    changed = await carts.add_line(cart.id, Line(MUG, 1, 255), currency="GBP", write=at(T0 - 5000))
    assert (changed.version, changed.updated_at) == (cart.version + 1, T0)
    assert await carts.read(cart.id) == changed


async def test_a_write_without_a_change_leaves_version_and_time(carts: Carts) -> None:
    cart = await made(carts, (MUG, 2))
    again = await carts.set_lines(cart.id, lines((MUG, 2), (LAMP, 0)), currency="GBP", write=at(T0 + 77))
    assert again == cart
    assert await carts.set_lines(cart.id, [], currency=None, write=at(T0 + 77)) == cart
    assert await carts.read(cart.id) == cart


async def test_the_same_quantity_at_another_price_is_a_change(carts: Carts) -> None:
    cart = await made(carts, (MUG, 2))
    changed = await carts.set_lines(cart.id, [Line(MUG, 2, 299)], currency="GBP", write=at())
    assert changed.version == cart.version + 1
    assert changed.lines == (Line(MUG, 2, 299),)


async def test_setting_lines_starts_changes_and_removes_them_at_once(carts: Carts) -> None:
    cart = await made(carts, (MUG, 2), (TRAY, 1))
    changed = await carts.set_lines(cart.id, lines((LAMP, 7), (MUG, 0), (TRAY, 9)), currency="GBP", write=at())
    assert held_by(changed) == [(TRAY, 9), (LAMP, 7)]
    assert changed.version == cart.version + 1
    assert await carts.read(cart.id) == changed


async def test_removing_the_last_line_leaves_an_empty_cart(carts: Carts) -> None:
    cart = await made(carts, (MUG, 2))
    emptied = await carts.remove_line(cart.id, MUG, write=at())
    assert (emptied.lines, emptied.version) == ((), cart.version + 1)
    assert await carts.read(cart.id) == emptied


async def test_removing_an_absent_line_is_refused(carts: Carts) -> None:
    cart = await made(carts, (MUG, 2))
    with pytest.raises(LineNotFound) as refused:
        await carts.remove_line(cart.id, LAMP, write=at())
    assert refused.value.sku == LAMP
    assert await carts.read(cart.id) == cart


async def test_a_full_cart_refuses_another_line_but_accepts_more_of_its_skus(carts: Carts) -> None:
    cart = await made(carts, *((Sku(f"sku-{n}"), 1) for n in range(5)))
    for refused_write in (
        carts.add_line(cart.id, Line(LAMP, 1, 5), currency="GBP", write=at()),
        carts.set_lines(cart.id, lines((LAMP, 1), (Sku("sku-0"), 9)), currency="GBP", write=at()),
    ):
        with pytest.raises(CartFull) as refused:
            await refused_write
        assert refused.value.limit == 5
    assert await carts.read(cart.id) == cart
    assert (await carts.add_line(cart.id, Line(Sku("sku-0"), 1, 5), currency="GBP", write=at())).item_count == 6
    swapped = await carts.set_lines(cart.id, lines((LAMP, 1), (Sku("sku-0"), 0)), currency="GBP", write=at())
    assert len(swapped.lines) == 5


async def test_an_owned_cart_may_be_just_as_full(carts: Carts) -> None:
    cart = await made(carts, *((Sku(f"sku-{n}"), 1) for n in range(5)), owner="ada")
    with pytest.raises(CartFull):
        await carts.add_line(cart.id, Line(LAMP, 1, 5), currency="GBP", write=at(owner="ada"))


async def test_a_cart_above_a_limit_lowered_since_may_shrink_but_not_grow(carts: Carts) -> None:
    cart = await made(carts, (MUG, 50), (TRAY, 2), (LAMP, 1))
    tight = at(limits=Limits(max_lines=1, max_quantity=10))
    with pytest.raises(CartFull):
        await carts.add_line(cart.id, Line(Sku("new"), 1, 5), currency="GBP", write=tight)
    with pytest.raises(QuantityLimit):
        await carts.add_line(cart.id, Line(MUG, 1, 5), currency="GBP", write=tight)
    changed = await carts.set_lines(cart.id, lines((MUG, 40), (TRAY, 0)), currency="GBP", write=tight)
    assert held_by(changed) == [(MUG, 40), (LAMP, 1)]


async def test_a_quantity_above_the_limit_is_refused(carts: Carts) -> None:
    cart = await made(carts, (MUG, 99))
    assert (await carts.add_line(cart.id, Line(MUG, 1, 255), currency="GBP", write=at())).item_count == 100
    cart = await carts.read(cart.id)
    for refused_write in (
        carts.add_line(cart.id, Line(MUG, 1, 255), currency="GBP", write=at()),
        carts.add_line(cart.id, Line(LAMP, 101, 255), currency="GBP", write=at()),
        carts.set_lines(cart.id, lines((TRAY, 1), (LAMP, 101)), currency="GBP", write=at()),
    ):
        with pytest.raises(QuantityLimit) as refused:
            await refused_write
        assert refused.value.limit == 100
    assert await carts.read(cart.id) == cart


async def test_a_foreign_currency_is_refused_with_the_carts_own(carts: Carts) -> None:
    cart = await made(carts, (MUG, 1))
    for refused_write in (
        carts.add_line(cart.id, Line(LAMP, 1, 5), currency="EUR", write=at()),
        carts.set_lines(cart.id, lines((LAMP, 1)), currency="EUR", write=at()),
    ):
        with pytest.raises(ForeignCurrency) as refused:
            await refused_write
        assert refused.value.currency == "GBP"
    assert await carts.read(cart.id) == cart


async def test_lines_in_several_currencies_are_refused(carts: Carts) -> None:
    for cart in (await made(carts), await made(carts, (MUG, 1)), await made(carts, (MUG, 1), currency="EUR")):
        with pytest.raises(ForeignCurrency) as refused:
            await carts.set_lines(cart.id, lines((LAMP, 1), (TRAY, 2)), currency=SEVERAL_CURRENCIES, write=at())
        assert refused.value.currency == cart.currency
        assert await carts.read(cart.id) == cart


@pytest.mark.parametrize("own", ["GBP", "EUR", "JPY"])
async def test_a_call_that_sets_lines_in_two_currencies_is_refused_and_names_those_that_are_foreign(
    carts: Carts, own: str
) -> None:
    catalog = MemoryCatalog()
    await catalog.put([CatalogRow(MUG, "mug", 255, "GBP", 9), CatalogRow(LAMP, "lamp", 300, "EUR", 9)])
    handlers = CartHandlers(carts, catalog)
    cart = await made(carts, currency=own)
    with pytest.raises(InvalidBody) as refused:
        await handlers.patch_lines(cart.id, [SetLine(MUG, 1), SetLine(LAMP, 1)])
    foreign = {"GBP": ["/1/sku"], "EUR": ["/0/sku"], "JPY": ["/0/sku", "/1/sku"]}[own]
    assert [pointer for pointer, _ in refused.value.errors] == foreign
    assert await carts.read(cart.id) == cart


async def test_the_currency_of_a_line_to_be_removed_does_not_matter(carts: Carts) -> None:
    catalog = MemoryCatalog()
    await catalog.put([CatalogRow(MUG, "mug", 255, "GBP", 9), CatalogRow(LAMP, "lamp", 300, "EUR", 9)])
    cart = await made(carts, (LAMP, 1))
    patched = await CartHandlers(carts, catalog).patch_lines(cart.id, [SetLine(MUG, 1), SetLine(LAMP, 0)])
    assert held_by(patched.cart) == [(MUG, 1)]


@every_write
async def test_the_cart_of_an_owner_with_an_empty_name_is_not_open_to_all(carts: Carts, call: Call) -> None:
    cart, target = await made(carts, (MUG, 1), owner=""), await made(carts)
    with pytest.raises(CartNotFound):
        await call(carts, cart.id, at())
    with pytest.raises(CartNotFound):
        await carts.merge(target.id, cart.id, "sum", write=at())
    assert await carts.read(cart.id, owner="") == cart


@every_write
@pytest.mark.parametrize("other", [-1, 1, 3])
async def test_a_write_for_another_version_is_refused_with_the_current_one(
    carts: Carts, call: Call, other: int
) -> None:
    cart = await made(carts, (MUG, 1))
    with pytest.raises(VersionMismatch) as refused:
        await call(carts, cart.id, at(if_match=other))
    assert refused.value.current_version == 2
    assert await carts.read(cart.id) == cart


@every_write
async def test_a_write_for_the_current_version_is_accepted(carts: Carts, call: Call) -> None:
    cart = await made(carts, (MUG, 1))
    await call(carts, cart.id, at(if_match=cart.version))
    if call is WRITES["delete"]:
        with pytest.raises(CartNotFound):
            await carts.read(cart.id)
        return
    changed = await carts.read(cart.id)
    assert changed.version == cart.version + 1
    assert changed.lines != cart.lines


@every_write
async def test_an_ordered_cart_is_closed_and_names_its_order(adapter: Adapter, call: Call) -> None:
    cart = await made(adapter.carts, (MUG, 1))
    await adapter.order(cart, OrderId("7f" + "b" * 24))
    with pytest.raises(CartClosed) as refused:
        await call(adapter.carts, cart.id, at(if_match=-1))
    assert refused.value.order_id == "7f" + "b" * 24
    ordered = await adapter.carts.read(cart.id)
    assert (ordered.status, ordered.order_id, ordered.lines) == ("ordered", "7f" + "b" * 24, cart.lines)


async def test_a_deleted_cart_is_not_found(carts: Carts) -> None:
    cart = await made(carts, (MUG, 1))
    await carts.delete(cart.id, write=at())
    with pytest.raises(CartNotFound):
        await carts.read(cart.id)
    with pytest.raises(CartNotFound):
        await carts.delete(cart.id, write=at())


async def test_concurrent_additions_lose_nothing(carts: Carts) -> None:
    cart = await made(carts)
    results = await asyncio.gather(
        *(carts.add_line(cart.id, Line(MUG, 1, 255), currency="GBP", write=at()) for _ in range(50))
    )
    assert sorted(result.version for result in results) == list(range(2, 52))
    assert all(result.item_count == result.version - 1 for result in results)
    assert held_by(await carts.read(cart.id)) == [(MUG, 50)]


async def test_thousands_of_lines_are_set_in_one_write(carts: Carts) -> None:
    roomy = at(limits=Limits(max_lines=4500))
    cart = await made(carts)
    many = [Line(Sku(f"sku-{n}"), 1 + n % 9, n) for n in range(4500)]
    cart = await carts.set_lines(cart.id, many, currency="GBP", write=roomy)
    assert cart.lines == tuple(many)
    half = await carts.set_lines(
        cart.id, [Line(line.sku, 0, 0) for line in many[::2]] + lines((LAMP, 1)), currency="GBP", write=roomy
    )
    assert half.lines == (*many[1::2], Line(LAMP, 1, 255))
    assert await carts.read(cart.id) == half


@pytest.mark.parametrize(("strategy", "mugs", "trays"), [("sum", 2 + 3, 9 + 1), ("max", 3, 9), ("keep", 2, 9)], ids=str)
async def test_a_merge_takes_the_lines_of_the_other_cart(
    carts: Carts, strategy: Strategy, mugs: int, trays: int
) -> None:
    source = await made(carts, (LAMP, 4), (TRAY, 1), (MUG, 3), quoted=99)
    target = await made(carts, (MUG, 2), (TRAY, 9))
    merged = await carts.merge(target.id, source.id, strategy, write=at(if_match=target.version))
    assert merged.lines == (Line(MUG, mugs, 255), Line(TRAY, trays, 255), Line(LAMP, 4, 99))
    assert (merged.version, merged.updated_at) == (target.version + 1, T0 + 1000)
    assert await carts.read(target.id) == merged


async def test_the_source_of_a_merge_is_closed_and_has_its_lines_as_a_record(carts: Carts) -> None:
    source, target = await made(carts, (LAMP, 4)), await made(carts, (MUG, 2))
    await carts.merge(target.id, source.id, "sum", write=at())
    closed = await carts.read(source.id)
    assert closed == msgspec.structs.replace(
        source, status="merged", merged_into=target.id, version=source.version + 1, updated_at=T0 + 1000
    )
    for call in WRITES.values():
        with pytest.raises(CartClosed) as refused:
            await call(carts, source.id, at())
        assert refused.value.order_id is None


async def test_a_repeated_merge_returns_the_cart_and_changes_nothing(carts: Carts) -> None:
    source, target = await made(carts, (MUG, 4)), await made(carts, (MUG, 2))
    merged = await carts.merge(target.id, source.id, "sum", write=at(if_match=target.version))
    assert await carts.merge(target.id, source.id, "sum", write=at(if_match=target.version)) == merged
    changed = await carts.add_line(target.id, Line(LAMP, 1, 5), currency="GBP", write=at())
    assert await carts.merge(target.id, source.id, "max", write=at()) == changed


async def test_simultaneous_equal_merges_are_done_once(carts: Carts) -> None:
    source, target = await made(carts, (MUG, 4)), await made(carts, (MUG, 2))
    results = await asyncio.gather(*(carts.merge(target.id, source.id, "sum", write=at()) for _ in range(10)))
    assert {result.item_count for result in results} == {6}


async def test_of_two_simultaneous_mutual_merges_one_is_done_and_the_other_finds_its_source_closed(
    carts: Carts,
) -> None:
    for _ in range(20):
        one, other = await made(carts, (MUG, 1)), await made(carts, (LAMP, 2))
        results = await asyncio.gather(
            carts.merge(one.id, other.id, "sum", write=at()),
            carts.merge(other.id, one.id, "sum", write=at()),
            return_exceptions=True,
        )
        assert sorted(type(result).__name__ for result in results) == ["Cart", "CartClosed"]
        ends = [await carts.read(cart.id) for cart in (one, other)]
        assert sorted(cart.status for cart in ends) == ["merged", "open"]
        assert [cart.item_count for cart in ends if cart.status == "open"] == [3]


async def test_of_three_carts_merged_in_a_circle_one_keeps_the_lines_of_all_that_were_merged(carts: Carts) -> None:
    for _ in range(20):
        circle = [await made(carts, (sku, 1)) for sku in (MUG, TRAY, LAMP)]
        results = await asyncio.gather(
            *(carts.merge(circle[n - 1].id, circle[n].id, "sum", write=at()) for n in range(3)), return_exceptions=True
        )
        assert {type(result).__name__ for result in results} == {"Cart", "CartClosed"}
        ends = [await carts.read(cart.id) for cart in circle]
        assert sum(cart.item_count for cart in ends if cart.status == "open") == 3


async def test_of_simultaneous_merges_of_a_cart_into_several_others_one_is_done(carts: Carts) -> None:
    for _ in range(10):
        source, targets = await made(carts, (MUG, 4)), [await made(carts) for _ in range(4)]
        results = await asyncio.gather(
            *(carts.merge(target.id, source.id, "sum", write=at()) for target in targets), return_exceptions=True
        )
        assert sorted(type(result).__name__ for result in results) == ["Cart", *["CartClosed"] * 3]
        assert sum([(await carts.read(target.id)).item_count for target in targets]) == 4


async def test_an_empty_cart_is_merged_without_changing_the_other(carts: Carts) -> None:
    source, target = await made(carts), await made(carts, (MUG, 2))
    assert await carts.merge(target.id, source.id, "sum", write=at()) == target
    assert (await carts.read(source.id)).status == "merged"


async def test_an_anonymous_cart_is_merged_into_an_owned_one(carts: Carts) -> None:
    source, target = await made(carts, (MUG, 1)), await made(carts, owner="ada")
    merged = await carts.merge(target.id, source.id, "sum", write=at(owner="ada"))
    assert (held_by(merged), merged.owner) == ([(MUG, 1)], "ada")


async def refused_merge(carts: Carts, target: CartId, source: Cart, why: type[Exception], **write: Any) -> Exception:
    """A merge that is refused, and leaves its source as it was."""
    with pytest.raises(why) as refused:
        await carts.merge(target, source.id, "sum", write=at(**write))
    assert await carts.read(source.id, owner=source.owner) == source
    more = await carts.add_line(source.id, Line(LAMP, 1, 5), currency=source.currency, write=at(owner=source.owner))
    assert more.version == source.version + 1
    return refused.value


async def test_a_merge_into_an_unknown_cart_leaves_the_source(carts: Carts) -> None:
    await refused_merge(carts, new_cart_id(), await made(carts, (MUG, 1)), CartNotFound)


async def test_a_merge_of_an_unknown_cart_leaves_the_target(carts: Carts) -> None:
    target = await made(carts, (MUG, 1))
    with pytest.raises(CartNotFound):
        await carts.merge(target.id, new_cart_id(), "sum", write=at())
    assert await carts.read(target.id) == target


async def test_the_cart_of_another_shopper_cannot_be_merged(carts: Carts) -> None:
    mine, theirs = await made(carts, (MUG, 1)), await made(carts, (MUG, 1), owner="ada")
    await refused_merge(carts, mine.id, theirs, CartNotFound, owner="bob")
    await refused_merge(carts, theirs.id, await made(carts, (MUG, 1)), CartNotFound, owner="bob")


async def test_a_merge_beyond_a_limit_changes_neither_cart(carts: Carts) -> None:
    target = await made(carts, (MUG, 99), (TRAY, 1))
    await refused_merge(carts, target.id, await made(carts, (TRAY, 1), (MUG, 2)), QuantityLimit)
    await refused_merge(carts, target.id, await made(carts, *((Sku(f"{n}"), 1) for n in range(4))), CartFull)
    assert await carts.read(target.id) == target


async def test_a_merge_across_currencies_changes_neither_cart(carts: Carts) -> None:
    target = await made(carts, (MUG, 1))
    foreign = await made(carts, (TRAY, 1), currency="EUR")
    refused = await refused_merge(carts, target.id, foreign, ForeignCurrency)
    assert isinstance(refused, ForeignCurrency)
    assert refused.currency == "GBP"
    assert await carts.read(target.id) == target


async def test_a_merge_for_another_version_of_the_target_changes_neither_cart(carts: Carts) -> None:
    target = await made(carts, (MUG, 1))
    await refused_merge(carts, target.id, await made(carts, (TRAY, 1)), VersionMismatch, if_match=9)
    assert await carts.read(target.id) == target


async def test_a_merge_into_a_closed_cart_leaves_the_source(adapter: Adapter) -> None:
    target = await made(adapter.carts, (MUG, 1))
    await adapter.order(target, OrderId("7f" + "b" * 24))
    refused = await refused_merge(adapter.carts, target.id, await made(adapter.carts, (TRAY, 1)), CartClosed)
    assert isinstance(refused, CartClosed)
    assert refused.order_id == "7f" + "b" * 24


async def test_a_closed_cart_is_not_merged(adapter: Adapter) -> None:
    carts = adapter.carts
    ordered, merged, target = await made(carts, (MUG, 1)), await made(carts, (MUG, 1)), await made(carts)
    await adapter.order(ordered, OrderId("7f" + "b" * 24))
    await carts.merge((await made(carts)).id, merged.id, "sum", write=at())
    for source, order_id in ((ordered, "7f" + "b" * 24), (merged, None)):
        with pytest.raises(CartClosed) as refused:
            await carts.merge(target.id, source.id, "sum", write=at())
        assert refused.value.order_id == order_id


async def test_settling_a_cart_that_is_not_merging_does_nothing(carts: Carts) -> None:
    cart = await made(carts, (MUG, 1))
    await carts.settle(cart.id)
    await carts.settle(new_cart_id())
    assert await carts.read(cart.id) == cart


def test_a_foreign_currency_is_an_error_between_adapter_and_handlers_only() -> None:
    assert not issubclass(ForeignCurrency, Refusal)
