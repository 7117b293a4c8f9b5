import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cart.catalog import redis_catalog
from cart.catalog.handlers import ProductHandlers
from cart.catalog.importer import import_catalog, import_once
from cart.catalog.ports import ImportBusy
from cart.catalog.redis_catalog import IMPORTS_KEY, LEASE_KEY, RedisCatalog, RedisPriceBook
from cart.catalog.sqlite_search import SqliteSearch
from cart.model import Sku
from store import Client
from tests.waiting import WITHIN_S

SAMPLE = Path(__file__).parents[3] / "examples" / "catalog.csv"
HEADER = "sku,name,price,currency,stock\n"


@pytest.fixture
async def search(tmp_path: Path) -> AsyncIterator[SqliteSearch]:
    search = SqliteSearch(tmp_path / "search.sqlite3")
    await search.open()
    yield search
    await search.close()


async def test_the_sample_catalogue_is_served_as_in_its_file(store: Client, search: SqliteSearch) -> None:
    catalog, prices = RedisCatalog(store), RedisPriceBook(store)
    report = await import_catalog(SAMPLE, catalog=catalog, search=search)
    assert (report.imported, report.rejected, report.new) == (2_748, 0, 2_748)

    handlers = ProductHandlers(prices=prices, stock=catalog, search=search)
    page = await handlers.page(limit=100)
    views = list(page.products)
    while page.next_cursor is not None:
        page = await handlers.page(limit=100, cursor=page.next_cursor)
        views += page.products
    assert len(views) == 2_748
    assert sum(view.stock or 0 for view in views) == 333_525
    assert sum(view.product.price * (view.stock or 0) for view in views) == 77_475_222
    assert (await handlers.get(Sku("BANK CHARGES"))).product.name == "Bank Charges"
    assert [view.product.sku for view in (await handlers.page(q="hanging heart white holder")).products] == [
        "85123A",
        "85123a",
    ]


async def test_a_product_is_one_hash_tagged_by_its_sku(store: Client, search: SqliteSearch, tmp_path: Path) -> None:
    path = tmp_path / "catalog.csv"
    path.write_text(HEADER + "BANK CHARGES,Fees,15,GBP,3\n")
    await import_catalog(path, catalog=RedisCatalog(store), search=search)
    assert await store.execute("HGETALL", "{BANK CHARGES}p") == {
        b"name": b"Fees",
        b"price": b"1500",
        b"currency": b"GBP",
        b"stock": b"3",
        b"imported": b"3",
    }


async def test_a_changed_price_reaches_every_price_book(store: Client, search: SqliteSearch, tmp_path: Path) -> None:
    path = tmp_path / "catalog.csv"
    books = [RedisPriceBook(store, poll_s=0.01) for _ in range(3)]
    watching = [asyncio.create_task(book.watch()) for book in books]
    for price in ("1.00", "1.10"):
        path.write_text(HEADER + f"A,HEART,{price},GBP,3\n")
        await import_catalog(path, catalog=RedisCatalog(store), search=search)
        async with asyncio.timeout(WITHIN_S):
            for book in books:
                while (await book.products([Sku("A")]))[Sku("A")].price != int(price.replace(".", "")):
                    await store.execute("PING")
    for task in watching:
        task.cancel()
    await asyncio.gather(*watching, return_exceptions=True)


async def test_an_import_of_prices_amid_sales_loses_no_unit(
    store: Client, search: SqliteSearch, tmp_path: Path
) -> None:
    path = tmp_path / "catalog.csv"
    path.write_text(HEADER + "A,HEART,1.00,GBP,1000\n")
    await import_catalog(path, catalog=RedisCatalog(store), search=search)
    prices = tmp_path / "prices.csv"

    async def sell() -> None:
        for _ in range(100):
            await store.execute("HINCRBY", "{A}p", "stock", -1)

    async def reprice() -> None:
        for pounds in range(2, 7):
            prices.write_text(f"sku,price,currency\nA,{pounds},GBP\n")
            await import_catalog(prices, catalog=RedisCatalog(store), search=search)

    await asyncio.gather(sell(), reprice(), sell())
    assert await RedisCatalog(store).level(Sku("A")) == 800
    assert await store.execute("HGET", "{A}p", "price") == b"600"
    assert (await search.page(limit=1, q="heart")).skus == ["A"]


async def test_importing_once_is_recorded_in_the_store(store: Client, search: SqliteSearch, tmp_path: Path) -> None:
    path = tmp_path / "catalog.csv"
    path.write_text(HEADER + "A,HEART,1,GBP,3\n")
    times_ms = iter((1_764_000_000_000, 1_764_000_000_001))
    catalog = RedisCatalog(store, now_ms=lambda: next(times_ms))
    assert await import_once(path, catalog=catalog, search=search) is not None
    await store.execute("HINCRBY", "{A}p", "stock", -2)
    assert await import_once(path, catalog=catalog, search=search) is None
    assert await catalog.level(Sku("A")) == 1
    assert list((await store.execute("HGETALL", IMPORTS_KEY)).values()) == [b"1764000000001"], "it is in use"


async def test_two_simultaneous_imports_of_a_file_import_it_once(store: Client, tmp_path: Path) -> None:
    """The second import waits for the lease, finds the content in the store, and fills only its own search."""
    path = tmp_path / "catalog.csv"
    path.write_text(HEADER + "A,HEART,1,GBP,3\n")
    hosts = [SqliteSearch(tmp_path / host / "search.sqlite3") for host in ("one", "two")]
    for host in hosts:
        await host.open()
    reports = await asyncio.gather(*(import_once(path, catalog=RedisCatalog(store), search=host) for host in hosts))
    assert sorted(report.new for report in reports if report is not None) == [0, 1]
    assert [(await host.page(limit=1)).skus for host in hosts] == [["A"], ["A"]]
    for host in hosts:
        await host.close()


async def test_the_lease_of_a_killed_import_expires(store: Client) -> None:
    await store.execute("SET", LEASE_KEY, "killed", "PX", 50)
    async with RedisCatalog(store).lease(wait_s=5):
        assert await store.execute("GET", LEASE_KEY) != b"killed"
    assert await store.execute("GET", LEASE_KEY) is None


async def test_a_long_import_renews_its_lease(store: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_catalog, "LEASE_MS", 400)
    async with RedisCatalog(store).lease(wait_s=1):
        left_ms = await store.execute("PTTL", LEASE_KEY)
        async with asyncio.timeout(WITHIN_S):
            while (now_left_ms := await store.execute("PTTL", LEASE_KEY)) <= left_ms:
                left_ms = now_left_ms
        assert left_ms > 0


async def test_an_import_that_lost_its_lease_does_not_release_that_of_another(store: Client) -> None:
    async with RedisCatalog(store).lease(wait_s=1):
        await store.execute("SET", LEASE_KEY, "another")
    assert await store.execute("GET", LEASE_KEY) == b"another"
    with pytest.raises(ImportBusy):
        async with RedisCatalog(store).lease(wait_s=0.01):
            pytest.fail("two imports at once")


async def test_an_import_whose_lease_was_lost_is_cancelled(store: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    async def lose_the_lease() -> None:
        async with RedisCatalog(store).lease(wait_s=1):
            await store.execute("SET", LEASE_KEY, "another")
            await asyncio.Event().wait()

    monkeypatch.setattr(redis_catalog, "LEASE_MS", 40)
    with pytest.raises(ImportBusy):
        await lose_the_lease()
    assert await store.execute("GET", LEASE_KEY) == b"another"
