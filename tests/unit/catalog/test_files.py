import hashlib
from pathlib import Path

import pytest

from cart.catalog.files import CatalogFile, CatalogFileError, FileForm, NumberedRow, Rejection
from cart.catalog.model import CatalogRow
from cart.catalog.text_lines import LINE_MAX_CHARS
from cart.model import Sku

HEADER = b"sku,name,price,currency,stock\n"
HEART = CatalogRow(Sku("85123A"), "HEART", 255, "GBP", 7)


def records(
    tmp_path: Path, content: bytes, suffix: str = ".csv", form: FileForm | None = None
) -> list[NumberedRow | Rejection]:
    path = tmp_path / f"catalog{suffix}"
    path.write_bytes(content)
    return list(CatalogFile(path, form).records())


def rejections(tmp_path: Path, content: bytes, suffix: str = ".csv") -> list[Rejection]:
    return [record for record in records(tmp_path, content, suffix) if isinstance(record, Rejection)]


def test_a_csv_file_gives_its_rows_with_their_lines(tmp_path: Path) -> None:
    assert records(tmp_path, HEADER + b"85123A,HEART,2.55,GBP,7\nBANK CHARGES,Fees,15,GBP,0\n") == [
        NumberedRow(2, HEART),
        NumberedRow(3, CatalogRow(Sku("BANK CHARGES"), "Fees", 1500, "GBP", 0)),
    ]


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + HEADER + b"85123A,HEART,2.55,GBP,7",
        b"stock,colour,SKU , currency,price,name\r\n7,red,85123A,GBP,2.55,HEART\r\n",
        HEADER + b'"85123A","HEART", 2.55 , GBP , 7 \n\n',
        HEADER.replace(b"\n", b"\r") + b"85123A,HEART,2.55,GBP,7\r",
        ("\ufeff" + HEADER.decode() + "85123A,HEART,2.55,GBP,7\r\n").encode("utf-16-le"),
        ("\ufeff" + HEADER.decode() + "85123A,HEART,2.55,GBP,7\r\n").encode("utf-16-be"),
        b"sku;name;price;currency;stock\n85123A;HEART;2.55;GBP;7\n",
        b"sku\tname\tprice\tcurrency\tstock\n85123A\tHEART\t2.55\tGBP\t7\n",
        b'"sku"|"name"|"price"|"currency"|"stock"\r\n"85123A"|"HEART"|"2.55"|"GBP"|"7"\r\n',
        HEADER + b'85123A, "HEART" ,2.55,GBP,7\n,,,,\n ,\xc2\xa0,,,\n',
        HEADER + b"85123A,HEART,2.5500,GBP,7.00",
    ],
    ids=[
        "byte order mark",
        "other order, other columns, carriage returns",
        "quotes, spaces around numbers, empty line",
        "carriage returns alone",
        "UTF-16, little end first",
        "UTF-16, big end first",
        "semicolons",
        "tabs",
        "bars and quotes",
        "blanks around quotes, rows without content",
        "zeros behind the decimals, no end of line",
    ],
)
def test_equivalent_csv_notations_give_the_same_rows(tmp_path: Path, content: bytes) -> None:
    assert records(tmp_path, content) == [NumberedRow(2, HEART)]


@pytest.mark.parametrize(
    "line",
    [
        b'{"sku":"85123A","name":"HEART","price":2.55,"currency":"GBP","stock":7}',
        b'{"stock":"7","colour":["red"],"currency":"GBP","price":"2.55","sku":"85123A","name":"HEART"}\r\n',
        b'\xef\xbb\xbf{"sku":"85123A","name":"HEART","price":2.55,"currency":"GBP","stock":7}\n\n \n',
    ],
    ids=["numbers", "strings", "byte order mark and empty lines"],
)
def test_a_json_lines_file_gives_its_rows_with_their_lines(tmp_path: Path, line: bytes) -> None:
    assert records(tmp_path, line, ".jsonl") == [NumberedRow(1, HEART)]


def test_names_are_unchanged_and_skus_without_the_blanks_around_them(tmp_path: Path) -> None:
    [found] = records(tmp_path, HEADER + ' E\u0301 1 ,"  A ""B"", C ",1,GBP,1\n'.encode())
    assert found == NumberedRow(2, CatalogRow(Sku("É 1"), '  A "B", C ', 100, "GBP", 1))


def test_line_breaks_and_tabs_in_a_name_are_blanks(tmp_path: Path) -> None:
    content = HEADER + b'A,"two\r\nlines",1,GBP,1\nB,"\ta \n\n b\n",1,GBP,1\n'
    assert [found.row.name for found in records(tmp_path, content) if isinstance(found, NumberedRow)] == [
        "two lines",
        "a b",
    ]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b",N,1,GBP,1", "sku '' is empty"),
        (" \u3000,N,1,GBP,1".encode(), "is empty"),
        (b"a\\b,N,1,GBP,1", "cannot stand in the path of a request: it holds a backslash"),
        (b"..,N,1,GBP,1", "sku '..' cannot stand in the path of a request"),
        (b" . ,N,1,GBP,1", "sku ' . ' cannot stand in the path of a request"),
        (b"A\tB,N,1,GBP,1", r"sku 'A\tB' is not 1 to 64 bytes of printable text"),
        ("é".encode() * 33 + b",N,1,GBP,1", "is not 1 to 64 bytes of printable text"),
        (b"\xff,N,1,GBP,1", "is not UTF-8; --encoding reads"),
        (b"A,\xff,1,GBP,1", "is not UTF-8"),
        (b"A, ,1,GBP,1", "name ' ' is empty"),
        (b"A,a\x00b,1,GBP,1", "holds a control character"),
        (b"A," + b"n" * 1001 + b",1,GBP,1", "is longer than 1000 bytes"),
        (b"A,N,,GBP,1", "price '' is no price such as 2.55"),
        (b"A,N,2.555,GBP,1", "price '2.555' has more than the 2 decimals of GBP"),
        (b"A,N,2.5,JPY,1", "price '2.5' has decimals, JPY has none"),
        (b'A,N,"2,55",GBP,1', "price '2,55' is no price such as 2.55: --decimal-comma reads"),
        (b"A,N,1e3,GBP,1", "price '1e3' is no price such as 2.55: write it without an exponent"),
        (b"A,N,1,gbp,1", "currency 'gbp' is no currency code of ISO 4217, such as GBP"),
        (b"A,N,1,GBP,-1", "stock '-1' is no whole number of 0 to 1000000000000"),
        (b"A,N,1,GBP,1.5", "stock '1.5' is no whole number"),
        (b"A,N,1,GBP,", "stock '' is no whole number"),
        (b"A,N,1,GBP,1000000000001", "is no whole number of 0 to"),
        (b"A,N,1,GBP", "has 4 fields, the header has 5"),
        (b"A,N,1,000,GBP,1", "has 6 fields, the header has 5"),
        (b'A,"N" x,1,GBP,1', "',' expected after the closing quote, not 'x'"),
        (b"A," + b"n" * 140_000 + b",1,GBP,1", "is longer than 1000 bytes"),
        (b"A,N\xff,1,GBP,1", "name 'N\\udcff' is not UTF-8; --encoding reads"),
        (
            b"A,N,2.555,Gbp,x",
            "currency 'Gbp' is no currency code of ISO 4217, such as GBP; stock 'x' is no whole number",
        ),
    ],
)
def test_a_bad_csv_row_is_rejected_with_its_line_and_the_next_one_read(tmp_path: Path, row: bytes, reason: str) -> None:
    rejected, sound = records(tmp_path, HEADER + row + b"\n85123A,HEART,2.55,GBP,7\n")
    assert isinstance(rejected, Rejection)
    assert rejected.line == 2
    assert reason in rejected.reason
    assert sound == NumberedRow(3, HEART)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "the line ends too early"),
        (b"[]", "the line must be an object"),
        (b'{"sku":"A","name":"N","price":1,"stock":1}', "lacks currency"),
        (b'{"sku":"A"}', "lacks name, price, currency, stock"),
        (b'{"sku":1,"name":"N","price":1,"currency":"GBP","stock":1}', "sku must be a string"),
        (b'{"sku":"A","name":"N","price":1e2,"currency":"GBP","stock":1}', "price '1e2' is no price"),
        (b'{"sku":"A","name":"N","price":null,"currency":"GBP","stock":1}', "price 'null' is no price"),
        (b'{"sku":"A","name":"N","price":2.555,"currency":"GBP","stock":1}', "decimals of GBP"),
        (b'{"sku":"A","name":"N","price":1,"currency":"GBP","stock":1.5}', "stock '1.5' is no whole number"),
        (b'{"sku":"A","name":"a\\u0007b","price":1,"currency":"GBP","stock":1}', "control character"),
        (b'{"sku":"A","name":"\xff","price":1,"currency":"GBP","stock":1}', "is not UTF-8"),
        (b'{"sku":"A","x":' + b"[" * 100_000 + b"}", "nested too deeply"),
    ],
)
def test_a_bad_json_line_is_rejected_with_its_line_and_the_next_one_read(
    tmp_path: Path, line: bytes, reason: str
) -> None:
    good = b'{"sku":"85123A","name":"HEART","price":2.55,"currency":"GBP","stock":7}'
    rejected, sound = records(tmp_path, b"\n" + line + b"\n" + good, ".jsonl")
    assert isinstance(rejected, Rejection)
    assert rejected.line == 2
    assert any(part in rejected.reason for part in reason.split("|"))
    assert sound == NumberedRow(3, HEART)


def test_a_record_over_several_lines_is_named_by_its_first(tmp_path: Path) -> None:
    content = HEADER + b'A,"two\nlines",x,GBP,1\nB,N,bad,GBP,1\n'
    assert [(found.line, found.reason[:12]) for found in rejections(tmp_path, content)] == [
        (2, "price 'x' is"),
        (4, "price 'bad' "),
    ]


def test_json_records_have_the_same_members(tmp_path: Path) -> None:
    """A misspelt member must not pass for one that is left as it is."""
    content = (
        b'{"sku":"A","price":1,"currency":"GBP"}\n{"sku":"B","price":1}\n'
        b'{"sku":"C","price":1,"currency":"GBP","stock":1}\n'
    )
    assert records(tmp_path, content, ".jsonl") == [
        NumberedRow(1, CatalogRow(Sku("A"), None, 100, "GBP", None)),
        Rejection(2, "currency is missing"),
        Rejection(3, "has stock, which the first record does not have"),
    ]


@pytest.mark.parametrize(
    ("content", "row"),
    [
        (b"sku,price,currency\nA,1,GBP\n", CatalogRow(Sku("A"), None, 100, "GBP", None)),
        (b"sku,name,price,currency\nA,N,1,GBP\n", CatalogRow(Sku("A"), "N", 100, "GBP", None)),
        (b"stock,sku\n7,A\n", CatalogRow(Sku("A"), None, None, None, 7)),
        (b"name,SKU\nN,A\n", CatalogRow(Sku("A"), "N", None, None, None)),
    ],
)
def test_a_file_may_have_some_of_the_columns(tmp_path: Path, content: bytes, row: CatalogRow) -> None:
    assert records(tmp_path, content) == [NumberedRow(2, row)]


def test_a_file_is_read_in_the_form_that_is_named(tmp_path: Path) -> None:
    content = "sku;name;price;currency;stock\n85123A;\xc9T\xc9;2,55;GBP;7,000\n".encode("cp1252")
    expected = [NumberedRow(2, CatalogRow(Sku("85123A"), "ÉTÉ", 255, "GBP", 7))]
    assert records(tmp_path, content, form=FileForm(";", ",", "cp1252")) == expected
    assert records(tmp_path, content, form=FileForm(None, ",", "cp1252")) == expected
    marked = b"\xef\xbb\xbf" + content.decode("cp1252").encode()
    assert records(tmp_path, marked, form=FileForm(None, ",", "cp1252")) == expected, "the mark goes before the option"


@pytest.mark.parametrize(
    "encoding",
    [
        "utf-8",
        "utf-8-sig",
        "utf-16",
        "utf-16-le",
        "utf-16-be",
        "utf-32",
        "cp1252",
        "latin-1",
        "mac-roman",
        "gb18030",
        "shift_jis",
    ],
)
def test_every_encoding_of_text_can_be_named(tmp_path: Path, encoding: str) -> None:
    content = (HEADER.decode() + "85123A,HEART,2.55,GBP,7\n").encode(encoding)
    assert records(tmp_path, content, form=FileForm(encoding=encoding)) == [NumberedRow(2, HEART)]


def test_a_spreadsheet_tells_its_delimiter_in_a_line_of_its_own(tmp_path: Path) -> None:
    content = b"sep=;\r\nsku;name;price;currency;stock\r\n85123A;HEART;2.55;GBP;7\r\n"
    assert records(tmp_path, content) == [NumberedRow(3, HEART)]


def test_the_sku_check_of_a_shop_has_the_last_word(tmp_path: Path) -> None:
    path = tmp_path / "catalog.csv"
    path.write_bytes(HEADER + b"1234,N,1,GBP,1\nA,N,1,GBP,1\n")
    file = CatalogFile(path, sku_check=lambda sku: "is a number" if sku.isdecimal() else None)
    assert next(file.records()) == Rejection(2, "sku '1234' is a number")


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_an_endless_line_is_skipped_in_bounded_pieces(tmp_path: Path, suffix: str) -> None:
    endless = b"x" * (3 * LINE_MAX_CHARS)
    head = HEADER if suffix == ".csv" else b"\n"
    assert [found.line for found in rejections(tmp_path, head + endless + b"\nbad\n", suffix)] == [2, 3]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the header lacks sku, name, price, currency, stock"),
        (b"\n \n", "the header lacks sku, name, price, currency, stock"),
        (b"sku,name,price\n", "line 1: the header lacks currency"),
        (b"sku\nA\n", "the header lacks name, price, currency, stock"),
        (b"name,price,currency,stock\n", "the header lacks sku"),
        (b"\nsku,name,price,currency,stock,Stock\n", "line 2: the header repeats stock"),
        (b'sku,"name" x\n', "line 1: the quotes of the header are wrong"),
        (HEADER.decode().encode("utf-16-le"), "the file may be UTF-16: --encoding utf-16-le"),
    ],
)
def test_a_csv_file_needs_its_header(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(CatalogFileError, match=reason):
        records(tmp_path, content)


def test_a_delimiter_that_the_header_does_not_have_is_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogFileError, match="separated by ';', not by ',': see --delimiter"):
        records(tmp_path, b"sku;name;price;currency;stock\n", form=FileForm(","))


def test_a_file_of_another_kind_or_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogFileError, match=r"not named \.csv, \.tsv or \.jsonl"):
        CatalogFile(tmp_path / "catalog.xlsx")
    for encoding in ("latin-99", "base64", "rot13", "undefined", "a\x00b"):
        with pytest.raises(CatalogFileError, match="there is no encoding"):
            CatalogFile(tmp_path / "catalog.csv", FileForm(encoding=encoding))
    with pytest.raises(CatalogFileError, match="No such file"):
        CatalogFile(tmp_path / "none.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(CatalogFileError, match="Is a directory"):
        list(CatalogFile(tmp_path / "folder.csv").records())


def test_the_bytes_read_are_counted_and_hashed(tmp_path: Path) -> None:
    content = b"\xef\xbb\xbf" + HEADER + b"85123A,HEART,2.55,GBP,7\n"
    path = tmp_path / "catalog.csv"
    path.write_bytes(content)
    file = CatalogFile(path)
    list(file.records())
    assert (file.done, file.size) == (len(content), len(content))
    assert file.digest == hashlib.sha256(content).hexdigest()


def test_a_file_may_have_a_category_which_no_product_needs(tmp_path: Path) -> None:
    content = "sku,category\nA, Cafe\u0301 \nB,\nC,a\x01b\n".encode()
    assert records(tmp_path, content) == [
        NumberedRow(2, CatalogRow(Sku("A"), category="Caf\u00e9")),
        NumberedRow(3, CatalogRow(Sku("B"), category="")),
        Rejection(4, "category 'a\\x01b' is not up to 200 bytes of printable text"),
    ]
    line = b'{"sku":"A","category":"Lighting"}'
    assert records(tmp_path, line, ".jsonl") == [NumberedRow(1, CatalogRow(Sku("A"), category="Lighting"))]


def test_a_file_may_have_scheduled_prices_in_the_currency_of_its_price(tmp_path: Path) -> None:
    day = 86_400_000
    terms = f'{{"scheduled_prices":[[199,{365 * day},{366 * day}],[249,{400 * day},{401 * day}]]}}'
    sale = NumberedRow(2, CatalogRow(Sku("A"), price=255, currency="GBP", terms=terms))
    none = CatalogRow(Sku("B"), price=255, currency="GBP", terms='{"scheduled_prices":null}')
    lines = (
        "sku,price,currency,scheduled_prices",
        "A,2.55,GBP,2.49 1971-02-05T00:00Z/1971-02-06T00:00Z; 1.99 1971-01-01T01:00+01:00/1971-01-02T00:00Z",
        "B,2.55,GBP, ",
        "C,2.55,GBP,1.999",
    )
    assert records(tmp_path, "\n".join(lines).encode()) == [
        sale,
        NumberedRow(3, none),
        Rejection(
            4,
            "scheduled_prices '1.999' has no form such as 1.99 2026-11-27T00:00Z/2026-12-01T00:00Z, with ; between several",
        ),
    ]
    periods = (
        '{"price":1.99,"from":"1971-01-01T00:00Z","until":"1971-01-02T00:00Z"},'
        '{"price":"2.49","from":"1971-02-05T00:00Z","until":"1971-02-06T00:00Z"}'
    )
    objects = "".join(
        f'{{"sku":"{sku}","price":2.55,"currency":"GBP","scheduled_prices":{value}}}\n'
        for sku, value in (("A", f"[{periods}]"), ("B", "null"), ("B", "[]"), ("C", '[{"price":1}]'))
    )
    assert records(tmp_path, objects.encode(), ".jsonl") == [
        sale._replace(line=1),
        NumberedRow(2, none),
        NumberedRow(3, none),
        Rejection(4, "scheduled_prices/0/from is missing"),
    ]
    with pytest.raises(CatalogFileError, match="lacks price, currency"):
        records(tmp_path, b"sku,scheduled_prices\nA,\n")


def test_a_file_may_have_terms_of_which_an_empty_one_is_the_default(tmp_path: Path) -> None:
    assert records(tmp_path, b"sku,weight_class,tax_class\nA, bulky ,\nB,Bulky,\n") == [
        NumberedRow(2, CatalogRow(Sku("A"), terms='{"weight_class":"bulky","tax_class":null}')),
        Rejection(3, "weight_class 'Bulky' is not a name of 1 to 32 of the characters a-z, 0-9, - and _"),
    ]
    lines = b'{"sku":"A","tax_class":"books"}\n{"sku":"B","tax_class":null}\n{"sku":"C","tax_class":1.5}\n'
    assert records(tmp_path, lines, ".jsonl") == [
        NumberedRow(1, CatalogRow(Sku("A"), terms='{"tax_class":"books"}')),
        NumberedRow(2, CatalogRow(Sku("B"), terms='{"tax_class":null}')),
        Rejection(3, "tax_class must be a string or null"),
    ]


def test_a_file_may_limit_units_per_shopper(tmp_path: Path) -> None:
    assert records(tmp_path, b"sku,per_shopper\nA, 2 \nB,\nC,0\nD,-1\n") == [
        NumberedRow(2, CatalogRow(Sku("A"), terms='{"per_shopper":2}')),
        NumberedRow(3, CatalogRow(Sku("B"), terms='{"per_shopper":null}')),
        NumberedRow(4, CatalogRow(Sku("C"), terms='{"per_shopper":null}')),
        Rejection(5, "per_shopper '-1' is no whole number of 0 to 1000000000000"),
    ]
    lines = b'{"sku":"A","per_shopper":2}\n{"sku":"B","per_shopper":"3"}\n{"sku":"C","per_shopper":null}'
    assert records(tmp_path, lines, ".jsonl") == [
        NumberedRow(1, CatalogRow(Sku("A"), terms='{"per_shopper":2}')),
        NumberedRow(2, CatalogRow(Sku("B"), terms='{"per_shopper":3}')),
        NumberedRow(3, CatalogRow(Sku("C"), terms='{"per_shopper":null}')),
    ]


def test_a_file_may_say_that_products_are_sold_ahead(tmp_path: Path) -> None:
    header = b"sku,sold_ahead,ahead_limit,available_on\n"
    lines = b"A, preorder ,50,2026-12-20\nB,,,\nC,soon,,20.12.2026\nD,backorder,,20261220\n"
    assert records(tmp_path, header + lines) == [
        NumberedRow(
            2, CatalogRow(Sku("A"), terms='{"sold_ahead":"preorder","ahead_limit":50,"available_on":"2026-12-20"}')
        ),
        NumberedRow(3, CatalogRow(Sku("B"), terms='{"sold_ahead":null,"ahead_limit":null,"available_on":null}')),
        Rejection(
            4,
            "sold_ahead 'soon' is not backorder or preorder; available_on '20.12.2026' is no date such as 2026-12-20",
        ),
        Rejection(5, "available_on '20261220' is no date such as 2026-12-20"),
    ]


def test_a_file_may_say_how_long_carts_hold_units(tmp_path: Path) -> None:
    assert records(tmp_path, b"sku,hold_at_cart\nA,600\nB,\nC,3601\n") == [
        NumberedRow(2, CatalogRow(Sku("A"), terms='{"hold_at_cart":600}')),
        NumberedRow(3, CatalogRow(Sku("B"), terms='{"hold_at_cart":null}')),
        Rejection(4, "hold_at_cart '3601' is above 3600 seconds"),
    ]
