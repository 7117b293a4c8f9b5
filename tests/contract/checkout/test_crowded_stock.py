"""The books of a SKU with more holds than can be added up at one moment, beside traffic, for both adapters."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from typing import Final

import pytest

from cart.ids import new_cart_id, order_id_for
from cart.model import OrderId
from cart.sku_keys import hold_changes_key, holds_key
from checkout.audit.audit import Audit
from checkout.ports.books import StockBook, StockRecord
from checkout.ports.stock import StockLine
from checkout.redis.held_units import PAGE
from checkout.redis.holds import MOST_HOLDS
from store import Client
from tests.contract.checkout.shop import MUG, RedisShop, Shop
from tests.contract.checkout.test_books import books_of, ordered
from tests.contract.checkout.test_inventory import inventory_of

UNITS: Final = 10_000
HOLDS: Final = 3 * MOST_HOLDS


class Crowd:
    """Orders that hold mugs, and never agree on how many."""

    def __init__(self, shop: Shop, seed: int = 1) -> None:
        self.shop = shop
        self.chance = random.Random(seed)
        self.orders: list[OrderId] = []

    async def come(self, count: int) -> Sequence[OrderId]:
        new = [order_id_for(new_cart_id(), 1) for _ in range(count)]
        for first in range(0, count, PAGE):
            await asyncio.gather(*(self.hold(each) for each in new[first : first + PAGE]))
        self.orders += new
        return new

    async def hold(self, order_id: OrderId) -> None:
        assert await self.shop.stock.hold(order_id, [StockLine(MUG, self.chance.randint(1, 3))], fence=1) == []

    async def complete(self, order_id: OrderId) -> None:
        await self.shop.stock.confirm(order_id, [MUG])
        await self.shop.stock.complete(order_id, [MUG])

    async def change(self) -> None:
        """Some come, some go, and some hold another quantity."""
        self.chance.shuffle(self.orders)
        gone, completed, changed = (self.orders[first : first + 20] for first in (0, 20, 40))
        del self.orders[:40]
        await asyncio.gather(
            *(self.shop.stock.release(each, [MUG], fence=1) for each in gone),
            *(self.complete(each) for each in completed),
            *(self.hold(each) for each in changed),
            self.come(20),
        )


@pytest.fixture
async def crowd(shop: Shop) -> Crowd:
    """Very many orders that hold mugs."""
    await shop.set_stock(MUG, UNITS)
    crowd = Crowd(shop)
    await crowd.come(HOLDS)
    return crowd


async def last_book(pages: AsyncIterator[StockRecord]) -> StockBook | None:
    return [each async for each in pages][-1].book


async def test_very_many_holds_are_added_up(shop: Shop, crowd: Crowd) -> None:
    records = [each async for each in books_of(shop).stock(MUG)]

    assert sum(each.holds for each in records) >= HOLDS
    book = records[-1].book
    assert book is not None
    assert (book.available, book.held) == (await shop.available(MUG), await shop.taken(MUG))
    assert book.expected == book.available


@pytest.mark.parametrize("seed", range(3))
async def test_holds_that_change_while_they_are_read_are_added_up_at_one_moment(shop: Shop, seed: int) -> None:
    await shop.set_stock(MUG, UNITS)
    crowd = Crowd(shop, seed)
    await crowd.come(HOLDS)
    await crowd.change()
    async for record in books_of(shop).stock(MUG):
        book = record.book
        await crowd.change()

    assert book is not None
    assert book.expected == book.available
    assert book.sold > 0


async def test_a_unit_too_many_is_named_beside_traffic(shop: Shop, crowd: Crowd) -> None:
    async def traffic(_seconds: float) -> None:
        await crowd.change()

    async def named() -> list[tuple[str, str, str]]:
        return [each.identity for each in (await Audit(books_of(shop), rate=1e9, sleep=traffic).run()).findings]

    await ordered(shop)
    assert await named() == []
    await shop.spoil_stock(MUG, 1)
    assert await named() == [("stock_sum", MUG, "")]
    await shop.spoil_stock(MUG, -1)
    assert await named() == []


async def test_a_hold_that_was_lost_is_named_until_its_units_are_put_back(store: Client) -> None:
    shop = RedisShop(store)
    await shop.set_stock(MUG, UNITS)
    crowd = Crowd(shop)
    (lost, *_) = await crowd.come(HOLDS)
    assert await store.execute("HDEL", holds_key(MUG), lost) == 1

    book = await last_book(books_of(shop).stock(MUG))

    assert book is not None
    missing = book.expected - book.available
    assert 1 <= missing <= 3
    await shop.spoil_stock(MUG, missing)
    mended = await last_book(books_of(shop).stock(MUG))
    assert mended is not None
    assert mended.expected == mended.available


async def test_a_count_mends_the_book_of_very_many_holds(shop: Shop, crowd: Crowd) -> None:
    await shop.spoil_stock(MUG, 7)
    await inventory_of(shop).add(MUG, 2, key="delivery")
    added = await last_book(books_of(shop).stock(MUG))
    assert added is not None
    assert added.available - added.expected == 7
    await asyncio.gather(inventory_of(shop).set(MUG, 100, key="count"), crowd.change())

    counted = await last_book(books_of(shop).stock(MUG))

    assert counted is not None
    assert counted.expected == counted.available


async def test_more_changes_than_one_call_reads_are_added_up(shop: Shop, crowd: Crowd) -> None:
    pages = books_of(shop).stock(MUG)
    await anext(pages)
    new = await crowd.come(2 * PAGE)
    await asyncio.gather(*(crowd.complete(each) for each in new[:PAGE]))

    book = await last_book(pages) if isinstance(shop, RedisShop) else await last_book(books_of(shop).stock(MUG))

    assert book is not None
    assert (book.available, book.held) == (await shop.available(MUG), await shop.taken(MUG))
    assert book.expected == book.available


async def test_two_audits_add_up_at_once(shop: Shop, crowd: Crowd) -> None:
    first, second = books_of(shop).stock(MUG), books_of(shop).stock(MUG)
    await anext(first)
    await crowd.change()
    found = await last_book(second)
    await crowd.change()
    others = await last_book(first) if isinstance(shop, RedisShop) else await last_book(books_of(shop).stock(MUG))

    for book in (found, others):
        assert book is not None
        assert book.expected == book.available


async def test_changes_are_written_for_a_reader_alone_and_expire_behind_it(store: Client) -> None:
    shop = RedisShop(store)
    await shop.set_stock(MUG, UNITS)
    crowd = Crowd(shop)
    await crowd.come(HOLDS)
    await crowd.change()
    assert await store.execute("EXISTS", hold_changes_key(MUG)) == 0

    assert await last_book(books_of(shop).stock(MUG)) is not None

    assert 0 < await store.execute("PTTL", hold_changes_key(MUG)) <= 30_000


@pytest.mark.parametrize(
    "loss",
    [
        pytest.param(["DEL", hold_changes_key(MUG)], id="the changes"),
        pytest.param(["XTRIM", hold_changes_key(MUG), "MAXLEN", "0"], id="the oldest changes"),
        pytest.param(["HSET", holds_key(MUG), "unwritten", "1 0 1"], id="one change"),
    ],
)
async def test_without_all_changes_there_is_no_book(store: Client, loss: list[str]) -> None:
    shop = RedisShop(store)
    await shop.set_stock(MUG, UNITS)
    crowd = Crowd(shop)
    await crowd.come(HOLDS)
    pages = books_of(shop).stock(MUG)
    # Behind the last page: a hold that comes earlier may still be in one.
    *_, last = [await anext(pages) for _ in range(await _records(shop) - 1)]
    assert last.book is None
    await crowd.come(1)
    await store.execute(*loss)

    assert await last_book(pages) is None


async def _records(shop: Shop) -> int:
    return len([each async for each in books_of(shop).stock(MUG)])
