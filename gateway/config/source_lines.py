"""Line numbers of keys and elements of a TOML text, which `tomllib` does not provide."""

from __future__ import annotations

import json
import re
import tomllib
from bisect import bisect_right
from collections.abc import Mapping
from typing import Final

# Keys and indices from the top: ("limits", 0, "quota").
KeyPath = tuple[str | int, ...]

_BLANK: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE: Final = re.compile(r"[ \t]*")
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
# The four kinds of string; triple quotes first, and up to two quotes may stand before the closing ones.
_STRING: Final = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|' + r"'''.*?'{3,5}|" + r'"(?:[^"\\\n]|\\.)*"|' + r"'[^'\n]*'", re.DOTALL
)
_PLAIN: Final = re.compile(r"[^,\]}#\r\n]*")


def line_index(text: str) -> Mapping[KeyPath, int]:
    """The line, from 1, of every table, key and element. `text` must be TOML that `tomllib` has read."""
    scanner = _Scanner(text)
    scanner.run()
    return scanner.lines


def format_key_path(key_path: KeyPath) -> str:
    """A key path as text: `limits[0].quota`."""
    text = ""
    for part in key_path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            # Escaped as in TOML, so that it has no line end.
            shown = part if _BARE.fullmatch(part) else json.dumps(part)
            text += f".{shown}" if text else shown
    return text


class _Scanner:
    """Scans valid TOML and records the line of each key and element, without decoding values."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line_ends = [match.start() for match in re.finditer("\n", text)]
        # Elements so far of each array of tables.
        self._tables: dict[KeyPath, int] = {}
        self.lines: dict[KeyPath, int] = {}

    def run(self) -> None:
        """Scan to the end."""
        table: KeyPath = ()
        self._skip(_BLANK)
        while self._at < len(self._text):
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)
            self._skip(_BLANK)

    def _header(self) -> KeyPath:
        start = self._at
        is_list = self._text.startswith("[[", start)
        self._at += 2 if is_list else 1
        keys = self._keys()
        self._at += 2 if is_list else 1
        key_path = self._resolved(keys[:-1], start)
        key_path = (*key_path, keys[-1])
        if is_list:
            count = self._tables.get(key_path, 0)
            self._tables[key_path] = count + 1
            self._record(key_path, start)
            key_path = (*key_path, count)
        self._record(key_path, start)
        return key_path

    def _resolved(self, keys: KeyPath, start: int) -> KeyPath:
        """The key path of a header's keys: an array of tables stands for its last element."""
        key_path: KeyPath = ()
        for key in keys:
            key_path = (*key_path, key)
            if key_path in self._tables:
                key_path = (*key_path, self._tables[key_path] - 1)
            self._record(key_path, start)
        return key_path

    def _pair(self, table: KeyPath) -> None:
        start = self._at
        for key in self._keys():
            table = (*table, key)
            self._record(table, start)
        self._at += 1  # the equals sign
        self._skip(_SPACE)
        self._value(table)

    def _value(self, key_path: KeyPath) -> None:
        opening = self._text[self._at]
        if opening == "[":
            self._elements(key_path)
        elif opening == "{":
            self._members(key_path)
        elif opening in "\"'":
            self._take(_STRING)
        else:
            self._take(_PLAIN)

    def _elements(self, key_path: KeyPath) -> None:
        self._at += 1
        self._skip(_BLANK)
        index = 0
        while self._text[self._at] != "]":
            self._record((*key_path, index), self._at)
            self._value((*key_path, index))
            self._next()
            index += 1
        self._at += 1

    def _members(self, key_path: KeyPath) -> None:
        self._at += 1
        self._skip(_BLANK)
        while self._text[self._at] != "}":
            self._pair(key_path)
            self._next()
        self._at += 1

    def _next(self) -> None:
        self._skip(_BLANK)
        if self._text[self._at] == ",":
            self._at += 1
        self._skip(_BLANK)

    def _keys(self) -> tuple[str, ...]:
        """A dotted key, up to its equals sign or bracket."""
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
        # tomllib decodes the escapes.
        return str(tomllib.loads(f"key = {self._take(_STRING)}")["key"])

    def _skip(self, pattern: re.Pattern[str]) -> None:
        self._take(pattern)

    def _take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        assert match is not None, "tomllib has read it"
        self._at = match.end()
        return match[0]

    def _record(self, key_path: KeyPath, at: int) -> None:
        self.lines.setdefault(key_path, bisect_right(self._line_ends, at - 1) + 1)
