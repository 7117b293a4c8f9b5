"""The stock of the SKUs in carts: what is short, what is read when, and which changes matter."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from cart.catalog.ports import StockUnknown
from cart.model import Line, Sku
from cart.stock_watch import TICKS_OF_GENERATION, StockWatch
from store import StoreUnavailable

MUG, TRAY, GONE = Sku("MUG"), Sku("TRAY"), Sku("GONE")


class Stock:
    """Levels that the test sets; it records which are read."""

    def __init__(self, **units: int) -> None:
        self.units = {Sku(sku): level for sku, level in units.items()}
        self.reads: list[list[Sku]] = []
        self.is_away = False

    async def level(self, sku: Sku) -> int | None:
        return (await self.levels([sku]))[0]

    async def levels(self, skus: Sequence[Sku]) -> Sequence[int | None]:
        self.reads.append([*skus])
        if self.is_away:
            raise StockUnknown(StoreUnavailable("away"))
        return [self.units.get(sku) for sku in skus]


class Watched:
    def __init__(self, stock: Stock, *, max_skus: int = 100) -> None:
        self.changes = 0
        self.watch = StockWatch(stock, max_skus=max_skus)
        self.watch.on_change = self.changed

    def changed(self) -> None:
        self.changes += 1

    async def short(self, **quantities: int) -> dict[Sku, int]:
        """What is short of these, as a cart asks it."""
        lines = [Line(Sku(sku), quantity, 1) for sku, quantity in quantities.items()]
        found = self.watch.shortages(lines)
        if found is None:
            await self.watch.fetch([line.sku for line in lines])
            found = self.watch.shortages(lines)
        assert found is not None
        return {**found}


async def test_a_line_above_the_stock_is_short() -> None:
    watched = Watched(Stock(MUG=3, TRAY=0))
    assert await watched.short(MUG=3) == {}
    assert await watched.short(MUG=4, TRAY=1) == {MUG: 3, TRAY: 0}


async def test_a_sku_that_is_not_in_the_catalogue_is_not_short() -> None:
    assert await Watched(Stock(MUG=3)).short(GONE=10_000) == {}


async def test_cached_levels_are_read_once_a_tick_for_all_carts() -> None:
    stock = Stock(MUG=3, TRAY=9)
    watched = Watched(stock)
    for _ in range(10):
        await watched.short(MUG=1, TRAY=1)
    assert stock.reads == [[MUG, TRAY]]
    await watched.watch.refresh()
    assert sorted(stock.reads[-1]) == [MUG, TRAY]
    await watched.short(MUG=1)
    assert len(stock.reads) == 2


@pytest.mark.parametrize(
    ("before", "after", "matters"),
    [(3, 2, False), (2, 1, True), (1, 0, True), (0, 5, True), (1000, 2, False), (1000, 1, True), (7, 7, False)],
)
async def test_only_a_change_that_a_cart_shows_is_announced(before: int, after: int, matters: bool) -> None:
    stock = Stock(MUG=before)
    watched = Watched(stock)
    await watched.short(MUG=2)
    stock.units[MUG] = after
    await watched.watch.refresh()
    assert bool(watched.changes) is matters
    assert await watched.short(MUG=2) == ({MUG: after} if after < 2 else {})


async def test_while_the_stock_is_unknown_levels_stay_and_new_skus_are_not_short() -> None:
    stock = Stock(MUG=1, TRAY=0)
    watched = Watched(stock)
    await watched.short(MUG=2)
    stock.is_away = True
    stock.units[MUG] = 9
    await watched.watch.refresh()
    assert await watched.short(MUG=2, TRAY=1) == {MUG: 1}
    stock.is_away = False
    await watched.watch.refresh()
    assert watched.changes
    assert await watched.short(MUG=2, TRAY=1) == {TRAY: 0}


async def test_skus_of_carts_that_are_not_read_any_more_are_forgotten() -> None:
    stock, ticks = Stock(MUG=1, TRAY=1), asyncio.Semaphore(0)
    watched = Watched(stock)

    async def tick(_seconds: float) -> None:
        await ticks.acquire()

    watched.watch._sleep = tick
    running = asyncio.create_task(watched.watch.run())
    await watched.short(MUG=1, TRAY=1)
    for _ in range(2):
        for _ in range(TICKS_OF_GENERATION):
            ticks.release()
        for _ in range(20 * TICKS_OF_GENERATION):
            await asyncio.sleep(0)
        await watched.short(MUG=1)
    await watched.watch.refresh()
    assert stock.reads[-1] == [MUG]
    # Whoever was rendered before must be rendered again, to count for its SKUs.
    assert watched.changes == 2
    running.cancel()
    await asyncio.wait([running])


async def test_the_number_of_skus_is_bounded() -> None:
    watched = Watched(Stock(), max_skus=20)
    for n in range(100):
        await watched.short(**{f"sku{n}": 1})
    assert len(watched.watch._young) + len(watched.watch._old) <= 20


async def test_a_cart_with_more_skus_than_the_bound_is_checked_all_the_same() -> None:
    many = {f"sku{n}": 2 for n in range(50)}
    watched = Watched(Stock(**dict.fromkeys(many, 1)), max_skus=20)
    assert len(await watched.short(**many)) == 50
