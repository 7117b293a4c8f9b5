from collections.abc import Sequence
from pathlib import Path

import pytest

from cart.catalog import importer
from cart.catalog.files import CatalogFileError, Rejection
from cart.catalog.importer import ImportProgress, ImportReport, import_catalog, import_once
from cart.catalog.memory import MemoryCatalog, MemorySearch
from cart.catalog.model import CatalogRow, ProductFilter
from cart.catalog.ports import ImportBusy, PutCounts
from cart.model import Product, Sku

HEADER = "sku,name,price,currency,stock\n"


class Shop:
    """Everything an import writes to, and the file it reads."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "catalog.csv"
        self.spool = folder / "spool"
        self.spool.mkdir()
        self.catalog = MemoryCatalog()
        self.search = MemorySearch()

    def file(self, *rows: str) -> Path:
        self.path.write_text(HEADER + "".join(row + "\n" for row in rows), encoding="utf-8")
        return self.path

    async def import_file(self, *rows: str, skip_bad: bool = False) -> ImportReport:
        return await import_catalog(
            self.file(*rows), catalog=self.catalog, search=self.search, skip_bad=skip_bad, spool_dir=self.spool
        )

    async def import_text(self, text: str, *, skip_bad: bool = False) -> ImportReport:
        self.path.write_text(text, encoding="utf-8")
        return await import_catalog(
            self.path, catalog=self.catalog, search=self.search, skip_bad=skip_bad, spool_dir=self.spool
        )

    async def import_file_once(self, *rows: str) -> ImportReport | None:
        path = self.file(*rows)
        return await import_once(path, catalog=self.catalog, search=self.search, spool_dir=self.spool)

    async def listed(self, q: str | None = None) -> list[Sku]:
        return (await self.search.page(limit=100, q=q)).skus


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


async def test_new_prices_of_a_product_with_scheduled_ones_leave_it_in_every_range(shop: Shop) -> None:
    sale = "1.99 2090-11-27T00:00Z/2090-11-28T00:00Z"
    await shop.import_text(f"sku,name,price,currency,scheduled_prices\nA,RED HEART,2.55,GBP,{sale}\nB,LAMP,2.55,GBP,\n")
    await shop.import_text("sku,price,currency\nA,2.45,GBP\nB,2.45,GBP\n")
    for only in (ProductFilter(None, "GBP", None, 199), ProductFilter(None, "GBP", 300)):
        assert (await shop.search.page(limit=9, only=only)).skus == ["A"]
    assert (await shop.search.page(limit=9, only=ProductFilter(None, "GBP", 245, 245))).skus == ["A", "B"]
    report = await shop.import_text(
        f"sku,price,currency,scheduled_prices\nA,2.45,GBP,{sale}; 1.49 2090-11-27T23:59Z/2090-11-29T00:00Z\n"
    )
    assert report.is_rejected
    assert "has scheduled prices that overlap: 2090-11-27T00:00:00.000Z/" in report.rejections[0].reason


async def test_products_reach_the_catalogue_and_the_search(shop: Shop) -> None:
    report = await shop.import_file("A,RED HEART,2.55,GBP,7", "B,BLUE HEART,3,EUR,0")
    assert report == ImportReport(sound=2, rejected=0, rejections=[], imported=2, new=2, changed=0)
    assert shop.catalog.book == {
        "A": Product(Sku("A"), "RED HEART", 255, "GBP"),
        "B": Product(Sku("B"), "BLUE HEART", 300, "EUR"),
    }
    assert shop.catalog.stock == {"A": 7, "B": 0}
    assert await shop.listed("heart") == ["A", "B"]
    assert list(shop.spool.iterdir()) == []


async def test_one_bad_row_prevents_the_import(shop: Shop) -> None:
    report = await shop.import_file("A,N,1,GBP,1", "B,N,x,GBP,1", "C,N,1,GBP,-1")
    assert report.is_rejected
    assert (report.sound, report.rejected, report.imported) == (1, 2, 0)
    assert report.rejections == [
        Rejection(3, "price 'x' is no price such as 2.55"),
        Rejection(4, "stock '-1' is no whole number of 0 to 1000000000000"),
    ]
    assert shop.catalog.book == {}
    assert await shop.listed() == []


async def test_bad_rows_can_be_skipped(shop: Shop) -> None:
    report = await shop.import_file("A,N,1,GBP,1", "B,N,x,GBP,1", "C,N,1,GBP,1", skip_bad=True)
    assert not report.is_rejected
    assert (report.imported, report.rejected) == (2, 1)
    assert await shop.listed() == ["A", "C"]


async def test_a_repeated_sku_is_rejected_with_the_line_of_the_first(shop: Shop) -> None:
    report = await shop.import_file("A,N,1,GBP,1", "B,N,1,GBP,1", "A,M,2,GBP,1", skip_bad=True)
    assert report.rejections == [Rejection(4, "sku 'A' is on line 2 already")]
    assert shop.catalog.book[Sku("A")].price == 100


async def test_a_repeated_sku_is_found_across_batches(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importer, "BATCH_ROWS", 2)
    report = await shop.import_file(
        "A,N,1,GBP,1", "B,N,1,GBP,1", "C,N,1,GBP,1", "D,N,x,GBP,1", "B,N,1,GBP,1", "E,N,1,GBP,1", "E,N,1,GBP,1"
    )
    assert [(found.line, found.reason[-20:]) for found in report.rejections] == [
        (5, "no price such as 2.55"[-20:]),
        (6, "is on line 3 already"),
        (8, "is on line 7 already"),
    ]


async def test_every_rejection_is_passed_on_and_only_the_first_thousand_are_in_the_report(shop: Shop) -> None:
    called: list[Rejection] = []
    path = shop.file(*(f"S{number},N,bad,GBP,1" for number in range(2500)))
    report = await import_catalog(path, catalog=shop.catalog, search=shop.search, rejected=called.append)
    assert [rejection.line for rejection in called] == list(range(2, 2502))
    assert report.rejected == 2500
    assert report.rejections == called[:1000]


async def test_a_second_import_leaves_the_stock_alone(shop: Shop) -> None:
    rows = ("A,N,1,GBP,5", "B,M,2,GBP,5")
    await shop.import_file(*rows)
    shop.catalog.stock[Sku("A")] = 1
    report = await shop.import_file(*rows)
    assert (report.imported, report.new, report.changed, report.kept_stock) == (2, 0, 0, 2)
    assert shop.catalog.stock == {"A": 1, "B": 5}
    assert shop.catalog.epoch == 0, "nothing that is cached has changed"


async def test_a_file_with_new_prices_sets_the_stock_of_its_new_products_only(shop: Shop) -> None:
    await shop.import_file("A,N,1,GBP,5")
    shop.catalog.stock[Sku("A")] = 1
    report = await shop.import_file("A,N,2,GBP,5", "B,M,2,GBP,7")
    assert (report.changed, report.new, report.kept_stock) == (1, 1, 1)
    assert shop.catalog.stock == {"A": 1, "B": 7}


async def test_a_changed_price_or_name_is_announced(shop: Shop) -> None:
    await shop.import_file("A,N,1,GBP,5", "B,M,2,GBP,5", "C,O,2,GBP,5")
    report = await shop.import_file("A,N,1.01,GBP,5", "B,RENAMED,2,GBP,5", "D,NEW,1,GBP,5")
    assert (report.imported, report.new, report.changed) == (3, 1, 2)
    assert shop.catalog.epoch == 1
    assert await shop.listed() == ["A", "B", "C", "D"], "products that the file lacks stay, in their place"
    assert await shop.listed("renamed") == ["B"]


async def test_a_long_import_announces_changes_while_it_runs(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importer, "BATCH_ROWS", 1)
    monkeypatch.setattr(importer, "EPOCH_EVERY_S", 0.0)
    await shop.import_file("A,N,1,GBP,5", "B,M,2,GBP,5", "C,O,2,GBP,5")
    await shop.import_file("A,N,7,GBP,5", "B,M,7,GBP,5", "C,O,2,GBP,5")
    assert shop.catalog.epoch == 2


async def test_a_failed_import_announces_possible_changes(shop: Shop) -> None:
    class Broken(MemoryCatalog):
        async def put(self, rows: Sequence[CatalogRow]) -> PutCounts:
            raise ConnectionError("the store is gone")

    broken = Broken()
    with pytest.raises(ConnectionError):
        await import_catalog(shop.file("A,N,1,GBP,5"), catalog=broken, search=shop.search, spool_dir=shop.spool)
    assert broken.epoch == 1
    assert list(shop.spool.iterdir()) == []
    assert await shop.import_file_once("A,N,1,GBP,5") is not None, "what broke off does not count as imported"


async def test_progress_counts_bytes_while_checking_and_rows_while_importing(shop: Shop) -> None:
    path = shop.file("A,N,1,GBP,5", "B,M,x,GBP,5", "C,O,2,GBP,5")
    reported: list[ImportProgress] = []
    await import_catalog(path, catalog=shop.catalog, search=shop.search, skip_bad=True, progress=reported.append)
    size = path.stat().st_size
    assert reported == [ImportProgress("checking", 2, size, size), ImportProgress("importing", 2, 2, 2)]


async def test_prices_and_categories_are_searched_by_after_the_import_that_brings_them(shop: Shop) -> None:
    await shop.import_file("A,RED HEART,1,GBP,5", "B,BLUE HEART,2,GBP,5")
    await shop.import_text("sku,category\nA,Hearts\nB,Other\n")
    await shop.import_text("sku,price,currency\nB,9,GBP\n")
    assert (await shop.search.page(limit=9, only=ProductFilter("Hearts"))).skus == ["A"]
    assert (await shop.search.page(limit=9, q="heart", only=ProductFilter(None, "GBP", 900, 900))).skus == ["B"]
    assert shop.catalog.book[Sku("A")].category == "Hearts"


async def test_a_file_of_prices_alone_leaves_stock_and_names_alone(shop: Shop) -> None:
    await shop.import_file("A,RED HEART,1,GBP,5", "B,M,2,GBP,5")
    shop.catalog.stock[Sku("A")] = 3
    report = await shop.import_text("sku,price,currency\nA,1.50,GBP\nB,2,GBP\n")
    assert (report.imported, report.changed, report.untouched) == (2, 1, ("name", "stock"))
    assert report.kept_stock == 0, "the file says nothing of it"
    assert shop.catalog.book[Sku("A")] == Product(Sku("A"), "RED HEART", 150, "GBP")
    assert shop.catalog.stock == {"A": 3, "B": 5}
    assert await shop.listed("heart") == ["A"]


async def test_a_file_of_stock_alone_leaves_prices_alone(shop: Shop) -> None:
    await shop.import_file("A,RED HEART,1,GBP,5", "B,M,2,GBP,5")
    report = await shop.import_text("sku,stock\nB,9\n")
    assert (report.imported, report.new, report.changed, report.kept_stock) == (1, 0, 0, 0)
    assert shop.catalog.book[Sku("B")] == Product(Sku("B"), "M", 200, "GBP")
    assert shop.catalog.stock == {"A": 5, "B": 9}
    assert shop.catalog.epoch == 0


async def test_a_category_beside_the_stock_makes_it_no_count(shop: Shop) -> None:
    await shop.import_file("A,N,1,GBP,5")
    report = await shop.import_text("sku,stock,category\nA,9,hearts\n")
    assert (report.changed, report.kept_stock) == (1, 1)
    assert shop.catalog.stock == {"A": 5}


async def test_a_new_product_without_a_stock_has_none(shop: Shop) -> None:
    report = await shop.import_text("sku,name,price,currency\nA,RED HEART,1,GBP\n")
    assert report.new == 1
    assert shop.catalog.stock == {"A": 0}


async def test_a_file_that_says_too_little_about_a_new_product_imports_nothing(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importer, "BATCH_ROWS", 2)
    await shop.import_file("A,N,1,GBP,5")
    reason = "is not in the catalogue; a new product needs the columns name, price and currency"
    text = "sku,price,currency\nA,2,GBP\nY,2,GBP\nA,3,GBP\nZ,2,GBP\n"
    report = await shop.import_text(text)
    assert report.is_rejected
    assert (report.sound, report.rejected) == (1, 3)
    assert report.rejections == [
        Rejection(3, f"sku 'Y' {reason}"),
        Rejection(4, "sku 'A' is on line 2 already"),
        Rejection(5, f"sku 'Z' {reason}"),
    ]
    assert shop.catalog.book[Sku("A")].price == 100
    report = await shop.import_text(text, skip_bad=True)
    assert (report.imported, report.rejected) == (1, 3)
    assert shop.catalog.book[Sku("A")].price == 200
    assert shop.catalog.book.keys() == {"A"}


async def test_importing_once_refuses_what_it_knows_too_little_about(shop: Shop) -> None:
    shop.path.write_text("sku,stock\nA,2\n")
    report = await import_once(shop.path, catalog=shop.catalog, search=shop.search, spool_dir=shop.spool)
    assert report is not None
    assert report.is_rejected
    assert not await shop.listed()


async def test_two_broken_records_of_two_hundred_cost_two(shop: Shop) -> None:
    sound = [f"B{number},Product {number},1.00,GBP,1" for number in range(200)]
    rows = ('A1,"Mug 12 plate,2.55,GBP,5', *sound[:100], 'A2,"Jug,2.55,GBP,5', *sound[100:])
    report = await shop.import_file(*rows, skip_bad=True)
    assert (report.imported, report.rejected) == (200, 2)
    assert [rejection.line for rejection in report.rejections] == [2, 103]
    assert len(shop.catalog.book) == 200


async def test_spellings_of_a_sku_are_repeats_of_it(shop: Shop) -> None:
    rows = (
        "ABC-1,Mug,2.55,GBP,5",
        "ABC-1 ,Mug again,2.65,GBP,5",
        " ABC-1,Mug third,2.75,GBP,5",
        "   ,Blank,1.00,GBP,5",
    )
    report = await shop.import_file(*rows, skip_bad=True)
    assert report.rejections == [
        Rejection(3, "sku 'ABC-1' is on line 2 already"),
        Rejection(4, "sku 'ABC-1' is on line 2 already"),
        Rejection(5, "sku '   ' is empty"),
    ]
    assert shop.catalog.book.keys() == {"ABC-1"}
    assert shop.catalog.book[Sku("ABC-1")].price == 255


async def test_only_one_import_writes_at_a_time(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importer, "LEASE_WAIT_S", 0.01)
    async with shop.catalog.lease(wait_s=1):
        with pytest.raises(ImportBusy):
            await shop.import_file("A,N,1,GBP,5")
    assert (await shop.import_file("A,N,1,GBP,5")).imported == 1


async def test_a_file_of_no_products_imports_nothing(shop: Shop) -> None:
    assert await shop.import_file() == ImportReport(sound=0, rejected=0, rejections=[])


async def test_a_missing_file_is_an_error(shop: Shop) -> None:
    for call in (import_catalog, import_once):
        with pytest.raises(CatalogFileError, match="No such file"):
            await call(shop.path.with_name("none.csv"), catalog=shop.catalog, search=shop.search)


async def test_importing_once_leaves_the_stock_of_a_store_that_has_the_content(shop: Shop) -> None:
    report = await shop.import_file_once("A,N,1,GBP,5")
    assert report is not None
    assert report.imported == 1
    shop.catalog.stock[Sku("A")] = 1
    assert await shop.import_file_once("A,N,1,GBP,5") is None
    assert shop.catalog.stock == {"A": 1}


async def test_other_content_is_imported_once_more(shop: Shop) -> None:
    await shop.import_file_once("A,N,1,GBP,5")
    await shop.import_file_once("A,N,2,GBP,9")
    assert (shop.catalog.book[Sku("A")].price, shop.catalog.stock) == (200, {"A": 5})


async def test_importing_once_skips_the_content_of_an_earlier_import(shop: Shop) -> None:
    await shop.import_file("A,N,1,GBP,5")
    assert await shop.import_file_once("A,N,1,GBP,5") is None


async def test_importing_once_fills_an_empty_search_and_leaves_the_stock_alone(shop: Shop) -> None:
    await shop.import_file_once("A,N,1,GBP,5")
    shop.catalog.stock[Sku("A")] = 1
    shop.search = MemorySearch()
    await shop.import_file_once("A,N,1,GBP,5")
    assert shop.catalog.stock == {"A": 1}
    assert await shop.listed() == ["A"]
    assert await shop.import_file_once("A,N,1,GBP,5") is None


async def test_importing_once_fills_an_emptied_store_again(shop: Shop) -> None:
    await shop.import_file_once("A,N,1,GBP,5")
    shop.catalog = MemoryCatalog()
    await shop.import_file_once("A,N,1,GBP,5")
    assert shop.catalog.stock == {"A": 5}


async def test_importing_once_refuses_a_file_with_a_bad_row(shop: Shop) -> None:
    report = await shop.import_file_once("A,N,1,GBP,5", "B,N,x,GBP,5")
    assert report is not None
    assert report.is_rejected
    assert shop.catalog.book == {}


async def test_an_import_is_announced_to_the_searches_of_other_hosts(shop: Shop) -> None:
    await shop.import_file("A,RED HEART,1,GBP,5", "B,BLUE HEART,2,GBP,5")
    await shop.import_text("sku,stock\nA,9\n")
    changes = await shop.catalog.changes_after("", 10)
    assert [(list(change.skus), change.by) for change in changes] == [(["A", "B"], await shop.search.name())]
