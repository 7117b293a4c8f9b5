"""The file of an event: the prices of many products that hold for one time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from cart.catalog.csv_records import BadRecord, CsvReader
from cart.catalog.files import CatalogFileError, Rejection
from cart.catalog.header import ColumnsMissing, HeaderFault, read_header
from cart.catalog.numbers import DecimalMark
from cart.catalog.price_desk import Amount
from cart.catalog.text_lines import text_lines
from cart.ids import parse_sku
from cart.model import Sku

_COLUMNS: Final = {name: name for name in ("sku", "price", "currency")}


class PriceEvent(NamedTuple):
    """The prices of an event, the lines of their records, and the records that are none."""

    amounts: Mapping[Sku, Amount]
    lines: Mapping[Sku, int]
    rejections: Sequence[Rejection]


def read_event(path: str | Path, mark: DecimalMark = ".") -> PriceEvent:
    """Read a CSV file with the columns `sku`, `price` and perhaps `currency`, which must then be that of the product.

    `mark` stands before decimals. Raises `CatalogFileError` for a file that cannot be read or lacks columns.
    """
    try:
        with Path(path).open("rb") as file:
            return _Reading(CsvReader(text_lines(file)), mark).event()
    except OSError as error:
        raise CatalogFileError(f"{path}: {error.strerror}") from error
    except HeaderFault as fault:
        raise CatalogFileError(f"{path}: {fault}") from None


class _Reading:
    """Reads one file."""

    def __init__(self, reader: CsvReader, mark: DecimalMark) -> None:
        self._reader = reader
        self._mark = mark
        self._amounts: dict[Sku, Amount] = {}
        self._lines: dict[Sku, int] = {}
        self._rejections: list[Rejection] = []

    def event(self) -> PriceEvent:
        """Read it."""
        header = read_header(self._reader, _COLUMNS, _check_columns)
        columns = header.columns
        sku_at = columns["sku"]
        for record in self._reader.records(
            header.delimiter, header.width, lambda fields: parse_sku(fields[sku_at]) is not None
        ):
            if isinstance(record, BadRecord):
                self._rejections.append(Rejection(*record))
            else:
                self._add(record.line, {name: record.fields[index].strip() for name, index in columns.items()})
        return PriceEvent(self._amounts, self._lines, self._rejections)

    def _add(self, line: int, texts: Mapping[str, str]) -> None:
        sku = parse_sku(texts["sku"])
        if sku is None:
            self._rejections.append(Rejection(line, f"sku {texts['sku']!a} is no SKU"))
        elif sku in self._lines:
            self._rejections.append(Rejection(line, f"sku {sku!a} is on line {self._lines[sku]} already"))
        else:
            self._lines[sku] = line
            self._amounts[sku] = Amount(texts["price"], texts.get("currency") or None, self._mark)


def _check_columns(columns: Sequence[str]) -> None:
    if missing := [name for name in ("sku", "price") if name not in columns]:
        raise ColumnsMissing(f"lacks {', '.join(missing)}")
