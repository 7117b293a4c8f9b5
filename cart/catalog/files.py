"""Reading products from CSV and JSON Lines files: every record becomes a row, or a rejection with its reason."""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec

from cart.body_faults import fault_of, malformed
from cart.catalog.model import NAME_MAX_BYTES, STOCK_MAX, CatalogRow, minor_units
from cart.currencies import is_currency
from cart.ids import SKU_MAX_BYTES, parse_sku

COLUMNS = ("sku", "name", "price", "currency", "stock")
FORMAT_HELP = """\
FILE is UTF-8 text, named .csv or .jsonl. A .csv file has a header with the columns sku, name, price, currency and
stock in any order (others are passed over); each line of a .jsonl file is an object with these members.
price is in major units with at most as many decimals as the currency has by ISO 4217: 2.55 for GBP, 300 for JPY,
1.250 for KWD. currency is three capital letters, stock the whole number of units to sell from now on, sku any
printable text of up to 64 bytes, each one once in a file."""

# Longer than any line of five sound fields; the rest of a longer line is skipped, so memory stays bounded.
LINE_MAX_BYTES = 1 << 20
_BOM = b"\xef\xbb\xbf"
_WHOLE = re.compile(r"[0-9]{1,15}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class CatalogFileError(Exception):
    """The file as a whole cannot be imported; the message is the reason, for the owner of the file."""


class Rejection(NamedTuple):
    """A record that is no product: the line of the file on which it begins, and why."""

    line: int
    reason: str


class NumberedRow(NamedTuple):
    """A product and the line of the file on which its record begins."""

    line: int
    row: CatalogRow


class _RowFault(Exception):
    pass


class _JsonRow(msgspec.Struct):
    sku: str
    name: str
    price: msgspec.Raw
    currency: str
    stock: msgspec.Raw


class CatalogFile:
    """The products of the file at `path`, record by record, in bounded memory.

    `size` and `done` count bytes; `digest` is the SHA-256 of the bytes read. Raises `CatalogFileError` when opened or read
    if it is neither CSV nor JSON Lines by its name, cannot be read, or has no header with all the columns.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        readers = {".csv": self._csv_records, ".jsonl": self._json_records}
        reader = readers.get(self._path.suffix.lower())
        if reader is None:
            raise CatalogFileError(f"{path}: not named .csv or .jsonl")
        self._records = reader
        self._hash = hashlib.sha256()
        self.done = 0
        try:
            self.size = self._path.stat().st_size
        except OSError as error:
            raise CatalogFileError(f"{path}: {error.strerror}") from error

    @property
    def digest(self) -> str:
        """SHA-256, in hexadecimal, of the bytes read so far."""
        return self._hash.hexdigest()

    def records(self) -> Iterator[NumberedRow | Rejection]:
        """Go through the file once."""
        try:
            with self._path.open("rb") as file:
                yield from self._records(self._lines(file))
        except OSError as error:
            raise CatalogFileError(f"{self._path}: {error.strerror}") from error

    def _lines(self, file: BinaryIO) -> Iterator[bytes]:
        """Whole lines with their ends; of a line that is too long its beginning."""
        while line := self._count(file.readline(LINE_MAX_BYTES)):
            yield line.removeprefix(_BOM) if self.done == len(line) else line
            while line and not line.endswith(b"\n"):
                line = self._count(file.readline(LINE_MAX_BYTES))

    def _count(self, piece: bytes) -> bytes:
        self._hash.update(piece)
        self.done += len(piece)
        return piece

    def _csv_records(self, lines: Iterator[bytes]) -> Iterator[NumberedRow | Rejection]:
        # Bytes that are not UTF-8 become lone surrogates, which no field may hold, so only their record is rejected.
        reader = csv.reader((line.decode("utf-8", "surrogateescape") for line in lines), strict=True)
        indexes, width = self._header(reader)
        while True:
            begins = reader.line_num + 1
            try:
                fields = next(reader)
                if fields:
                    yield NumberedRow(begins, _row(*_select(fields, indexes, width)))
            except StopIteration:
                return
            except (csv.Error, _RowFault) as fault:
                yield Rejection(begins, str(fault))

    def _header(self, reader: Iterator[list[str]]) -> tuple[list[int], int]:
        """The index of each column, and the number of columns in the file."""
        try:
            header = [name.strip().lower() for name in next(reader, [])]
        except csv.Error as error:
            raise CatalogFileError(f"{self._path}: line 1: {error}") from error
        if missing := [name for name in COLUMNS if name not in header]:
            raise CatalogFileError(f"{self._path}: line 1: the header lacks {', '.join(missing)}")
        if repeated := [name for name in COLUMNS if header.count(name) > 1]:
            raise CatalogFileError(f"{self._path}: line 1: the header repeats {', '.join(repeated)}")
        return [header.index(name) for name in COLUMNS], len(header)

    def _json_records(self, lines: Iterator[bytes]) -> Iterator[NumberedRow | Rejection]:
        decoder = msgspec.json.Decoder(_JsonRow)
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                record = decoder.decode(line)
                yield NumberedRow(
                    number, _row(record.sku, record.name, _text(record.price), record.currency, _text(record.stock))
                )
            # A RecursionError is an object of a thousand brackets in a member that is passed over.
            except msgspec.ValidationError as invalid:
                place, detail = fault_of(invalid)
                yield Rejection(number, f"{place.removeprefix('/') or 'the line'} {detail}")
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as fault:
                yield Rejection(number, f"the line {malformed(fault)}")
            except _RowFault as fault:
                yield Rejection(number, str(fault))


def _select(fields: list[str], indexes: list[int], width: int) -> list[str]:
    if len(fields) != width:
        raise _RowFault(f"has {len(fields)} fields, the header has {width}")
    return [fields[index] for index in indexes]


def _text(raw: msgspec.Raw) -> str:
    """A number, or a string that holds one, as it was written, without a conversion to binary."""
    return bytes(raw).decode("utf-8", "replace").strip('"')


def _row(sku: str, name: str, price: str, currency: str, stock: str) -> CatalogRow:
    """Check the five fields; raises one `_RowFault` that names all that is wrong with them."""
    faults: list[str] = []
    parsed_sku = parse_sku(sku)
    if parsed_sku is None:
        faults.append(f"sku {_quoted(sku)} is not 1 to {SKU_MAX_BYTES} bytes of printable text")
    if fault := _name_fault(name):
        faults.append(f"name {_quoted(name)} {fault}")
    currency = currency.strip()
    amount = 0
    if not is_currency(currency):
        faults.append(f"currency {_quoted(currency)} is no currency code of ISO 4217, such as GBP")
    else:
        try:
            amount = minor_units(price.strip(), currency)
        except ValueError as fault_of_price:
            faults.append(f"price {_quoted(price)} {fault_of_price}")
    stock = stock.strip()
    units = int(stock) if _WHOLE.fullmatch(stock) else -1
    if not 0 <= units <= STOCK_MAX:
        faults.append(f"stock {_quoted(stock)} is no whole number of 0 to {STOCK_MAX}")
    if faults or parsed_sku is None:
        raise _RowFault("; ".join(faults))
    return CatalogRow(parsed_sku, name, amount, currency, units)


def _name_fault(name: str) -> str | None:
    if not name.strip():
        return "is empty"
    if _CONTROL.search(name):
        return "holds a control character"
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "is not UTF-8"
    return f"is longer than {NAME_MAX_BYTES} bytes" if size > NAME_MAX_BYTES else None


def _quoted(text: str) -> str:
    """The text in quotes, in one short printable line."""
    return ascii(text if len(text) <= 40 else text[:40] + "...")
