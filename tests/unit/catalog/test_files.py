import hashlib
from pathlib import Path

import pytest

from cart.catalog.files import LINE_MAX_BYTES, CatalogFile, CatalogFileError, NumberedRow, Rejection
from cart.catalog.model import CatalogRow
from cart.model import Sku

HEADER = b"sku,name,price,currency,stock\n"
HEART = CatalogRow(Sku("85123A"), "HEART", 255, "GBP", 7)


def records(tmp_path: Path, content: bytes, suffix: str = ".csv") -> list[NumberedRow | Rejection]:
    path = tmp_path / f"catalog{suffix}"
    path.write_bytes(content)
    return list(CatalogFile(path).records())


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
    ],
    ids=[
        "byte order mark",
        "other order, other columns, carriage returns",
        "quotes, spaces around numbers, empty line",
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


def test_names_and_skus_are_unchanged(tmp_path: Path) -> None:
    [found] = records(tmp_path, HEADER + ' É 1 ,"  A ""B"", C ",1,GBP,1\n'.encode())
    assert found == NumberedRow(2, CatalogRow(Sku(" É 1 "), '  A "B", C ', 100, "GBP", 1))


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b",N,1,GBP,1", "sku '' is not 1 to 64 bytes of printable text"),
        (b"A\tB,N,1,GBP,1", r"sku 'A\tB' is not 1 to 64 bytes of printable text"),
        ("é".encode() * 33 + b",N,1,GBP,1", "is not 1 to 64 bytes of printable text"),
        (b"\xff,N,1,GBP,1", "is not 1 to 64 bytes of printable text"),
        (b"A,\xff,1,GBP,1", "is not UTF-8"),
        (b"A, ,1,GBP,1", "name ' ' is empty"),
        (b"A,a\x00b,1,GBP,1", "holds a control character"),
        (b"A," + b"n" * 1001 + b",1,GBP,1", "is longer than 1000 bytes"),
        (b"A,N,,GBP,1", "price '' is no price such as 2.55"),
        (b"A,N,2.555,GBP,1", "price '2.555' has more than the 2 decimals of GBP"),
        (b"A,N,2.5,JPY,1", "price '2.5' has decimals, JPY has none"),
        (b"A,N,1,gbp,1", "currency 'gbp' is no currency code of ISO 4217, such as GBP"),
        (b"A,N,1,GBP,-1", "stock '-1' is no whole number of 0 to 1000000000000"),
        (b"A,N,1,GBP,1.0", "stock '1.0' is no whole number"),
        (b"A,N,1,GBP,1000000000001", "is no whole number of 0 to"),
        (b"A,N,1,GBP", "has 4 fields, the header has 5"),
        (b"A,N,1,000,GBP,1", "has 6 fields, the header has 5"),
        (b'A,"N" x,1,GBP,1', "expected after"),
        (b"A," + b"n" * 140_000 + b",1,GBP,1", "field larger than field limit"),
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
        (b'{"sku":"A","name":"N","price":1,"currency":"GBP"}', "stock is missing"),
        (b'{"sku":1,"name":"N","price":1,"currency":"GBP","stock":1}', "sku must be a string"),
        (b'{"sku":"A","name":"N","price":1e2,"currency":"GBP","stock":1}', "price '1e2' is no price"),
        (b'{"sku":"A","name":"N","price":null,"currency":"GBP","stock":1}', "price 'null' is no price"),
        (b'{"sku":"A","name":"N","price":2.555,"currency":"GBP","stock":1}', "decimals of GBP"),
        (b'{"sku":"A","name":"N","price":1,"currency":"GBP","stock":1.5}', "stock '1.5' is no whole number"),
        (b'{"sku":"A","name":"a\\nb","price":1,"currency":"GBP","stock":1}', "control character"),
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
    content = HEADER + b'A,"two\nlines",1,GBP,1\nB,N,bad,GBP,1\n'
    assert [(found.line, found.reason[:12]) for found in rejections(tmp_path, content)] == [
        (2, "name 'two\\nl"),
        (4, "price 'bad' "),
    ]


def test_an_unclosed_quote_rejects_only_its_record(tmp_path: Path) -> None:
    content = HEADER + b'A,"open,1,GBP,1\n'
    assert [found.line for found in rejections(tmp_path, content)] == [2]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_an_endless_line_is_skipped_in_bounded_pieces(tmp_path: Path, suffix: str) -> None:
    endless = b"x" * (3 * LINE_MAX_BYTES)
    head = HEADER if suffix == ".csv" else b"\n"
    assert [found.line for found in rejections(tmp_path, head + endless + b"\nbad\n", suffix)] == [2, 3]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the header lacks sku, name, price, currency, stock"),
        (b"sku,name,price\n", "the header lacks currency, stock"),
        (b"sku,name,price,currency,stock,Stock\n", "the header repeats stock"),
        (b'sku,"name" x\n', "line 1"),
        (("\ufeff" + HEADER.decode()).encode("utf-16-le"), "the header lacks sku"),
    ],
)
def test_a_csv_file_needs_its_header(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(CatalogFileError, match=reason):
        records(tmp_path, content)


def test_a_file_of_another_kind_or_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogFileError, match=r"not named \.csv or \.jsonl"):
        CatalogFile(tmp_path / "catalog.xlsx")
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
