"""The lines of a text file in any encoding, one at a time, in bounded memory."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import Final, Protocol

from primitives.text_file import MARK_MAX_BYTES, encoding_of

CHUNK_BYTES: Final = 1 << 18
# Longer than any line of sound fields.
LINE_MAX_CHARS: Final = 1 << 20
# Stands for bytes that are no text. No field may hold it, so that only its own record is refused.
NO_TEXT: Final = "\udcff"
# The error handler that does so.
MARK_ERRORS: Final = "peakgate-no-text"

_FIRST_END: Final = re.compile(r"\r?\n|\r(?!\n)")
_RETURN: Final = re.compile(r"\r\n?")


class Readable(Protocol):
    """A binary file."""

    def read(self, size: int, /) -> bytes:
        """Up to that many bytes; none at the end."""
        ...


def text_lines(file: Readable, encoding: str = "utf-8", *, errors: str = MARK_ERRORS) -> Iterator[str | None]:
    """The lines without their ends; None for one that is longer than `LINE_MAX_CHARS`, which is skipped.

    A byte-order mark goes before `encoding`. Lines end with a line feed, with or without a carriage return; in a file
    whose first line ends with a carriage return alone, as old spreadsheets write it, with that instead. `errors` is the
    error handler of the decoder.
    """
    splitter = _Splitter()
    for text in _decoded(file, encoding, errors):
        yield from splitter.feed(text)
    yield from splitter.finish()


def _decoded(file: Readable, encoding: str, errors: str) -> Iterator[str]:
    head = file.read(CHUNK_BYTES)
    encoding, mark_length = encoding_of(head[:MARK_MAX_BYTES], encoding)
    decoder = codecs.getincrementaldecoder(encoding)(errors)
    chunk = head[mark_length:]
    while chunk:
        yield decoder.decode(chunk)
        chunk = file.read(CHUNK_BYTES)
    yield decoder.decode(b"", final=True)


def _replace(error: UnicodeError) -> tuple[str | bytes, int]:
    assert isinstance(error, UnicodeDecodeError)
    return NO_TEXT, error.end


codecs.register_error(MARK_ERRORS, _replace)


class _Splitter:
    """Cuts text that arrives in pieces into lines."""

    def __init__(self) -> None:
        self._rest = ""
        self._is_too_long = False
        # Whether a carriage return alone ends a line; None until the first line has ended.
        self._has_lone_returns: bool | None = None

    def feed(self, text: str) -> Iterator[str | None]:
        """The lines that end in this piece."""
        *lines, self._rest = self._split(self._rest + text)
        for line in lines:
            yield self._line(line)
        if len(self._rest) > LINE_MAX_CHARS:
            self._rest, self._is_too_long = "", True

    def finish(self) -> Iterator[str | None]:
        """The last line, where no end of line follows it."""
        if self._rest or self._is_too_long:
            yield self._line(self._rest)

    def _split(self, text: str) -> list[str]:
        if self._has_lone_returns is None:
            end = _FIRST_END.search(text)
            # The other half of a carriage return at the end may still come.
            if end is None or (end[0] == "\r" and end.end() == len(text)):
                return [text]
            self._has_lone_returns = end[0] == "\r"
        if not self._has_lone_returns:
            return text.split("\n")
        held = "\r" if text.endswith("\r") else ""
        lines = _RETURN.split(text.removesuffix(held))
        lines[-1] += held
        return lines

    def _line(self, line: str) -> str | None:
        is_too_long, self._is_too_long = self._is_too_long or len(line) > LINE_MAX_CHARS, False
        return None if is_too_long else line.rstrip("\r")
