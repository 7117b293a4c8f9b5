"""The records of a CSV file (RFC 4180), read so that a quote that never closes costs its own record and no other.

A quoted field may span lines. A quote that was forgotten looks the same at first, and swallows all lines up to the next
quote. So a record over several lines is accepted only if it is whole (its quotes close, its fields are as many as the
header has) and holds no other: no line inside it is a sound record by itself, nor are both its first line without the quote
and its last. Otherwise its first line alone is bad, and reading resumes with the next one.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

# A field over more than these is no name or description, but a quote that was forgotten.
SPAN_MAX_LINES: Final = 1000
SPAN_MAX_CHARS: Final = 1 << 20

UNCLOSED: Final = "a quote opens a field here and does not close it"
TOO_LONG: Final = "the line is too long"

_OPENING: Final = re.compile(r' *"')
_BLANKS: Final = re.compile(r" *")


class Record(NamedTuple):
    """The fields of a record, and the line of the file on which it begins."""

    line: int
    fields: list[str]


class BadRecord(NamedTuple):
    """A record that cannot be read: the line on which it begins, and why."""

    line: int
    reason: str


class _QuoteFault(Exception):
    """Something else than a delimiter follows a closing quote."""


class CsvReader:
    """Reads `lines` (None stands for one that is too long), each of which it numbers from 1."""

    def __init__(self, lines: Iterator[str | None]) -> None:
        self._lines = enumerate(lines, start=1)
        # Lines that were looked at beyond the present one.
        self._ahead: deque[tuple[int, str | None]] = deque()

    def next_line(self) -> tuple[int, str | None] | None:
        """The next line and its number; None at the end."""
        return self._ahead.popleft() if self._ahead else next(self._lines, None)

    def records(
        self, delimiter: str, width: int, is_sound: Callable[[list[str]], bool]
    ) -> Iterator[Record | BadRecord]:
        """The records of `width` fields; `is_sound` recognises those of a record that the file may have.

        Lines of nothing but blanks and delimiters, such as spreadsheets write below the last row, are passed over.
        """
        blank = f"{delimiter} \t\xa0"
        while (line := self.next_line()) is not None:
            number, text = line
            if text is None:
                yield BadRecord(number, TOO_LONG)
            elif text.strip(blank):
                yield self._record(number, text, delimiter, width, is_sound)

    def _record(
        self, number: int, text: str, delimiter: str, width: int, is_sound: Callable[[list[str]], bool]
    ) -> Record | BadRecord:
        fields = _fields_of(text, delimiter)
        if fields is None:
            fields = self._spanning(text, delimiter, width, is_sound)
        if fields is None:
            return BadRecord(number, UNCLOSED)
        if isinstance(fields, str):
            return BadRecord(number, fields)
        if len(fields) != width:
            return BadRecord(number, f"has {len(fields)} fields, the header has {width}")
        return Record(number, fields)

    def _spanning(
        self, first: str, delimiter: str, width: int, is_sound: Callable[[list[str]], bool]
    ) -> list[str] | None:
        """The fields of a record that goes on after its first line; None if it is none, and then no line is used up."""
        parser = _RecordParser(delimiter)
        parser.feed(first)
        unquoted = parser.fields_without_quote()
        further: list[str] = []
        chars = len(first)
        while len(further) < SPAN_MAX_LINES and chars <= SPAN_MAX_CHARS:
            line = self._peek(len(further))
            if line is None:
                return None
            further.append(line)
            chars += len(line)
            try:
                is_whole = parser.feed(line)
            except _QuoteFault:
                return None
            if is_whole:
                break
        else:
            return None

        def is_record(fields: list[str] | None) -> bool:
            return fields is not None and len(fields) == width and is_sound(fields)

        *inside, last = [fields_of(line, delimiter) for line in further]
        if len(parser.fields) != width or any(map(is_record, inside)) or (is_record(unquoted) and is_record(last)):
            return None
        for _ in further:
            self._ahead.popleft()
        return parser.fields

    def _peek(self, index: int) -> str | None:
        """The line that many after the present one; None if there is none, or it is too long."""
        while len(self._ahead) <= index:
            line = next(self._lines, None)
            if line is None:
                return None
            self._ahead.append(line)
        return self._ahead[index][1]


def fields_of(text: str, delimiter: str) -> list[str] | None:
    """The fields of a line by itself; None if its quotes are wrong."""
    fields = _fields_of(text, delimiter)
    return fields if isinstance(fields, list) else None


def _fields_of(text: str, delimiter: str) -> list[str] | str | None:
    """The fields of a line by itself, the reason why it has none, or None if a quote is still open at its end."""
    if '"' not in text:
        return text.split(delimiter)
    parser = _RecordParser(delimiter)
    try:
        return parser.fields if parser.feed(text) else None
    except _QuoteFault as fault:
        return str(fault)


class _RecordParser:
    """The fields of one record, which is fed line by line."""

    def __init__(self, delimiter: str) -> None:
        self._delimiter = delimiter
        # The lines so far of the quoted field that is open.
        self._open: list[str] | None = None
        self.fields: list[str] = []

    def feed(self, line: str) -> bool:
        """Take the next line. Whether the record ends with it. Raises `_QuoteFault`."""
        at = 0
        while True:
            if self._open is None:
                opening = _OPENING.match(line, at)
                if opening is None:
                    end = line.find(self._delimiter, at)
                    if end < 0:
                        self.fields.append(line[at:])
                        return True
                    self.fields.append(line[at:end])
                    at = end + 1
                    continue
                self._open, at = [], opening.end()
            closing = _closing_quote(line, at)
            if closing < 0:
                self._open.append(line[at:])
                return False
            self.fields.append("\n".join([*self._open, line[at:closing]]).replace('""', '"'))
            self._open = None
            at = self._after_quote(line, closing + 1)
            if at > len(line):
                return True

    def fields_without_quote(self) -> list[str]:
        """The fields so far if the quote that is open were none."""
        return self.fields + "\n".join(self._open or []).split(self._delimiter)

    def _after_quote(self, line: str, at: int) -> int:
        """Where the next field begins, beyond the end of the line if there is none."""
        blanks = _BLANKS.match(line, at)
        at = at if blanks is None else blanks.end()
        if at < len(line) and line[at] != self._delimiter:
            raise _QuoteFault(f"{self._delimiter!r} expected after the closing quote, not {line[at]!r}")
        return at + 1


def _closing_quote(line: str, at: int) -> int:
    """The index of the quote that closes a field, from `at` on; -1 if there is none. Two quotes are one in the field."""
    while (found := line.find('"', at)) >= 0:
        if line[found + 1 : found + 2] != '"':
            return found
        at = found + 2
    return -1
