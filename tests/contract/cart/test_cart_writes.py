"""The contract of the writes of `Carts`: lost replies, idempotency keys, and carts that expire in between."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import pytest

from cart.errors import CartClosed, CartNotFound, IdempotencyKeyReused, LineNotFound, QuantityLimit, VersionMismatch
from cart.idempotency import keyed
from cart.ids import new_cart_id, new_own_cart_id
from cart.model import Cart, CartId, Limits, Line, OrderId, Sku
from cart.ports import KNOWN_KEYS, Carts, Write
from store import StoreUnavailable

if TYPE_CHECKING:
    from .conftest import Adapter

T0 = 1_795_759_200_000  # 2026-11-27T06:00:00Z
LIMITS = Limits(max_quantity=1000)
MUG, TRAY, LAMP = Sku("85123A"), Sku("BANK CHARGES"), Sku("lämpchen 💡")
ORDER = OrderId("7f" + "b" * 24)


def at(*, if_match: int | None = None, owner: str | None = None, key: str | None = None, what: str = "it") -> Write:
    write = Write(now=T0 + 1000, limits=LIMITS, if_match=if_match, owner=owner)
    return write if key is None else keyed(write, key, what)


async def made(carts: Carts, *lines: Line, owner: str | None = None) -> Cart:
    cart = Cart(id=new_cart_id(), currency="GBP", created_at=T0, updated_at=T0, owner=owner)
    await carts.create(cart, limits=LIMITS)
    return await carts.set_lines(cart.id, lines or [Line(MUG, 2, 255)], currency="GBP", write=at(owner=owner))


Act = Callable[[Carts, CartId, CartId, Write], Awaitable[Cart]]
# What each does to a cart of two mugs; the other cart has one lamp.
ACTS: dict[str, tuple[Act, list[tuple[Sku, int]]]] = {
    "add_line": (
        lambda carts, cart, _other, write: carts.add_line(cart, Line(MUG, 1, 255), currency="GBP", write=write),
        [(MUG, 3)],
    ),
    "set_lines": (
        lambda carts, cart, _other, write: carts.set_lines(
            cart, [Line(MUG, 7, 255), Line(TRAY, 1, 100)], currency="GBP", write=write
        ),
        [(MUG, 7), (TRAY, 1)],
    ),
    "remove_line": (lambda carts, cart, _other, write: carts.remove_line(cart, MUG, write=write), []),
    "merge": (lambda carts, cart, other, write: carts.merge(cart, other, "sum", write=write), [(MUG, 2), (LAMP, 1)]),
}
every_act = pytest.mark.parametrize(("act", "then"), ACTS.values(), ids=ACTS.keys())
lost_anywhere = pytest.mark.parametrize("after_running", [False, True], ids=["unsent", "unanswered"])


async def pair(carts: Carts, owner: str | None = None) -> tuple[Cart, Cart]:
    return await made(carts, owner=owner), await made(carts, Line(LAMP, 1, 5), owner=owner)


def held_by(cart: Cart) -> list[tuple[Sku, int]]:
    return [(line.sku, line.quantity) for line in cart.lines]


# Lost replies


@lost_anywhere
@every_act
async def test_a_write_whose_connection_is_lost_has_run_as_its_error_says(
    adapter: Adapter, act: Act, then: list[tuple[Sku, int]], after_running: bool
) -> None:
    cart, other = await pair(adapter.carts)
    # Of a merge, the second call takes over the lines.
    losing = adapter.losing(int(act is ACTS["merge"][0]), after_running=after_running)
    with pytest.raises(StoreUnavailable) as lost:
        await act(losing, cart.id, other.id, at())
    assert lost.value.may_have_run is after_running
    now = await adapter.carts.read(cart.id)
    assert held_by(now) == (then if after_running else [(MUG, 2)])
    assert now.version == cart.version + after_running


@lost_anywhere
async def test_a_deletion_whose_connection_is_lost_has_run_as_its_error_says(
    adapter: Adapter, after_running: bool
) -> None:
    cart = await made(adapter.carts)
    with pytest.raises(StoreUnavailable) as lost:
        await adapter.losing(0, after_running=after_running).delete(cart.id, write=at())
    assert lost.value.may_have_run is after_running
    if after_running:
        with pytest.raises(CartNotFound):
            await adapter.carts.read(cart.id)
    else:
        assert await adapter.carts.read(cart.id) == cart


@lost_anywhere
async def test_a_creation_whose_connection_is_lost_has_run_as_its_error_says(
    adapter: Adapter, after_running: bool
) -> None:
    cart = Cart(id=new_cart_id(), currency="GBP", created_at=T0, updated_at=T0)
    with pytest.raises(StoreUnavailable) as lost:
        await adapter.losing(0, after_running=after_running).create(cart, limits=LIMITS)
    assert lost.value.may_have_run is after_running
    if after_running:
        assert await adapter.carts.read(cart.id) == cart
    else:
        with pytest.raises(CartNotFound):
            await adapter.carts.read(cart.id)


@lost_anywhere
@pytest.mark.parametrize("call", range(5))
@every_act
async def test_a_write_with_a_key_is_done_once_whichever_reply_is_lost(
    adapter: Adapter, act: Act, then: list[tuple[Sku, int]], call: int, after_running: bool
) -> None:
    cart, other = await pair(adapter.carts)
    with contextlib.suppress(StoreUnavailable):
        await act(adapter.losing(call, after_running=after_running), cart.id, other.id, at(key="k1"))
    for _ in range(3):
        done = await act(adapter.carts, cart.id, other.id, at(key="k1"))
        assert (held_by(done), done.version) == (then, cart.version + 1)
    assert held_by(await adapter.carts.read(cart.id)) == then


@lost_anywhere
async def test_a_deletion_with_a_key_may_be_repeated(adapter: Adapter, after_running: bool) -> None:
    cart = await made(adapter.carts)
    with pytest.raises(StoreUnavailable):
        await adapter.losing(0, after_running=after_running).delete(cart.id, write=at(key="k1"))
    for _ in range(2):
        await adapter.carts.delete(cart.id, write=at(key="k1"))
    for write in (at(), at(key="k2"), at(key="k1", what="another"), at(key="k1", owner="ada")):
        with pytest.raises(CartNotFound):
            await adapter.carts.delete(cart.id, write=write)


# Idempotency keys


@every_act
async def test_a_repeated_write_gets_the_cart_as_it_is_now_whatever_has_happened_since(
    adapter: Adapter, act: Act, then: list[tuple[Sku, int]]
) -> None:
    carts = adapter.carts
    cart, other = await pair(carts)
    write = at(key="k1", if_match=cart.version)
    assert held_by(await act(carts, cart.id, other.id, write)) == then
    since = await carts.set_lines(cart.id, [Line(TRAY, 9, 100)], currency="GBP", write=at())
    assert await act(carts, cart.id, other.id, write) == since
    await adapter.order(since, ORDER)
    repeated = await act(carts, cart.id, other.id, write)
    assert (repeated.status, repeated.order_id, repeated.lines) == ("ordered", ORDER, since.lines)
    with pytest.raises((CartClosed, IdempotencyKeyReused)):
        await carts.add_line(cart.id, Line(MUG, 1, 255), currency="GBP", write=at(key="k2"))


@every_act
async def test_a_key_that_was_used_for_another_write_is_refused(
    carts: Carts, act: Act, then: list[tuple[Sku, int]]
) -> None:
    cart, other = await pair(carts)
    done = await act(carts, cart.id, other.id, at(key="k1"))
    another = await made(carts, Line(LAMP, 5, 5))
    for again in [act for act, _ in ACTS.values()]:
        with pytest.raises(IdempotencyKeyReused):
            await again(carts, cart.id, another.id, at(key="k1", what="another"))
    with pytest.raises(IdempotencyKeyReused):
        await carts.delete(cart.id, write=at(key="k1", what="another"))
    assert await carts.read(cart.id) == done
    assert await carts.read(another.id) == another
    assert held_by(done) == then


async def test_a_refused_write_leaves_its_key_unused(carts: Carts) -> None:
    cart, other = await pair(carts)
    refused: list[tuple[type[Exception], Act, Write]] = [
        (VersionMismatch, ACTS["add_line"][0], at(key="k1", if_match=99)),
        (VersionMismatch, ACTS["merge"][0], at(key="k1", if_match=99)),
        (LineNotFound, lambda carts, cart, _, write: carts.remove_line(cart, LAMP, write=write), at(key="k1")),
        (
            QuantityLimit,
            lambda carts, cart, _, write: carts.add_line(cart, Line(MUG, 999, 5), currency="GBP", write=write),
            at(key="k1"),
        ),
    ]
    for why, act, write in refused:
        with pytest.raises(why):
            await act(carts, cart.id, other.id, write)
    added = await carts.add_line(cart.id, Line(MUG, 1, 255), currency="GBP", write=at(key="k1", what="yet another"))
    assert held_by(added) == [(MUG, 3)]


async def test_a_write_without_a_change_uses_its_key(carts: Carts) -> None:
    cart = await made(carts)
    same = [Line(MUG, 2, 255)]
    assert await carts.set_lines(cart.id, same, currency="GBP", write=at(key="k1")) == cart
    changed = await carts.set_lines(cart.id, [Line(MUG, 9, 255)], currency="GBP", write=at())
    assert await carts.set_lines(cart.id, same, currency="GBP", write=at(key="k1")) == changed


async def test_the_keys_of_the_last_writes_are_known(carts: Carts) -> None:
    cart = await made(carts)
    for n in range(KNOWN_KEYS + 1):
        await carts.add_line(cart.id, Line(MUG, 1, 255), currency="GBP", write=at(key=f"k{n}"))
    quantity = 2 + KNOWN_KEYS + 1
    for n in range(1, KNOWN_KEYS + 1):
        known = await carts.add_line(cart.id, Line(MUG, 1, 255), currency="GBP", write=at(key=f"k{n}"))
        assert held_by(known) == [(MUG, quantity)]
    forgotten = await carts.add_line(cart.id, Line(MUG, 1, 255), currency="GBP", write=at(key="k0"))
    assert held_by(forgotten) == [(MUG, quantity + 1)]


async def test_the_same_key_belongs_to_each_cart_by_itself(carts: Carts) -> None:
    one, other = await pair(carts)
    for cart in (one, other):
        await carts.add_line(cart.id, Line(TRAY, 1, 100), currency="GBP", write=at(key="k1"))
    assert [(TRAY, 1) in held_by(await carts.read(cart.id)) for cart in (one, other)] == [True, True]


async def test_a_repeated_write_of_another_shopper_finds_no_cart(carts: Carts) -> None:
    cart, other = await pair(carts, owner="ada")
    for act, _ in ACTS.values():
        with contextlib.suppress(LineNotFound):
            await act(carts, cart.id, other.id, at(key=str(id(act)), owner="ada"))
        for stranger in (None, "bob"):
            with pytest.raises(CartNotFound):
                await act(carts, cart.id, other.id, at(key=str(id(act)), owner=stranger))


@every_act
async def test_of_simultaneous_writes_with_one_key_one_is_done(
    carts: Carts, act: Act, then: list[tuple[Sku, int]]
) -> None:
    cart, other = await pair(carts)
    results = await asyncio.gather(*(act(carts, cart.id, other.id, at(key="k1")) for _ in range(10)))
    assert {result.version for result in results} == {cart.version + 1}
    assert held_by(await carts.read(cart.id)) == then


# Clocks


async def test_processes_whose_clocks_differ_or_are_set_back_change_one_cart(carts: Carts) -> None:
    cart = await made(carts)
    last = cart.updated_at
    for n, off_ms in enumerate((600_000, -600_000, 0, 3_600_000, -86_400_000, 1), start=1):
        write = Write(now=T0 + off_ms, limits=LIMITS)
        changed = await carts.add_line(cart.id, Line(MUG, 1, 255), currency="GBP", write=write)
        assert (changed.version, held_by(changed)) == (cart.version + n, [(MUG, 2 + n)])
        assert changed.updated_at == max(last, T0 + off_ms)
        last = changed.updated_at
        assert await carts.read(cart.id) == changed
    other = await made(carts, Line(LAMP, 1, 5))
    merged = await carts.merge(cart.id, other.id, "sum", write=Write(now=T0 - 600_000, limits=LIMITS))
    assert (merged.updated_at, merged.version) == (last, cart.version + 7)


# The own cart of a shopper


def own(owner: str) -> Cart:
    return Cart(id=new_own_cart_id(owner), currency="GBP", created_at=T0, updated_at=T0, owner=owner)


async def test_a_shopper_has_one_own_cart_as_long_as_it_is_open(carts: Carts) -> None:
    first = own("ada")
    assert await carts.own(first, limits=LIMITS) == first
    changed = await carts.add_line(first.id, Line(MUG, 1, 255), currency="GBP", write=at(owner="ada"))
    for _ in range(3):
        assert await carts.own(own("ada"), limits=LIMITS) == changed
    assert (await carts.own(own("bob"), limits=LIMITS)).id != first.id


async def test_after_the_own_cart_is_closed_deleted_or_expired_there_is_another(adapter: Adapter) -> None:
    carts = adapter.carts

    async def order(cart: Cart) -> None:
        await adapter.order(cart, ORDER)

    async def delete(cart: Cart) -> None:
        await carts.delete(cart.id, write=at(owner="ada"))

    async def merge(cart: Cart) -> None:
        await carts.merge((await made(carts, owner="ada")).id, cart.id, "sum", write=at(owner="ada"))

    cart = await carts.own(own("ada"), limits=LIMITS)
    for end in (order, delete, merge, adapter.expire):
        await end(cart)
        following = own("ada")
        assert await carts.own(following, limits=LIMITS) == following
        assert await carts.own(own("ada"), limits=LIMITS) == following
        cart = following


async def test_simultaneous_first_calls_get_the_same_own_cart(carts: Carts) -> None:
    for owner in ("ada", "bob", "", "é" * 40):
        found = await asyncio.gather(*(carts.own(own(owner), limits=LIMITS) for _ in range(20)))
        assert len({cart.id for cart in found}) == 1
        assert await carts.read(found[0].id, owner=owner) == found[0]


async def test_an_anonymous_cart_is_merged_into_the_own_one(carts: Carts) -> None:
    mine, anonymous = await carts.own(own("ada"), limits=LIMITS), await made(carts)
    merged = await carts.merge(mine.id, anonymous.id, "sum", write=at(owner="ada"))
    assert await carts.own(own("ada"), limits=LIMITS) == merged
    assert held_by(merged) == [(MUG, 2)]


@lost_anywhere
@pytest.mark.parametrize("call", range(3))
async def test_a_first_call_whose_connection_is_lost_leaves_one_own_cart_at_most(
    adapter: Adapter, call: int, after_running: bool
) -> None:
    with pytest.raises(StoreUnavailable):
        await adapter.losing(call, after_running=after_running).own(own("ada"), limits=LIMITS)
    found = await adapter.carts.own(own("ada"), limits=LIMITS)
    assert await adapter.carts.own(own("ada"), limits=LIMITS) == found


# Carts that expire


@every_act
async def test_a_cart_that_expired_since_it_was_read_is_not_found(
    adapter: Adapter, act: Act, then: list[tuple[Sku, int]]
) -> None:
    cart, other = await pair(adapter.carts)
    await act(adapter.carts, cart.id, other.id, at(key="k1"))
    assert held_by(await adapter.carts.read(cart.id)) == then
    await adapter.expire(cart)
    for write in (at(), at(key="k1"), at(key="k2")):
        with pytest.raises(CartNotFound):
            await act(adapter.carts, cart.id, other.id, write)
    with pytest.raises(CartNotFound):
        await adapter.carts.read(cart.id)
    with pytest.raises(CartNotFound):
        await adapter.carts.delete(cart.id, write=at())


async def test_a_merge_with_a_cart_that_has_expired_changes_nothing(adapter: Adapter) -> None:
    cart, other = await pair(adapter.carts)
    await adapter.expire(other)
    with pytest.raises(CartNotFound):
        await adapter.carts.merge(cart.id, other.id, "sum", write=at())
    assert await adapter.carts.read(cart.id) == cart
    with pytest.raises(CartNotFound):
        await adapter.carts.merge(other.id, cart.id, "sum", write=at())
    assert await adapter.carts.read(cart.id) == cart
    await adapter.carts.settle(other.id)
    with pytest.raises(CartNotFound):
        await adapter.carts.read(other.id)
