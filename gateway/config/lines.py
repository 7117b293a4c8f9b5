"""Where each key and element of a TOML text stands, which `tomllib` does not tell."""

from __future__ import annotations

import json
import re
import tomllib
from bisect import bisect_right
from collections.abc import Mapping
from typing import Final

# Keys and indices from the top: ("limits", 0, "quota").
Place = tuple[str | int, ...]

_BLANK: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE: Final = re.compile(r"[ \t]*")
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
# The four kinds of string; triple quotes first, and up to two quotes may stand before the closing ones.
_STRING: Final = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|' + r"'''.*?'{3,5}|" + r'"(?:[^"\\\n]|\\.)*"|' + r"'[^'\n]*'", re.DOTALL
)
_PLAIN: Final = re.compile(r"[^,\]}#\r\n]*")


def line_index(text: str) -> Mapping[Place, int]:
    """The line, from 1, of every table, key and element. `text` must be TOML that `tomllib` has read."""
    scanner = _Scanner(text)
    scanner.run()
    return scanner.lines


def path_text(place: Place) -> str:
    """A place for people: `limits[0].quota`."""
    text = ""
    for part in place:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            # Escaped as TOML has it, so that a place never takes more than a line.
            shown = part if _BARE.fullmatch(part) else json.dumps(part)
            text += f".{shown}" if text else shown
    return text


class _Scanner:
    """Walks through sound TOML and notes where things begin; it understands no values."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line_ends = [match.start() for match in re.finditer("\n", text)]
        # How many elements each list of tables has so far.
        self._tables: dict[Place, int] = {}
        self.lines: dict[Place, int] = {}

    def run(self) -> None:
        """Scan to the end."""
        table: Place = ()
        self._skip(_BLANK)
        while self._at < len(self._text):
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)
            self._skip(_BLANK)

    def _header(self) -> Place:
        start = self._at
        is_list = self._text.startswith("[[", start)
        self._at += 2 if is_list else 1
        keys = self._keys()
        self._at += 2 if is_list else 1
        place = self._resolved(keys[:-1], start)
        place = (*place, keys[-1])
        if is_list:
            count = self._tables.get(place, 0)
            self._tables[place] = count + 1
            self._note(place, start)
            place = (*place, count)
        self._note(place, start)
        return place

    def _resolved(self, keys: Place, start: int) -> Place:
        """A header names the last element of a list of tables without its index."""
        place: Place = ()
        for key in keys:
            place = (*place, key)
            if place in self._tables:
                place = (*place, self._tables[place] - 1)
            self._note(place, start)
        return place

    def _pair(self, table: Place) -> None:
        start = self._at
        for key in self._keys():
            table = (*table, key)
            self._note(table, start)
        self._at += 1  # the equals sign
        self._skip(_SPACE)
        self._value(table)

    def _value(self, place: Place) -> None:
        opening = self._text[self._at]
        if opening == "[":
            self._elements(place)
        elif opening == "{":
            self._members(place)
        elif opening in "\"'":
            self._take(_STRING)
        else:
            self._take(_PLAIN)

    def _elements(self, place: Place) -> None:
        self._at += 1
        self._skip(_BLANK)
        index = 0
        while self._text[self._at] != "]":
            self._note((*place, index), self._at)
            self._value((*place, index))
            self._next()
            index += 1
        self._at += 1

    def _members(self, place: Place) -> None:
        self._at += 1
        self._skip(_BLANK)
        while self._text[self._at] != "}":
            self._pair(place)
            self._next()
        self._at += 1

    def _next(self) -> None:
        self._skip(_BLANK)
        if self._text[self._at] == ",":
            self._at += 1
        self._skip(_BLANK)

    def _keys(self) -> tuple[str, ...]:
        """A key with its dots; its value comes next."""
        keys = []
        while True:
            self._skip(_SPACE)
            keys.append(self._key())
            self._skip(_SPACE)
            if self._text[self._at] != ".":
                return tuple(keys)
            self._at += 1

    def _key(self) -> str:
        if self._text[self._at] not in "\"'":
            return self._take(_BARE)
        # tomllib decodes escapes.
        return str(tomllib.loads(f"key = {self._take(_STRING)}")["key"])

    def _skip(self, pattern: re.Pattern[str]) -> None:
        self._take(pattern)

    def _take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        assert match is not None, "tomllib has read it"
        self._at = match.end()
        return match[0]

    def _note(self, place: Place, at: int) -> None:
        self.lines.setdefault(place, bisect_right(self._line_ends, at - 1) + 1)
