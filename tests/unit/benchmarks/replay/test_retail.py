import csv
import gzip
import io
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from benchmarks.replay.retail import Basket, BasketLine, CatalogueRow, baskets_of, catalogue_rule, read_baskets
from benchmarks.replay.retail_file import RetailFile, RetailFileError
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
        ("1,A,HEART,6,yesterday,2.55,,France", "line 2"),
        ("1,A,HEART,6,31/02/2010 08:26,2.55,,France", "line 2"),
        ("1,A,HEART,6.5,01/12/2010 08:26,2.55,,France", "line 2: Quantity '6.5' is no whole number"),
        ('1,A,HEART,6,01/12/2010 08:26,"2,55",,France', "line 2: UnitPrice '2,55' is no price"),
        ("1,A,HEART,6,01/12/2010 08:26,Infinity,,France", "line 2: UnitPrice"),
        ("1,,HEART,6,01/12/2010 08:26,2.55,,France", "line 2: StockCode '' is no SKU"),
        ('1,A,"HEART,6,01/12/2010 08:26,2.55,,France', "line 2: a quote opens a field"),
        ("1,A,HEART,6,01/12/2010 08:26,cheap,,France", "line 2"),
        ("1,A", "line 2"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(RetailFileError, match=message):
        list(read_baskets(retail_file(tmp_path, row)))


def test_an_invoice_in_two_pieces_is_an_error(tmp_path: Path) -> None:
    path = retail_file(
        tmp_path, *(f"{invoice},A,HEART,{at},01/12/2010 08:26,2.55,,France" for at, invoice in enumerate("121"))
    )
    with pytest.raises(RetailFileError, match="line 4: the lines of invoice 1 "):
        list(read_baskets(path))


def test_an_invoice_that_comes_again_whole_counts_once(tmp_path: Path) -> None:
    """The two sheets of Online Retail II share nine days."""
    lines = [f"{invoice},{sku},HEART,6,01/12/2010 08:26,2.55,,France" for invoice in "12" for sku in "AB"]
    file = RetailFile(retail_file(tmp_path, *lines, *lines))
    assert [found.invoice for found in baskets_of(file)] == ["1", "2"]
    assert file.repeated_invoices == 2


FORMS = {
    "the original": "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
    "536365,85123A,CAFÉ £5,6,{date},2.55,17850,United Kingdom\n",
    "online_retail_II": "Invoice,StockCode,Description,Quantity,InvoiceDate,Price,Customer ID,Country\n"
    "536365,85123A,CAFÉ £5,6,{date},2.55,17850.0,United Kingdom\n",
    "semicolons and decimal commas": "Invoice;StockCode;Description;Quantity;InvoiceDate;Price;Customer ID;Country\r\n"
    "536365;85123A;CAFÉ £5;6;{date};2,55;17850;United Kingdom\r\n",
    "tabs, other order, blanks": "Quantity\tInvoice\tStockCode\tInvoiceDate\tPrice\tDescription\n"
    "6.0\t536365\t 85123A \t{date}\t2.550\tCAFÉ £5\n",
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "latin-1", "utf-16"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_the_data_set_reads_alike(tmp_path: Path, form: str, encoding: str) -> None:
    path = tmp_path / "retail.csv"
    path.write_bytes(FORMS[form].format(date="2010-12-01 08:26:00").encode(encoding))
    assert list(read_baskets(path)) == [
        Basket(
            "536365",
            datetime(2010, 12, 1, 8, 26, tzinfo=UTC),
            (BasketLine("85123A", "CAFÉ £5", 6, Decimal("2.55")),),
        )
    ]


@pytest.mark.parametrize(
    ("dates", "expected", "order"),
    [
        (["2010-12-01 08:26:00"], "2010-12-01 08:26", None),
        (["2010-12-01T08:26"], "2010-12-01 08:26", None),
        (["2010-12-01"], "2010-12-01 00:00", None),
        (["01/12/2010 08:26"], "2010-12-01 08:26", "day first"),
        (["01.12.2010 08:26"], "2010-12-01 08:26", "day first"),
        (["12/1/2010 8:26"], "2010-12-01 08:26", "month first"),
        (["12/1/10 8:26"], "2010-12-01 08:26", "month first"),
        (["12/1/2010 8:26:30 PM"], "2010-12-01 20:26:30", "month first"),
        (["12/1/2010 12:05 AM"], "2010-12-01 00:05", "month first"),
        (["1/12/2010 8:26", "13/12/2010 8:26"], "2010-12-01 08:26", "day first"),
        (["12/01/2010 08:26", "12/13/2010 08:26"], "2010-12-01 08:26", "month first"),
    ],
)
def test_dates_are_read_in_the_order_that_the_file_shows(
    tmp_path: Path, dates: list[str], expected: str, order: str | None
) -> None:
    rows = [f"{number},A,HEART,6,{date},2.55,,France" for number, date in enumerate(dates)]
    file = RetailFile(retail_file(tmp_path, *rows))
    assert file.date_order == order
    assert next(baskets_of(file)).invoiced_at == datetime.fromisoformat(expected).replace(tzinfo=UTC)


def test_dates_in_both_orders_are_an_error(tmp_path: Path) -> None:
    rows = [f"{number},A,HEART,6,{date} 08:26,2.55,,France" for number, date in enumerate(("13/12/2010", "12/14/2010"))]
    with pytest.raises(RetailFileError, match="line 3: the date 12/14/2010 08:26 is not day first, as others are"):
        list(read_baskets(retail_file(tmp_path, *rows)))


@pytest.mark.parametrize("magic", [b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1"])
def test_a_spreadsheet_is_refused_with_the_way_out(tmp_path: Path, magic: bytes) -> None:
    path = tmp_path / "online_retail_II.xlsx"
    path.write_bytes(magic + b"\x00" * 100)
    with pytest.raises(RetailFileError, match="not CSV: save it as CSV"):
        list(read_baskets(path))


def test_a_compressed_file_is_recognised_by_its_content(tmp_path: Path) -> None:
    plain = retail_file(tmp_path, "1,A,HEART,6,01/12/2010 08:26,2.55,17850,United Kingdom")
    packed = tmp_path / "packed.csv"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert list(read_baskets(packed)) == list(read_baskets(plain))


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


def test_a_product_without_a_description_is_named_by_its_code() -> None:
    baskets = [basket(("A", "", 1, "1"), ("A", "", 1, "1"), ("A", "RED", 1, "1"), ("B", " ", 1, "1"))]
    assert [(row.sku, row.name) for row in catalogue_rule(baskets)] == [("A", "RED"), ("B", "B")]


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
