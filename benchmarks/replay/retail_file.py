"""The rows of an *Online Retail* file in the forms in which people have it: two headers, several dates and encodings.

The original data set has `InvoiceNo`, `UnitPrice` and `CustomerID`; its successor, *Online Retail II*, has `Invoice`, `Price`
and `Customer ID`. Spreadsheets write either with semicolons, tabs, decimal commas, other dates and other encodings.
"""

import codecs
import gzip
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from benchmarks.replay.dates import DateOrder, invoice_time, is_ordered, likely_order, order_shown_by
from cart.catalog.csv_records import BadRecord, CsvReader
from cart.catalog.header import ColumnsMissing, Header, HeaderFault, read_header
from cart.catalog.text_lines import Readable, text_lines
from cart.ids import parse_sku
from cart.model import Sku

COLUMNS: Final = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice")
# By their spelling in a header, in lower case.
_KNOWN: Final = {
    **{name.lower(): name for name in COLUMNS},
    "invoice": "InvoiceNo",
    "invoice no": "InvoiceNo",
    "stock code": "StockCode",
    "invoice date": "InvoiceDate",
    "price": "UnitPrice",
    "unit price": "UnitPrice",
}
_PACKED: Final = b"\x1f\x8b"
# Of a ZIP archive, which .xlsx is, and of the older .xls.
_SPREADSHEETS: Final = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
_WHOLE: Final = re.compile(r"-?[0-9]{1,12}(?:\.0+)?")
_DECIMAL: Final = re.compile(r"-?(?:[0-9]{1,12}(?:\.[0-9]*)?|\.[0-9]+)")
# Bytes that are no UTF-8 are characters of the encoding that spreadsheets of Western Europe and America write.
_ERRORS: Final = "peakgate-cp1252"


class RetailFileError(Exception):
    """The file cannot be read as Online Retail trade; the message names the file and the line."""


class RetailRow(NamedTuple):
    """One invoice line, as it was recorded, and the line of the file on which it begins."""

    line: int
    invoice: str
    sku: Sku
    description: str
    quantity: int
    invoiced_at: datetime
    unit_price: Decimal


class RetailFile:
    """The file at `path`, plain or gzip-compressed.

    `date_order` is that of dates such as 01/12/2010, None if the file has none of them; `repeated_invoices` counts those that
    came again. Raises `RetailFileError` when it is
    opened or read and a line of it cannot be.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._order: DateOrder = "day first"
        self.date_order = self._find_order()
        self._order = self.date_order or "day first"
        self.repeated_invoices = 0

    def rows(self) -> Iterator[RetailRow]:
        """Go through the file once."""
        for number, texts, header in self._records():
            try:
                yield self._row(number, texts, header)
            except ValueError as fault:
                raise self.fault(number, str(fault)) from fault

    def _find_order(self) -> DateOrder | None:
        """The order that the first date proves which proves one; else the likely one of the first date."""
        likely: DateOrder | None = None
        for _, texts, _ in self._records():
            date = texts["InvoiceDate"]
            if likely is None and not is_ordered(date):
                return None
            likely = likely or likely_order(date)
            proven = order_shown_by(date)
            if proven is not None:
                return proven
        return likely

    def _row(self, number: int, texts: Mapping[str, str], header: Header) -> RetailRow:
        sku = parse_sku(texts["StockCode"])
        if sku is None:
            raise ValueError(f"StockCode {texts['StockCode']!a} is no SKU")
        return RetailRow(
            number,
            texts["InvoiceNo"].strip(),
            sku,
            texts["Description"],
            _whole(texts["Quantity"]),
            invoice_time(texts["InvoiceDate"], self._order),
            _decimal(texts["UnitPrice"], header.delimiter),
        )

    def _records(self) -> Iterator[tuple[int, Mapping[str, str], Header]]:
        try:
            with _open(self._path) as file:
                yield from self._records_of(file)
        except (EOFError, gzip.BadGzipFile) as fault:
            raise RetailFileError(f"{self._path}: {fault}") from fault

    def _records_of(self, file: Readable) -> Iterator[tuple[int, Mapping[str, str], Header]]:
        reader = CsvReader(text_lines(file, errors=_ERRORS))
        try:
            header = read_header(reader, _KNOWN, _check)
        except HeaderFault as fault:
            raise RetailFileError(f"{self._path}: no Online Retail file: {fault}") from None

        def texts(fields: Sequence[str]) -> Mapping[str, str]:
            return {name: fields[index] for name, index in header.columns.items()}

        def is_sound(fields: Sequence[str]) -> bool:
            try:
                self._row(0, texts(fields), header)
            except ValueError:
                return False
            return True

        for record in reader.records(header.delimiter, header.width, is_sound):
            if isinstance(record, BadRecord):
                raise self.fault(record.line, record.reason)
            yield record.line, texts(record.fields), header

    def fault(self, number: int, reason: str) -> RetailFileError:
        """What is wrong with a line."""
        return RetailFileError(f"{self._path}: line {number}: {reason}")


def _open(path: Path) -> BinaryIO | gzip.GzipFile:
    """The bytes of the file, decompressed. Raises `RetailFileError` for a spreadsheet, and `OSError`."""
    with path.open("rb") as file:
        magic = file.read(4)
    if magic.startswith(_SPREADSHEETS):
        raise RetailFileError(
            f"{path}: a spreadsheet or an archive, not CSV: save it as CSV, one sheet after the other"
        )
    return gzip.open(path, "rb") if magic.startswith(_PACKED) else path.open("rb")


def _check(columns: Sequence[str]) -> None:
    if missing := [name for name in COLUMNS if name not in columns]:
        raise ColumnsMissing(f"lacks {', '.join(missing)}")


def _whole(text: str) -> int:
    text = text.strip()
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"Quantity {text!a} is no whole number")
    return int(text.partition(".")[0])


def _decimal(text: str, delimiter: str) -> Decimal:
    # Where columns are separated by commas, one in a price may separate thousands.
    number = text.strip() if delimiter == "," else text.strip().replace(",", ".")
    if not _DECIMAL.fullmatch(number):
        raise ValueError(f"UnitPrice {text!a} is no price such as 2.55")
    return Decimal(number)


def _as_cp1252(error: UnicodeError) -> tuple[str | bytes, int]:
    assert isinstance(error, UnicodeDecodeError)
    return error.object[error.start : error.end].decode("cp1252", "replace"), error.end


codecs.register_error(_ERRORS, _as_cp1252)
