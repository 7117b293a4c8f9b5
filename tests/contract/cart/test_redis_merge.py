"""Merges that are killed at any store call or race with any other call lose no line and double none."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from cart.errors import CartClosed, CartNotFound, QuantityLimit, Refusal
from cart.ids import new_cart_id
from cart.model import Cart, CartId, Limits, Line, Sku
from cart.ports import Write
from cart.redis_carts import RedisCarts
from cart.redis_merge import Merges
from cart.stored import cart_key, hash_of, marker_key
from store import ClusterClient, Store, StoreClient, StoreError, StoreUnavailable
from tests.contract.cart.stores import DisturbedStore, KilledStore, Racer, RecordingStore, race

pytestmark = pytest.mark.slow

T0 = 1_795_759_200_000
LIMITS = Limits(max_quantity=1000)
MUG, TRAY, LAMP = Sku("85123A"), Sku("BANK CHARGES"), Sku("gift_0001_40")


def at(now: int = T0 + 1000) -> Write:
    return Write(now=now, limits=LIMITS)


async def made(store: Store, *lines: Line) -> Cart:
    carts = RedisCarts(store)
    cart = Cart(id=new_cart_id(), currency="GBP", created_at=T0, updated_at=T0)
    await carts.create(cart, limits=LIMITS)
    return await carts.set_lines(cart.id, lines, currency="GBP", write=at(T0)) if lines else cart


async def usable_units(store: Store, *cart_ids: CartId) -> Counter[Sku]:
    """What all carts hold together that shoppers can still use."""
    units: Counter[Sku] = Counter()
    for cart_id in cart_ids:
        cart = await RedisCarts(store).read(cart_id)
        if cart.status == "open":
            units.update({line.sku: line.quantity for line in cart.lines})
    return units


async def two_carts(store: Store) -> tuple[Cart, Cart]:
    """A target and a source that share a SKU."""
    return await made(store, Line(MUG, 1, 255), Line(TRAY, 2, 100)), await made(
        store, Line(LAMP, 30, 5), Line(MUG, 40, 255)
    )


ALL_UNITS = Counter({MUG: 41, TRAY: 2, LAMP: 30})
STORE_CALLS_OF_A_MERGE = 4
# From this one on the lines are in the target.
FINISH = 2

killed_anywhere = pytest.mark.parametrize("after_running", [False, True], ids=["unsent", "unanswered"])
at_every_call = pytest.mark.parametrize("call", range(STORE_CALLS_OF_A_MERGE))


async def killed_merge(
    store: Store, target: Cart, source: Cart, *, call: int, after_running: bool, is_refused: bool = False
) -> None:
    killed = RedisCarts(KilledStore(store, at=call, after_running=after_running))
    if call >= FINISH and not is_refused:
        merged = await killed.merge(target.id, source.id, "sum", write=at())
        assert Counter({line.sku: line.quantity for line in merged.lines}) == ALL_UNITS
        return
    with pytest.raises(StoreUnavailable):
        await killed.merge(target.id, source.id, "sum", write=at())


async def test_a_merge_takes_as_many_store_calls_as_these_tests_cut_short(store: Store) -> None:
    target, source = await two_carts(store)
    recording = RecordingStore(store)
    assert (await RedisCarts(recording).merge(target.id, source.id, "sum", write=at())).item_count == 73
    assert len(recording.replies) == STORE_CALLS_OF_A_MERGE


@killed_anywhere
@at_every_call
async def test_after_a_kill_both_carts_read_as_before_the_merge_or_as_after_it(
    store: Store, call: int, after_running: bool
) -> None:
    target, source = await two_carts(store)
    await killed_merge(store, target, source, call=call, after_running=after_running)
    assert await usable_units(store, source.id, target.id) == ALL_UNITS
    assert await usable_units(store, target.id, source.id) == ALL_UNITS
    assert (await RedisCarts(store).read(source.id)).status in {"open", "merged"}


@killed_anywhere
@at_every_call
async def test_after_a_kill_a_repeated_merge_is_completed(store: Store, call: int, after_running: bool) -> None:
    target, source = await two_carts(store)
    await killed_merge(store, target, source, call=call, after_running=after_running)
    merged = await RedisCarts(store).merge(target.id, source.id, "sum", write=at())
    assert merged.lines == (Line(MUG, 41, 255), Line(TRAY, 2, 100), Line(LAMP, 30, 5))
    assert merged.version == target.version + 1
    assert (await RedisCarts(store).read(source.id)).status == "merged"


@killed_anywhere
@at_every_call
async def test_after_a_kill_the_source_can_be_written_or_is_merged(
    store: Store, call: int, after_running: bool
) -> None:
    target, source = await two_carts(store)
    await killed_merge(store, target, source, call=call, after_running=after_running)
    expected = ALL_UNITS.copy()
    try:
        await RedisCarts(store).add_line(source.id, Line(TRAY, 7, 100), currency="GBP", write=at())
        expected[TRAY] += 7
    except CartClosed:
        assert (await RedisCarts(store).read(source.id)).status == "merged"
    assert await usable_units(store, target.id, source.id) == expected
    merged = await RedisCarts(store).merge(target.id, source.id, "sum", write=at())
    assert Counter({line.sku: line.quantity for line in merged.lines}) == expected


@killed_anywhere
@at_every_call
async def test_after_a_kill_the_source_can_be_deleted_or_is_merged(
    store: Store, call: int, after_running: bool
) -> None:
    target, source = await two_carts(store)
    await killed_merge(store, target, source, call=call, after_running=after_running)
    try:
        await RedisCarts(store).delete(source.id, write=at())
        expected = Counter({MUG: 1, TRAY: 2})
    except CartClosed:
        expected = ALL_UNITS
    assert await usable_units(store, target.id) == expected


@killed_anywhere
@at_every_call
async def test_after_a_kill_the_source_can_be_merged_into_another_cart_or_is_in_the_first(
    store: Store, call: int, after_running: bool
) -> None:
    target, source = await two_carts(store)
    third = await made(store)
    await killed_merge(store, target, source, call=call, after_running=after_running)
    try:
        await RedisCarts(store).merge(third.id, source.id, "sum", write=at())
    except CartClosed:
        assert (await RedisCarts(store).read(source.id)).merged_into == target.id
    assert await usable_units(store, target.id, third.id, source.id) == ALL_UNITS


@killed_anywhere
@at_every_call
async def test_after_a_kill_the_source_can_itself_take_lines_or_is_merged(
    store: Store, call: int, after_running: bool
) -> None:
    target, source = await two_carts(store)
    await killed_merge(store, target, source, call=call, after_running=after_running)
    try:
        await RedisCarts(store).merge(source.id, target.id, "sum", write=at())
    except CartClosed:
        assert (await RedisCarts(store).read(source.id)).status == "merged"
    assert await usable_units(store, target.id, source.id) == ALL_UNITS


@killed_anywhere
@pytest.mark.parametrize("call", range(4))
async def test_a_merge_refused_and_then_killed_leaves_both_carts(store: Store, call: int, after_running: bool) -> None:
    target, source = await two_carts(store)
    source = await RedisCarts(store).set_lines(source.id, [Line(MUG, 1000, 255)], currency="GBP", write=at())
    await killed_merge(store, target, source, call=call, after_running=after_running, is_refused=True)
    with pytest.raises(QuantityLimit):
        await RedisCarts(store).merge(target.id, source.id, "sum", write=at())
    assert await RedisCarts(store).read(source.id) == source
    assert await RedisCarts(store).read(target.id) == target


def expiring(store: Store, cart: Cart, after_calls: int) -> RedisCarts:
    """A process, and a cart that expires after so many of its store calls."""
    calls = itertools.count(1)

    async def disturb() -> None:
        if next(calls) == after_calls:
            await store.execute("PEXPIREAT", cart_key(cart.id), 1)

    return RedisCarts(DisturbedStore(store, disturb))


@pytest.mark.parametrize("after_calls", range(1, STORE_CALLS_OF_A_MERGE + 1))
async def test_a_source_that_expires_in_the_middle_leaves_its_lines_in_the_target(
    store: Store, after_calls: int
) -> None:
    target, source = await two_carts(store)
    merged = await expiring(store, source, after_calls).merge(target.id, source.id, "sum", write=at())
    assert Counter({line.sku: line.quantity for line in merged.lines}) == ALL_UNITS
    with pytest.raises(CartNotFound):
        await RedisCarts(store).read(source.id)
    assert await store.execute("EXISTS", cart_key(source.id)) == 0
    assert await usable_units(store, target.id) == ALL_UNITS


async def test_a_target_that_expires_before_it_takes_the_lines_leaves_them_in_the_source(store: Store) -> None:
    target, source = await two_carts(store)
    with pytest.raises(CartNotFound):
        await expiring(store, target, 1).merge(target.id, source.id, "sum", write=at())
    assert await RedisCarts(store).read(source.id) == source
    assert await store.execute("EXISTS", cart_key(target.id)) == 0
    added = await RedisCarts(store).add_line(source.id, Line(MUG, 1, 255), currency="GBP", write=at())
    assert added.item_count == 71


@pytest.mark.parametrize("after_calls", range(2, STORE_CALLS_OF_A_MERGE + 1))
async def test_a_target_that_expires_with_the_lines_takes_them_along(store: Store, after_calls: int) -> None:
    target, source = await two_carts(store)
    merged = await expiring(store, target, after_calls).merge(target.id, source.id, "sum", write=at())
    assert merged.item_count == 73
    assert (await RedisCarts(store).read(source.id)).status == "merged"
    assert await store.execute("EXISTS", cart_key(target.id)) == 0


async def test_a_process_with_a_wrong_clock_merges_after_one_with_another(store: Store) -> None:
    target, source = await two_carts(store)
    merges = Merges(store)
    # Attempts that were cut short, by processes whose clocks are minutes and years apart.
    for off_ms in (600_000, -600_000, 365 * 86_400_000, 0):
        await merges.begin(target.id, source.id, at(T0 + off_ms))
        await merges.settle(source.id)
    merged = await RedisCarts(store).merge(target.id, source.id, "sum", write=at(T0 - 600_000))
    assert Counter({line.sku: line.quantity for line in merged.lines}) == ALL_UNITS
    closed = await RedisCarts(store).read(source.id)
    assert closed.updated_at >= source.updated_at
    assert merged.updated_at >= target.updated_at


async def test_lines_that_arrive_after_their_attempt_was_fenced_are_refused(store: Store) -> None:
    target, source = await two_carts(store)
    merges, carts = Merges(store), RedisCarts(store)
    begun = await merges.begin(target.id, source.id, at())
    changed = await carts.add_line(source.id, Line(LAMP, 1, 5), currency="GBP", write=at())
    assert changed.status == "open"

    late = await merges.absorb(target.id, source.id, begun[1], hash_of(begun[2]), strategy="sum", write=at())
    assert late == [b"settled"]
    assert await carts.read(target.id) == target


async def test_lines_that_arrive_after_a_later_attempt_are_refused(store: Store) -> None:
    target, source = await two_carts(store)
    merges, carts = Merges(store), RedisCarts(store)
    begun = await merges.begin(target.id, source.id, at())
    await carts.settle(source.id)
    merged = await carts.merge(target.id, source.id, "sum", write=at())

    late = await merges.absorb(target.id, source.id, begun[1], hash_of(begun[2]), strategy="sum", write=at())
    assert late == [b"settled"]
    assert await carts.read(target.id) == merged


async def test_an_attempt_has_a_higher_number_than_the_last_even_with_a_slow_clock(store: Store) -> None:
    target, source = await two_carts(store)
    merges = Merges(store)
    numbers = []
    for now in (T0, T0, T0 - 9000):
        numbers.append((await merges.begin(target.id, source.id, at(now)))[1])
        await merges.settle(source.id)
    assert numbers == [T0, T0 + 1, T0 + 2]


async def test_a_late_undo_and_a_late_finish_do_nothing(store: Store) -> None:
    target, source = await two_carts(store)
    merges, carts = Merges(store), RedisCarts(store)
    first = await merges.begin(target.id, source.id, at())
    assert await merges.undo(target.id, source.id, first[1]) is False
    second = await merges.begin(target.id, source.id, at())
    assert await merges.undo(target.id, source.id, first[1]) is False
    assert (await merges.begin(target.id, source.id, at()))[1] == second[1]
    await carts.merge(target.id, source.id, "sum", write=at())
    closed = await carts.read(source.id)
    assert await merges.undo(target.id, source.id, second[1]) is True
    await merges.finish(target.id, source.id)
    assert await carts.read(source.id) == closed


async def test_reading_does_not_disturb_a_merge_under_way(store: Store) -> None:
    target, source = await two_carts(store)
    merges, carts = Merges(store), RedisCarts(store)
    begun = await merges.begin(target.id, source.id, at())
    assert await carts.read(source.id) == source
    absorbed = await merges.absorb(target.id, source.id, begun[1], hash_of(begun[2]), strategy="sum", write=at())
    assert absorbed[0] == b"whole"
    assert (await carts.read(source.id)).status == "merged"


async def test_the_lines_of_a_merge_are_deleted_with_its_target(store: Store) -> None:
    target, source = await two_carts(store)
    await killed_merge(store, target, source, call=2, after_running=False)
    await RedisCarts(store).delete(target.id, write=at())
    assert (await RedisCarts(store).read(source.id)).status == "merged"


async def test_markers_of_finished_and_undone_merges_expire(store: Store) -> None:
    target, source = await two_carts(store)
    other = await made(store)
    await RedisCarts(store).merge(target.id, source.id, "sum", write=at())
    await Merges(store).begin(target.id, other.id, at())
    await RedisCarts(store).settle(other.id)
    markers = await store.execute("KEYS", "*m:*")
    assert len(markers) == 2
    for marker in markers:
        assert 0 < await store.execute("PTTL", marker) <= 86_400_000


async def test_a_merged_cart_stays_merged_when_its_marker_has_expired(store: Store) -> None:
    target, source = await two_carts(store)
    await RedisCarts(store).merge(target.id, source.id, "sum", write=at())
    await store.execute("DEL", marker_key(target.id, source.id))
    merged = await RedisCarts(store).read(source.id)
    assert (merged.status, merged.merged_into) == ("merged", target.id)


# Calls that undo each other could go on for as long as they are made to alternate: the orders end somewhere.
ORDERED_CALLS = 8


async def every_race(
    store: Store, two: Callable[[], Awaitable[tuple[Racer, Racer, Callable[..., Awaitable[None]]]]]
) -> int:
    """Run two racers in every order of their first store calls, on fresh carts each time; gives how many orders there are."""
    orders: list[list[int]] = [[]]
    runs = 0
    while orders:
        prefix = orders.pop()
        one, other, check = await two()
        results, taken = await race(store, [one, other], prefix)
        for result in results:
            assert not isinstance(result, BaseException) or isinstance(result, Refusal), result
        await check(*results)
        orders += [[*taken[:n], 1] for n in range(len(prefix), min(len(taken), ORDERED_CALLS))]
        runs += 1
    return runs


async def test_a_merge_and_a_write_to_its_source_in_any_order_keep_every_unit(store: Store) -> None:
    async def two() -> tuple[Racer, Racer, Callable[..., Awaitable[None]]]:
        target, source = await two_carts(store)

        async def check(merged: object, added: object) -> None:
            assert isinstance(merged, Cart)
            expected = ALL_UNITS + (Counter() if isinstance(added, CartClosed) else Counter({MUG: 5}))
            assert await usable_units(store, target.id, source.id) == expected
            assert Counter({line.sku: line.quantity for line in merged.lines}) == expected

        return (
            lambda store: RedisCarts(store).merge(target.id, source.id, "sum", write=at()),
            lambda store: RedisCarts(store).add_line(source.id, Line(MUG, 5, 255), currency="GBP", write=at()),
            check,
        )

    assert await every_race(store, two) > 10


async def test_a_merge_and_a_write_to_its_target_in_any_order_keep_every_unit(store: Store) -> None:
    async def two() -> tuple[Racer, Racer, Callable[..., Awaitable[None]]]:
        target, source = await two_carts(store)

        async def check(*_: object) -> None:
            assert await usable_units(store, target.id, source.id) == ALL_UNITS + Counter({MUG: 5})

        return (
            lambda store: RedisCarts(store).merge(target.id, source.id, "sum", write=at()),
            lambda store: RedisCarts(store).add_line(target.id, Line(MUG, 5, 255), currency="GBP", write=at()),
            check,
        )

    assert await every_race(store, two) >= 5


async def test_two_equal_merges_in_any_order_are_done_once(store: Store) -> None:
    async def two() -> tuple[Racer, Racer, Callable[..., Awaitable[None]]]:
        target, source = await two_carts(store)

        async def check(*results: object) -> None:
            for result in results:
                assert isinstance(result, Cart)
                assert result.item_count == 73
            assert await usable_units(store, target.id, source.id) == ALL_UNITS

        def merge(store: Store) -> Coroutine[Any, Any, object]:
            return RedisCarts(store).merge(target.id, source.id, "sum", write=at())

        return merge, merge, check

    assert await every_race(store, two) > 50


async def test_two_carts_merged_into_each_other_in_any_order_keep_every_unit_in_one(store: Store) -> None:
    async def two() -> tuple[Racer, Racer, Callable[..., Awaitable[None]]]:
        one, other = await two_carts(store)

        async def check(*results: object) -> None:
            assert sorted(type(result).__name__ for result in results) == ["Cart", "CartClosed"]
            assert await usable_units(store, one.id, other.id) == ALL_UNITS

        return (
            lambda store: RedisCarts(store).merge(one.id, other.id, "sum", write=at()),
            lambda store: RedisCarts(store).merge(other.id, one.id, "sum", write=at()),
            check,
        )

    assert await every_race(store, two) > 50


async def test_a_merge_and_a_merge_into_a_third_cart_in_any_order_keep_every_unit(store: Store) -> None:
    async def two() -> tuple[Racer, Racer, Callable[..., Awaitable[None]]]:
        target, source = await two_carts(store)
        third = await made(store)

        async def check(*_: object) -> None:
            assert await usable_units(store, target.id, source.id, third.id) == ALL_UNITS

        return (
            lambda store: RedisCarts(store).merge(target.id, source.id, "sum", write=at()),
            lambda store: RedisCarts(store).merge(third.id, source.id, "sum", write=at()),
            check,
        )

    assert await every_race(store, two) > 50


async def test_a_chain_of_merges_in_any_order_keeps_every_unit(store: Store) -> None:
    async def two() -> tuple[Racer, Racer, Callable[..., Awaitable[None]]]:
        middle, source = await two_carts(store)
        last = await made(store)

        async def check(*_: object) -> None:
            assert await usable_units(store, last.id, middle.id, source.id) == ALL_UNITS

        return (
            lambda store: RedisCarts(store).merge(middle.id, source.id, "sum", write=at()),
            lambda store: RedisCarts(store).merge(last.id, middle.id, "sum", write=at()),
            check,
        )

    assert await every_race(store, two) > 50


async def test_a_merge_and_the_deletion_of_its_source_in_any_order_lose_only_deleted_lines(
    store: Store,
) -> None:
    async def two() -> tuple[Racer, Racer, Callable[..., Awaitable[None]]]:
        target, source = await two_carts(store)

        async def check(merged: object, deleted: object) -> None:
            assert isinstance(merged, CartNotFound) == (deleted is None)
            left = Counter({MUG: 1, TRAY: 2}) if deleted is None else ALL_UNITS
            assert await usable_units(store, target.id) == left

        return (
            lambda store: RedisCarts(store).merge(target.id, source.id, "sum", write=at()),
            lambda store: RedisCarts(store).delete(source.id, write=at()),
            check,
        )

    assert await every_race(store, two) > 10


async def test_a_merge_left_by_a_killed_process_is_undone_by_the_opposite_one_whichever_goes_first(
    store: Store,
) -> None:
    for _ in range(6):
        one, other = await two_carts(store)
        await Merges(store).begin(one.id, other.id, at())
        merged = await RedisCarts(store).merge(other.id, one.id, "sum", write=at())
        assert Counter({line.sku: line.quantity for line in merged.lines}) == ALL_UNITS
        assert await usable_units(store, one.id, other.id) == ALL_UNITS


async def test_many_processes_that_merge_carts_into_each_other_all_come_to_an_end(store: Store) -> None:
    for _ in range(10):
        carts = [await made(store, Line(sku, 1, 5)) for sku in (MUG, TRAY, LAMP)]
        results = await asyncio.gather(
            *(
                RedisCarts(store).merge(target.id, source.id, "sum", write=at())
                for target in carts
                for source in carts
                if source is not target
                for _ in range(3)
            ),
            return_exceptions=True,
        )
        assert {type(result).__name__ for result in results} <= {"Cart", "CartClosed"}
        assert sum((await usable_units(store, *(cart.id for cart in carts))).values()) == 3


async def test_a_merge_that_loses_every_race_raises_store_overloaded(store: Store) -> None:
    target, source = await two_carts(store)

    losing = RedisCarts(DisturbedStore(store, lambda: Merges(store).settle(source.id)))
    with pytest.raises(StoreError, match="again and again"):
        await losing.merge(target.id, source.id, "sum", write=at())
    assert await usable_units(store, target.id, source.id) == ALL_UNITS
    assert await RedisCarts(store).read(target.id) == target


async def test_a_merge_whose_lines_the_store_has_lost_does_not_close_its_source(
    store: StoreClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, source = await two_carts(store)
    keys = [cart_key(target.id), marker_key(target.id, source.id)]
    before = await store.execute("HGETALL", keys[0])
    absorb = Merges.absorb

    async def absorbed_and_lost(self: Merges, *args: Any, **options: Any) -> Any:
        """The reply has arrived; the server that is there afterwards has not run it."""
        reply = await absorb(self, *args, **options)
        server = store.node_of(keys[0]) if isinstance(store, ClusterClient) else store
        server.connection_lost(None)
        await store.execute("DEL", *keys)
        await store.execute("HSET", keys[0], *(part for field in before.items() for part in field))
        return reply

    monkeypatch.setattr(Merges, "absorb", absorbed_and_lost)
    await RedisCarts(store).merge(target.id, source.id, "sum", write=at())
    monkeypatch.setattr(Merges, "absorb", absorb)
    assert await usable_units(store, target.id, source.id) == ALL_UNITS
    await RedisCarts(store).merge(target.id, source.id, "sum", write=at())
    assert await usable_units(store, target.id, source.id) == ALL_UNITS
    assert (await RedisCarts(store).read(source.id)).status == "merged"
