"""The header of a CSV file: the delimiter that it shows, and where the columns are that a reader knows."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from cart.catalog.csv_records import CsvReader, fields_of

# The comma is also the delimiter of a header that has none of them.
DELIMITERS: Final = (",", ";", "\t", "|")
# The first line of a file by which a spreadsheet tells others its delimiter.
_SEPARATOR_LINE: Final = re.compile(r'"?sep=(.)"?', re.IGNORECASE)


class ColumnsMissing(Exception):
    """The columns of a file are too few; the message begins with the verb: lacks."""


class HeaderFault(Exception):
    """The file has no header that can be used; the message names its line and the reason."""


class Header(NamedTuple):
    """The delimiter, the number of columns in the file, and the index of each that is known, by its own name."""

    delimiter: str
    width: int
    columns: dict[str, int]


def read_header(
    reader: CsvReader,
    known: Mapping[str, str],
    check: Callable[[Sequence[str]], None],
    *,
    delimiter: str | None = None,
) -> Header:
    """Read the first line that is not empty.

    `known` has the name of a column by each spelling of it, in lower case; `check` raises `ColumnsMissing` for columns
    that are too few. Without a `delimiter` it is the one that gives the most columns. Raises `HeaderFault`.
    """
    number, text, told = _first_line(reader)
    delimiter = delimiter or told or _likely_delimiter(text, known)
    names = _names(text, delimiter)
    if names is None:
        raise HeaderFault(f"line {number}: the quotes of the header are wrong")
    columns: dict[str, int] = {}
    for index, name in enumerate(names):
        column = known.get(name)
        if column is not None and columns.setdefault(column, index) != index:
            raise HeaderFault(f"line {number}: the header repeats {column}")
    try:
        check(list(columns))
    except ColumnsMissing as fault:
        raise HeaderFault(f"line {number}: the header {fault}{_hint(text, delimiter, known)}") from None
    return Header(delimiter, len(names), columns)


def _first_line(reader: CsvReader) -> tuple[int, str, str | None]:
    """The header's line number and text, and the delimiter that a line before it names."""
    told = None
    while (line := reader.next_line()) is not None:
        number, text = line[0], (line[1] or "").strip("\xa0 ")
        separator = _SEPARATOR_LINE.fullmatch(text)
        if separator is not None:
            told = separator[1]
        elif text:
            return number, text, told
    return 1, "", told


def _names(header: str, delimiter: str) -> list[str] | None:
    """The names of the columns in lower case; None if the quotes of the header are wrong."""
    fields = fields_of(header, delimiter)
    return None if fields is None else [name.strip("\xa0 \t").lower() for name in fields]


def _likely_delimiter(header: str, known: Mapping[str, str]) -> str:
    return max(DELIMITERS, key=lambda each: len(known.keys() & set(_names(header, each) or ())))


def _hint(header: str, delimiter: str, known: Mapping[str, str]) -> str:
    if "\x00" in header:
        return "; the file may be UTF-16: --encoding utf-16-le or utf-16-be"
    likely = _likely_delimiter(header, known)
    if likely != delimiter:
        return f"; its columns are separated by {_name_of(likely)}, not by {_name_of(delimiter)}: see --delimiter"
    return ""


def _name_of(delimiter: str) -> str:
    return "tabs" if delimiter == "\t" else f"{delimiter!r}"
