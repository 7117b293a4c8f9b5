"""The contract of `Catalog`, `StockLevels` and `PriceBook`, for both adapters."""

import asyncio
from typing import Any, NamedTuple

import pytest

from cart.catalog.memory import MemoryCatalog
from cart.catalog.model import CatalogRow
from cart.catalog.ports import IMPORTED_MS, MOST_IMPORTED, Catalog, ImportBusy, PutCounts, StockLevels
from cart.catalog.redis_catalog import RedisCatalog, RedisPriceBook
from cart.model import Product, Sku, Terms
from cart.ports import PriceBook

A, B, Z = Sku("A"), Sku("BANK CHARGES"), Sku("Z")
ROWS = [CatalogRow(A, "RED HEART", 255, "GBP", 7), CatalogRow(B, "Fees, café", 1500, "EUR", 0)]

# Shorter than a lease lasts that was not released; long for a machine under load.
RELEASED_WITHIN_S = 5.0


class Shop(NamedTuple):
    catalog: Catalog
    stock: StockLevels
    prices: PriceBook
    clock: "Clock"


class Clock:
    """Unix milliseconds, which a test moves."""

    now = 1_764_000_000_000

    def __call__(self) -> int:
        return self.now


@pytest.fixture(params=["memory", "redis"])
def shop(request: pytest.FixtureRequest) -> Shop:
    clock = Clock()
    if request.param == "memory":
        memory = MemoryCatalog(now_ms=clock)
        return Shop(memory, memory, memory, clock)
    store = request.getfixturevalue("store")
    redis = RedisCatalog(store, now_ms=clock)
    return Shop(redis, redis, RedisPriceBook(store, now_ms=clock), clock)


async def test_products_put_are_in_the_price_book_and_in_stock(shop: Shop) -> None:
    assert await shop.catalog.put(ROWS) == PutCounts(new=2, changed=0, same=0)
    products = await shop.prices.products([A, B, Z])
    assert products[A] == Product(A, "RED HEART", 255, "GBP")
    assert products[B] == Product(B, "Fees, café", 1500, "EUR")
    assert Z not in products
    assert await shop.stock.levels([B, Z, A]) == [0, None, 7]
    assert (await shop.stock.level(A), await shop.stock.level(Z)) == (7, None)


async def test_putting_again_counts_changes_and_leaves_the_stock_alone(shop: Shop) -> None:
    await shop.catalog.put(ROWS)
    again = [CatalogRow(A, "RED HEART", 255, "GBP", 3), CatalogRow(B, "Fees, café", 1501, "EUR", 9)]
    assert await shop.catalog.put(again) == PutCounts(new=0, changed=1, same=1)
    assert await shop.stock.levels([A, B]) == [7, 0]


@pytest.mark.parametrize("beside", [{"name": "RED HEART"}, {"price": 255, "currency": "GBP"}])
async def test_a_stock_beside_any_other_member_is_that_of_a_new_product(shop: Shop, beside: dict[str, Any]) -> None:
    await shop.catalog.put(ROWS)
    await shop.catalog.put([CatalogRow(A, stock=100, **beside)])
    assert await shop.stock.level(A) == 7


async def test_a_count_sets_the_stock(shop: Shop) -> None:
    await shop.catalog.put(ROWS)
    assert await shop.catalog.put([CatalogRow(A, stock=3), CatalogRow(B, stock=0)]) == PutCounts(0, 0, 2)
    assert await shop.stock.levels([A, B]) == [3, 0]


async def test_what_a_row_does_not_say_stays_as_it_is(shop: Shop) -> None:
    await shop.catalog.put(ROWS)
    rows = [CatalogRow(A, price=300, currency="EUR"), CatalogRow(B, stock=9)]
    assert await shop.catalog.put(rows) == PutCounts(new=0, changed=1, same=1)
    if isinstance(shop.prices, RedisPriceBook):
        await shop.catalog.raise_epoch()
        await shop.prices.refresh()
    products = await shop.prices.products([A, B])
    assert products[A] == Product(A, "RED HEART", 300, "EUR")
    assert products[B] == Product(B, "Fees, café", 1500, "EUR")
    assert await shop.stock.levels([A, B]) == [7, 9]
    assert await shop.catalog.put([CatalogRow(A, price=300, currency="EUR"), CatalogRow(B, "Fees")]) == PutCounts(
        0, 1, 1
    )


async def test_a_new_product_needs_a_name_and_a_price_and_begins_without_stock(shop: Shop) -> None:
    rows = [CatalogRow(A, price=300, currency="EUR"), CatalogRow(B, "Fees", stock=4), CatalogRow(Z, "ZEBRA", 1, "GBP")]
    assert await shop.catalog.put(rows) == PutCounts(new=1, changed=0, same=0, unknown=2)
    assert (await shop.prices.products([A, B, Z])).keys() & {A, B, Z} == {Z}
    assert await shop.stock.levels([A, B, Z]) == [None, None, 0]


async def test_the_missing_products_are_named(shop: Shop) -> None:
    await shop.catalog.put(ROWS)
    many = [Sku(f"S{n}") for n in range(300)]
    assert await shop.catalog.missing([Z, A, *many, B]) == [Z, *many]
    assert await shop.catalog.missing([]) == []


async def test_a_large_batch_is_put_completely(shop: Shop) -> None:
    rows = [CatalogRow(Sku(f"S{n}"), f"Name {n}", n, "GBP", n) for n in range(1001)]
    assert await shop.catalog.put(rows) == PutCounts(1001, 0, 0)
    assert await shop.stock.levels([row.sku for row in rows]) == list(range(1001))


async def test_empty_batches_and_look_ups_do_nothing(shop: Shop) -> None:
    assert await shop.catalog.put([]) == PutCounts(0, 0, 0)
    assert await shop.stock.levels([]) == []
    await shop.prices.products([])


async def test_a_malformed_sku_is_not_sold(shop: Shop) -> None:
    impossible = [Sku("\ud800"), Sku(""), Sku("x" * 65), Sku("\x01v")]
    products = await shop.prices.products(impossible)
    assert not any(sku in products for sku in impossible)


async def test_a_finished_import_is_recorded(shop: Shop) -> None:
    assert not await shop.catalog.has_imported("digest")
    await shop.catalog.mark_imported("digest")
    await shop.catalog.mark_imported("digest")
    assert await shop.catalog.has_imported("digest")


async def test_the_files_that_were_in_use_last_are_remembered(shop: Shop) -> None:
    for number in range(MOST_IMPORTED):
        shop.clock.now += 1
        await shop.catalog.mark_imported(f"{number}")
    for used_again in ("0", "new", "newer"):
        shop.clock.now += 1
        await shop.catalog.mark_imported(used_again)
    known = [await shop.catalog.has_imported(each) for each in ("0", "1", "2", "3", "new")]
    assert known == [True, False, False, True, True]


async def test_a_file_that_is_no_longer_used_is_forgotten(shop: Shop) -> None:
    await shop.catalog.mark_imported("old")
    shop.clock.now += IMPORTED_MS - 1
    await shop.catalog.mark_imported("other")
    assert await shop.catalog.has_imported("old")
    shop.clock.now += 1
    await shop.catalog.mark_imported("other")
    assert not await shop.catalog.has_imported("old")


async def test_only_one_import_runs_at_a_time(shop: Shop) -> None:
    async with shop.catalog.lease(wait_s=1):
        with pytest.raises(ImportBusy):
            async with shop.catalog.lease(wait_s=0.01):
                pytest.fail("two imports at once")
    async with shop.catalog.lease(wait_s=RELEASED_WITHIN_S):
        pass


async def test_a_failed_import_releases_the_lease(shop: Shop) -> None:
    with pytest.raises(ZeroDivisionError):
        async with shop.catalog.lease(wait_s=1):
            raise ZeroDivisionError
    async with shop.catalog.lease(wait_s=RELEASED_WITHIN_S):
        pass


async def test_a_waiting_import_acquires_the_lease_once_it_is_free(shop: Shop) -> None:
    async def follow() -> str:
        async with shop.catalog.lease(wait_s=5):
            return "followed"

    async with shop.catalog.lease(wait_s=1):
        following = asyncio.create_task(follow())
        assert not following.done()
    assert await following == "followed"


async def test_a_mapping_of_prices_never_changes(shop: Shop) -> None:
    await shop.catalog.put(ROWS)
    before = await shop.prices.products([A])
    await shop.catalog.put([CatalogRow(A, "RED HEART", 1, "GBP", 7)])
    await shop.catalog.raise_epoch()
    if isinstance(shop.prices, RedisPriceBook):
        await shop.prices.refresh()
    after = await shop.prices.products([A])
    assert (before[A].price, after[A].price) == (255, 1)
    assert after is not before


async def test_a_product_has_the_category_that_was_put_last(shop: Shop) -> None:
    async def category_after(*rows: CatalogRow) -> tuple[str, PutCounts]:
        counts = await shop.catalog.put(rows)
        prices = RedisPriceBook(shop.prices._store) if isinstance(shop.prices, RedisPriceBook) else shop.prices
        return (await prices.products([A]))[A].category, counts

    changed, same = PutCounts(0, 1, 0), PutCounts(0, 0, 1)
    assert await category_after(ROWS[0]) == ("", PutCounts(1, 0, 0))
    assert await category_after(CatalogRow(A, category="Küche = Bad")) == ("Küche = Bad", changed)
    assert await category_after(CatalogRow(A, category="Küche = Bad")) == ("Küche = Bad", same)
    assert await category_after(CatalogRow(A, "RED HEART", 255, "GBP", 7)) == ("Küche = Bad", same)
    assert await category_after(CatalogRow(A, category="")) == ("", changed)
    assert await category_after(CatalogRow(A, category="")) == ("", same)


def book_of(shop: Shop) -> PriceBook:
    """The price book of a process that has cached nothing yet."""
    return RedisPriceBook(shop.prices._store) if isinstance(shop.prices, RedisPriceBook) else shop.prices


async def test_a_product_is_sold_by_its_terms_of_which_a_row_changes_those_that_it_names(shop: Shop) -> None:
    await shop.catalog.put(
        [CatalogRow(A, "RED HEART", 255, "GBP", 7, terms='{"weight_class":"bulky","tax_class":"books"}')]
    )
    assert (await shop.prices.products([A]))[A].terms == Terms(weight_class="bulky", tax_class="books")

    outcomes = [
        await shop.catalog.put([CatalogRow(A, terms=patch)])
        for patch in (
            '{"tax_class":null}',
            '{"tax_class":null}',
            '{"weight_class":"letter"}',
            '{"weight_class":"letter"}',
        )
    ]

    assert outcomes == [
        PutCounts(new=0, changed=1, same=0),
        PutCounts(new=0, changed=0, same=1),
        PutCounts(new=0, changed=1, same=0),
        PutCounts(new=0, changed=0, same=1),
    ]
    if isinstance(shop.prices, RedisPriceBook):
        await shop.catalog.raise_epoch()
        await shop.prices.refresh()
    assert (await shop.prices.products([A]))[A] == Product(
        A, "RED HEART", 255, "GBP", terms=Terms(weight_class="letter")
    )
    assert await shop.stock.level(A) == 7


SALE = '{"scheduled_prices":[[199,100,200],[149,300,400]]}'


@pytest.fixture
def timed(shop: Shop) -> tuple[Shop, Clock]:
    """A shop and its clock, which begins at 0."""
    shop.clock.now = 0
    return shop, shop.clock


async def test_a_scheduled_price_holds_from_its_start_to_its_end(timed: tuple[Shop, Clock]) -> None:
    shop, wall = timed
    await shop.catalog.put([*ROWS, CatalogRow(A, terms=SALE)])
    for now, price, was, until, ends_at in (
        (99, 255, None, None, 100),
        (100, 199, 255, 200, 200),
        (199, 199, 255, 200, 200),
        (200, 255, None, None, 300),
        (350, 149, 255, 400, 400),
        (400, 255, None, None, None),
    ):
        wall.now = now
        products = await shop.prices.products([A, B])
        heart = products[A]
        assert (heart.price, heart.was, heart.price_until, heart.price_ends_at) == (price, was, until, ends_at)
        assert products[B].price == 1500
        assert products is shop.prices.current
        assert A in products


async def test_a_mapping_keeps_its_prices_beyond_their_end(timed: tuple[Shop, Clock]) -> None:
    shop, wall = timed
    await shop.catalog.put([*ROWS, CatalogRow(A, terms=SALE)])
    before = await shop.prices.products([A, B])
    wall.now = 150
    after = await shop.prices.products([A, B])
    assert (before[A].price, after[A].price) == (255, 199)
    assert before is not after
    assert after[B] is before[B]


async def test_a_row_without_scheduled_prices_leaves_them_and_another_currency_ends_them(shop: Shop) -> None:
    shop.clock.now = 0
    assert await shop.catalog.put([CatalogRow(A, "RED HEART", 255, "GBP", terms=SALE)]) == PutCounts(1, 0, 0, 0, (A,))
    assert await shop.catalog.put([CatalogRow(A, price=245, currency="GBP")]) == PutCounts(0, 1, 0, 0, (A,))
    assert await shop.catalog.put([CatalogRow(A, "RED HEART")]) == PutCounts(0, 0, 1, 0, (A,))
    assert await shop.catalog.rows([A]) == [CatalogRow(A, "RED HEART", 245, "GBP", category="", terms=SALE)]
    assert await shop.catalog.put([CatalogRow(A, price=300, currency="EUR")]) == PutCounts(0, 1, 0)
    assert await shop.catalog.rows([A]) == [CatalogRow(A, "RED HEART", 300, "EUR", category="")]


async def test_an_ordinary_price_that_changes_during_a_scheduled_one_is_that_after_it(
    timed: tuple[Shop, Clock],
) -> None:
    shop, wall = timed
    await shop.catalog.put([CatalogRow(A, "RED HEART", 255, "GBP", terms=SALE)])
    wall.now = 150
    await shop.prices.products([A])
    await shop.catalog.put([CatalogRow(A, price=245, currency="GBP")])
    await shop.catalog.raise_epoch()
    if isinstance(shop.prices, RedisPriceBook):
        await shop.prices.refresh()
    assert [(each.price, each.was) for each in [(await shop.prices.products([A]))[A]]] == [(199, 245)]
    wall.now = 200
    assert (await shop.prices.products([A]))[A].price == 245
    await shop.catalog.put([CatalogRow(A, terms='{"scheduled_prices":null}')])
    await shop.catalog.raise_epoch()
    if isinstance(shop.prices, RedisPriceBook):
        await shop.prices.refresh()
    wall.now = 350
    assert (await shop.prices.products([A]))[A] == Product(A, "RED HEART", 245, "GBP")


async def test_a_removed_product_loses_its_terms(shop: Shop) -> None:
    await shop.catalog.put([CatalogRow(A, "RED HEART", 255, "GBP", 7, terms='{"weight_class":"bulky"}')])
    await shop.catalog.remove([A])
    await shop.catalog.put([CatalogRow(A, "RED HEART", 255, "GBP")])
    assert (await shop.prices.products([A]))[A].terms == Terms()


async def test_a_removed_product_is_sold_no_more_and_its_stock_stays_for_orders_that_hold_some(shop: Shop) -> None:
    await shop.catalog.put(ROWS)
    assert await shop.catalog.remove([A, Z]) == 1
    assert A not in await book_of(shop).products([A, B])
    assert await shop.catalog.missing([A, B]) == [A]
    assert await shop.stock.level(A) == 7
    assert await shop.catalog.remove([A]) == 0
    assert await shop.catalog.put([CatalogRow(A, stock=3)]) == PutCounts(0, 0, 0, unknown=1)
    assert await shop.catalog.put([CatalogRow(A, "RED HEART", 255, "GBP", 2)]) == PutCounts(new=1, changed=0, same=0)
    assert await shop.stock.level(A) == 2


async def test_rows_are_the_products_of_now_without_their_stock(shop: Shop) -> None:
    await shop.catalog.put([*ROWS, CatalogRow(A, category="Hearts")])
    assert await shop.catalog.rows([Z, A]) == [None, CatalogRow(A, "RED HEART", 255, "GBP", category="Hearts")]


async def test_changes_are_announced_in_their_order(shop: Shop) -> None:
    assert await shop.catalog.changes_after("", 10) == []
    await shop.catalog.announce([A, B], by="one")
    await shop.catalog.announce([], by="one")
    await shop.catalog.announce([Sku("café")], by="")
    changes = await shop.catalog.changes_after("", 10)
    assert [(change.skus, change.by) for change in changes] == [([A, B], "one"), (["café"], "")]
    assert await shop.catalog.changes_after("", 1) == changes[:1]
    assert await shop.catalog.changes_after(changes[0].position, 10) == changes[1:]
    assert await shop.catalog.changes_after(changes[1].position, 10) == []


async def test_very_many_changes_are_announced_in_parts(shop: Shop) -> None:
    skus = [Sku(f"S{number}") for number in range(600)]
    await shop.catalog.announce(skus, by="one")
    changes = await shop.catalog.changes_after("", 10)
    assert [sku for change in changes for sku in change.skus] == skus
