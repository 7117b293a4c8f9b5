"""Catalogue files that `csv.writer` writes are read back exactly, and damage stays where it is."""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from cart.catalog.files import CatalogFile, FileForm, NumberedRow, Rejection
from cart.catalog.model import CatalogRow
from cart.model import Sku

COLUMNS = ("sku", "name", "price", "currency", "stock", "notes")
DELIMITERS = [",", ";", "\t", "|"]
ENDS = ["\n", "\r\n", "\r"]
# Characters that mean something to a reader of CSV, and others.
MARKS = st.sampled_from("\",;|' \t\n\\aé茶")
names = st.text(MARKS, max_size=12).map(lambda text: f"N{text}N")
notes = st.text(MARKS, max_size=12)
rows = st.lists(st.tuples(names, st.integers(0, 10**6), st.integers(0, 999), notes), min_size=1, max_size=12)


def content_of(rows: Sequence[tuple[str, int, int, str]], delimiter: str, end: str, quoting: int) -> str:
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter, lineterminator=end, quoting=quoting)  # type: ignore[arg-type]
    writer.writerow(COLUMNS)
    for number, (name, price, stock, note) in enumerate(rows):
        writer.writerow((f"S{number}", name, f"{price // 100}.{price % 100:02}", "GBP", stock, note))
    return file.getvalue()


def read(content: bytes, form: FileForm | None = None) -> list[NumberedRow | Rejection]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "catalog.csv"
        path.write_bytes(content)
        return list(CatalogFile(path, form).records())


def plain(name: str) -> str:
    """A name with its line breaks and tabs read as blanks."""
    return re.sub(r"[ \t]*[\t\n\r]+[ \t]*", " ", name)


@settings(deadline=None)
@given(
    rows,
    st.sampled_from(DELIMITERS),
    st.sampled_from(ENDS),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_what_csv_writer_writes_is_read_back_exactly(
    rows: Sequence[tuple[str, int, int, str]], delimiter: str, end: str, quoting: int, encoding: str
) -> None:
    found = read(content_of(rows, delimiter, end, quoting).encode(encoding))
    assert [each.row if isinstance(each, NumberedRow) else each for each in found] == [
        CatalogRow(Sku(f"S{number}"), plain(name), price, "GBP", stock)
        for number, (name, price, stock, _) in enumerate(rows)
    ]


@settings(deadline=None, max_examples=300)
@given(rows, st.sampled_from(DELIMITERS), st.data())
def test_a_damaged_byte_costs_no_sound_record_two_lines_away(
    rows: Sequence[tuple[str, int, int, str]], delimiter: str, data: st.DataObject
) -> None:
    """Records of one line each, one byte of which is replaced, removed or added."""
    rows = [(plain(name), price, stock, plain(note)) for name, price, stock, note in rows]
    content = content_of(rows, delimiter, "\n", csv.QUOTE_MINIMAL).encode()
    first = content.index(b"\n") + 1
    at = data.draw(st.integers(first, len(content) - 1), label="at")
    damage = data.draw(st.sampled_from([b"", *(bytes([byte]) for byte in b'",;\n\r\x00\xff\\a')]), label="damage")
    is_added = data.draw(st.booleans(), label="is added")
    damaged = content[:at] + damage + content[at if is_added else at + 1 :]
    line = content.count(b"\n", 0, at) + 1
    skus = [each.row.sku for each in read(damaged, FileForm(delimiter)) if isinstance(each, NumberedRow)]
    for number in range(len(rows)):
        # Two lines away from the damage: the end of a line may be what is damaged.
        if abs(number + 2 - line) >= 2:
            assert f"S{number}" in skus


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=200), st.sampled_from(["utf-8", "utf-16-le", "cp1252"]))
def test_no_bytes_are_too_much_for_the_reader(content: bytes, encoding: str) -> None:
    header = "sku,name,price,currency,stock\n".encode(encoding)
    read(header + content, FileForm(encoding=encoding))
