"""Reading products from CSV and JSON Lines files: every record becomes a row, or a rejection with its reason."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import msgspec

from cart.body_faults import fault_of, malformed
from cart.catalog.csv_records import TOO_LONG, BadRecord, CsvReader
from cart.catalog.header import ColumnsMissing, HeaderFault, read_header
from cart.catalog.model import CatalogRow
from cart.catalog.numbers import DecimalMark
from cart.catalog.rows import COLUMNS, REQUIRED, RowFault, RowReader, SkuCheck, any_sku, check_columns
from cart.catalog.text_lines import text_lines

_SUFFIXES: Final = (".csv", ".tsv", ".jsonl")
# By the spelling in a header.
_KNOWN: Final = {name: name for name in COLUMNS}


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


class FileForm(NamedTuple):
    """How a file is written. Without a `delimiter` its header shows it; a byte-order mark goes before `encoding`."""

    delimiter: str | None = None
    decimal_mark: DecimalMark = "."
    encoding: str = "utf-8"


class _JsonPeriod(msgspec.Struct):
    price: msgspec.Raw
    start: str = msgspec.field(name="from")
    until: str

    def text(self) -> str:
        """As a CSV file has it."""
        return f"{_text(self.price)} {self.start}/{self.until}"


class _JsonRow(msgspec.Struct):
    sku: str
    name: str | msgspec.UnsetType = msgspec.UNSET
    price: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    currency: str | msgspec.UnsetType = msgspec.UNSET
    stock: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    category: str | msgspec.UnsetType = msgspec.UNSET
    weight_class: str | msgspec.UnsetType | None = msgspec.UNSET
    tax_class: str | msgspec.UnsetType | None = msgspec.UNSET
    scheduled_prices: list[_JsonPeriod] | str | msgspec.UnsetType | None = msgspec.UNSET
    per_shopper: int | str | msgspec.UnsetType | None = msgspec.UNSET
    hold_at_cart: int | str | msgspec.UnsetType | None = msgspec.UNSET
    sold_ahead: str | msgspec.UnsetType | None = msgspec.UNSET
    ahead_limit: int | str | msgspec.UnsetType | None = msgspec.UNSET
    available_on: str | msgspec.UnsetType | None = msgspec.UNSET


class CatalogFile:
    """The products of the file at `path`, record by record, in bounded memory.

    `size` and `done` count bytes; `digest` is the SHA-256 of the bytes read; `columns` are those that the file has, once
    its first record was read. Raises `CatalogFileError` when opened or read if it is neither CSV nor JSON Lines by its
    name, cannot be read, or has no columns that make products.
    """

    def __init__(self, path: str | Path, form: FileForm | None = None, *, sku_check: SkuCheck = any_sku) -> None:
        self._path = Path(path)
        if self._path.suffix.lower() not in _SUFFIXES:
            raise CatalogFileError(f"{path}: not named {', '.join(_SUFFIXES[:-1])} or {_SUFFIXES[-1]}")
        self._form = form or FileForm()
        try:
            bytes(4).decode(self._form.encoding)  # fails for codecs that are none of text, such as base64
        except (LookupError, ValueError):
            raise CatalogFileError(f"{path}: there is no encoding {self._form.encoding}") from None
        self._rows = RowReader(self._form.decimal_mark, sku_check)
        self._hash = hashlib.sha256()
        self.done = 0
        self.columns: tuple[str, ...] = ()
        try:
            self.size = self._path.stat().st_size
        except OSError as error:
            raise CatalogFileError(f"{path}: {error.strerror}") from error

    @property
    def digest(self) -> str:
        """SHA-256, in hexadecimal, of the bytes read so far."""
        return self._hash.hexdigest()

    @property
    def missing_columns(self) -> tuple[str, ...]:
        """The columns of every product that the file does not have; none while they are unknown."""
        return tuple(name for name in REQUIRED if self.columns and name not in self.columns)

    def records(self) -> Iterator[NumberedRow | Rejection]:
        """Go through the file once."""
        is_json = self._path.suffix.lower() == ".jsonl"
        try:
            with self._path.open("rb") as file:
                lines = text_lines(_Counted(file, self), self._form.encoding)
                yield from self._json_records(lines) if is_json else self._csv_records(lines)
        except OSError as error:
            raise CatalogFileError(f"{self._path}: {error.strerror}") from error

    def count(self, piece: bytes) -> None:
        """Take note of bytes that were read."""
        self._hash.update(piece)
        self.done += len(piece)

    def _csv_records(self, lines: Iterator[str | None]) -> Iterator[NumberedRow | Rejection]:
        reader = CsvReader(lines)
        try:
            header = read_header(reader, _KNOWN, check_columns, delimiter=self._form.delimiter)
        except HeaderFault as fault:
            raise CatalogFileError(f"{self._path}: {fault}") from None
        columns = header.columns
        self.columns = tuple(columns)

        def texts(fields: list[str]) -> Mapping[str, str]:
            return {name: fields[index] for name, index in columns.items()}

        def is_sound(fields: list[str]) -> bool:
            try:
                self._rows.row(texts(fields))
            except RowFault:
                return False
            return True

        for record in reader.records(header.delimiter, header.width, is_sound):
            if isinstance(record, BadRecord):
                yield Rejection(*record)
                continue
            try:
                yield NumberedRow(record.line, self._rows.row(texts(record.fields)))
            except RowFault as fault:
                yield Rejection(record.line, str(fault))

    def _json_records(self, lines: Iterator[str | None]) -> Iterator[NumberedRow | Rejection]:
        decoder = msgspec.json.Decoder(_JsonRow)
        for number, line in enumerate(lines, start=1):
            if line is None:
                yield Rejection(number, TOO_LONG)
                continue
            if not line.strip():
                continue
            try:
                # Bytes that were no text become such bytes again.
                texts = _json_texts(decoder.decode(line.encode("utf-8", "surrogateescape")))
                self._check_members(texts)
                yield NumberedRow(number, self._rows.row(texts))
            except msgspec.ValidationError as invalid:
                place, detail = fault_of(invalid)
                yield Rejection(number, f"{place.removeprefix('/') or 'the line'} {detail}")
            # A RecursionError is an object of a thousand brackets in a member that is passed over.
            except (msgspec.MsgspecError, UnicodeError, RecursionError) as fault:
                yield Rejection(number, f"the line {malformed(fault)}")
            except RowFault as fault:
                yield Rejection(number, str(fault))

    def _check_members(self, texts: Mapping[str, str]) -> None:
        """All records have the members of the first one that makes a product."""
        if self.columns:
            if faults := [f"{name} is missing" for name in self.columns if name not in texts]:
                raise RowFault("; ".join(faults))
            if faults := [name for name in texts if name not in self.columns]:
                raise RowFault(f"has {', '.join(faults)}, which the first record does not have")
            return
        try:
            check_columns(list(texts))
        except ColumnsMissing as fault:
            raise RowFault(str(fault)) from None
        self.columns = tuple(texts)


class _Counted:
    """A binary file whose bytes are counted as they are read."""

    def __init__(self, file: BinaryIO, counter: CatalogFile) -> None:
        self._file = file
        self._counter = counter

    def read(self, size: int, /) -> bytes:
        """See `Readable`."""
        piece = self._file.read(size)
        self._counter.count(piece)
        return piece


def _json_texts(record: _JsonRow) -> dict[str, str]:
    """The members of a record that are there. A number, or a string that holds one, is as it was written."""
    members = {name: getattr(record, name) for name in COLUMNS}
    return {name: _text_of(value) for name, value in members.items() if value is not msgspec.UNSET}


def _text_of(value: msgspec.Raw | list[_JsonPeriod] | int | str | None) -> str:
    if isinstance(value, list):
        return "; ".join(each.text() for each in value)
    if isinstance(value, msgspec.Raw):
        return _text(value)
    return "" if value is None else str(value)


def _text(raw: msgspec.Raw) -> str:
    text = bytes(raw).decode("utf-8", "replace")
    return msgspec.json.decode(raw, type=str) if text.startswith('"') else text
