import csv
import gzip
import io
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from benchmarks.replay.retail import Basket, BasketLine, CatalogueRow, RetailFileError, catalogue_rule, read_baskets
from examples.make_catalog import write_catalog

ROOT = Path(__file__).parents[4]
SAMPLE = ROOT / "examples" / "catalog.csv"
REAL_TRADE = ROOT.parent / "shared" / "data" / "online-retail-2010-12.csv.gz"
HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"


def retail_file(tmp_path: Path, *rows: str) -> Path:
    path = tmp_path / "retail.csv"
    path.write_text(HEADER + "".join(row + "\n" for row in rows), encoding="utf-8")
    return path


def basket(*lines: tuple[str, str, int, str]) -> Basket:
    made = tuple(BasketLine(sku, name, quantity, Decimal(price)) for sku, name, quantity, price in lines)
    return Basket("1", datetime(2010, 12, 1, tzinfo=UTC), made)


def test_an_invoice_becomes_a_basket_with_its_lines_in_order(tmp_path: Path) -> None:
    path = retail_file(
        tmp_path,
        "536365,85123A,HEART,6,01/12/2010 08:26,2.55,17850,United Kingdom",
        "536365,71053,LANTERN,2,01/12/2010 08:26,3.39,17850,United Kingdom",
        "536366,POST,POSTAGE,1,01/12/2010 08:28,18,,France",
    )
    first, second = read_baskets(path)
    assert first == Basket(
        "536365",
        datetime(2010, 12, 1, 8, 26, tzinfo=UTC),
        (BasketLine("85123A", "HEART", 6, Decimal("2.55")), BasketLine("71053", "LANTERN", 2, Decimal("3.39"))),
    )
    assert first.units == 8
    assert second.invoice == "536366"


def test_cancellations_and_lines_without_quantity_or_price_are_left_out(tmp_path: Path) -> None:
    path = retail_file(
        tmp_path,
        "C1,A,CANCELLED,-1,01/12/2010 08:26,1.00,,France",
        "2,A,RETURNED,-1,01/12/2010 08:26,1.00,,France",
        "2,B,FREE,1,01/12/2010 08:26,0,,France",
        "3,C,KEPT,1,01/12/2010 08:26,1.00,,France",
        "3,D,DAMAGED,0,01/12/2010 08:26,1.00,,France",
    )
    assert [(found.invoice, [line.sku for line in found.lines]) for found in read_baskets(path)] == [("3", ["C"])]


def test_repeated_lines_of_a_sku_are_one_quantity() -> None:
    assert basket(("A", "a", 1, "1"), ("B", "b", 5, "1"), ("A", "a", 2, "1")).quantities() == {"A": 3, "B": 5}


def test_a_compressed_file_reads_as_the_plain_one(tmp_path: Path) -> None:
    plain = retail_file(tmp_path, "1,A,HEART,6,01/12/2010 08:26,2.55,17850,United Kingdom")
    packed = tmp_path / "retail.csv.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert list(read_baskets(packed)) == list(read_baskets(plain))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1,A,HEART,six,01/12/2010 08:26,2.55,,France", "line 2"),
        ("1,A,HEART,6,2010-12-01,2.55,,France", "line 2"),
        ("1,A,HEART,6,01/12/2010 08:26,cheap,,France", "line 2"),
        ("1,A", "line 2"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(RetailFileError, match=message):
        list(read_baskets(retail_file(tmp_path, row)))


def test_an_invoice_in_two_pieces_is_an_error(tmp_path: Path) -> None:
    path = retail_file(tmp_path, *(f"{invoice},A,HEART,6,01/12/2010 08:26,2.55,,France" for invoice in "121"))
    with pytest.raises(RetailFileError, match="invoice 1 "):
        list(read_baskets(path))


def test_another_csv_is_an_error_that_names_its_header(tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    path.write_text("sku,name\nA,B\n")
    with pytest.raises(RetailFileError, match="InvoiceNo"):
        list(read_baskets(path))


def test_a_truncated_gzip_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "retail.csv.gz"
    path.write_bytes(gzip.compress(HEADER.encode() * 500)[:-10])
    with pytest.raises(RetailFileError):
        list(read_baskets(path))


def test_the_usual_price_and_name_make_the_product() -> None:
    baskets = [
        basket(("A", "RED", 1, "2.50"), ("A", "RED", 1, "2.00")),
        basket(("A", "BLUE", 3, "2.50"), ("B", "b", 1, "0.125")),
    ]
    assert catalogue_rule(baskets) == [CatalogueRow("A", "RED", 250, 5), CatalogueRow("B", "b", 13, 1)]


def test_ties_take_the_lowest_price_and_the_first_name_in_byte_order() -> None:
    tied = basket(("A", "b", 1, "2.50"), ("A", "B", 1, "2.00"))
    assert catalogue_rule([tied]) == [CatalogueRow("A", "B", 200, 2)]


def test_equal_prices_written_differently_are_one_price() -> None:
    assert catalogue_rule([basket(("A", "a", 1, "2.5"), ("A", "a", 1, "2.50"), ("A", "a", 1, "1"))])[0].price == 250


def sample_rows() -> Iterator[dict[str, str]]:
    with SAMPLE.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def test_selling_the_sample_catalogue_out_gives_the_month_of_real_trade() -> None:
    rows = [(row["currency"], int(row["price"].replace(".", "")), int(row["stock"])) for row in sample_rows()]
    assert len(rows) == 2_748
    assert sum(stock for _, _, stock in rows) == 333_525
    assert sum(price * stock for _, price, stock in rows) == 77_475_222
    assert {currency for currency, _, _ in rows} == {"GBP"}


@pytest.mark.skipif(not REAL_TRADE.exists(), reason="the Online Retail file is not beside the repository")
def test_the_real_trade_gives_the_sample_catalogue_and_the_known_totals() -> None:
    baskets = list(read_baskets(REAL_TRADE))
    rows = catalogue_rule(baskets)
    price = {row.sku: row.price for row in rows}
    assert len(baskets) == 1_456
    assert sum(len(found.lines) for found in baskets) == 38_647
    assert sum(found.units for found in baskets) == 333_525
    assert sum(price[sku] * units for found in baskets for sku, units in found.quantities().items()) == 77_475_222
    written = io.StringIO()
    write_catalog(rows, written)
    assert written.getvalue() == SAMPLE.read_text(encoding="utf-8")
